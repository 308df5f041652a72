# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the files that docs/*.md quote word for word in step with the files themselves.

A line `<!-- file: PATH -->` says that the code block after it is that file. Without options this checks; with
`--write` it fills the blocks in.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
QUOTE = re.compile(r"(<!-- file: (?P<path>\S+) -->\n```\w*\n)(?P<text>.*?)(```\n)", re.DOTALL)


def filled(page: str) -> str:
    """The page with every quoted file as it is now."""
    return QUOTE.sub(lambda quote: quote[1] + (CLONE / quote["path"]).read_text() + quote[4], page)


def main(arguments: list[str]) -> int:
    """Check or write; the exit status tells whether a page is (or was) out of step."""
    stale = []
    for page in sorted((CLONE / "docs").glob("*.md")):
        text = page.read_text()
        if filled(text) != text:
            stale.append(page.name)
            if "--write" in arguments:
                page.write_text(filled(text))
    if "--write" in arguments:
        return 0
    for name in stale:
        print(f"docs/{name} quotes files that have changed: run tools/quoted_files.py --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
