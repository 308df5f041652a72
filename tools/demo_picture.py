# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paint docs/demo.svg, the picture in the README, from a run of the demo: some of its scenes, as on a terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

CLONE = Path(__file__).resolve().parent.parent
PICTURE = CLONE / "docs" / "demo.svg"
WIDTH = 118
#: The plan, the second run, the move.
SCENES = ("2", "4", "5")
_HEADING = re.compile(r"(?m)^(?=\033\[1m\d\. )")
_NUMBER = re.compile(r"\033\[1m(\d)\. ")
#: rich's template asks other hosts for its font; any font of a terminal will do.
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\n", re.DOTALL)


def main() -> int:
    """Run the demo and write the picture."""
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=CLONE / "tools",
        env=os.environ | {"FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        return done.returncode
    PICTURE.write_text(_painted(_chosen(done.stdout)), encoding="utf-8")
    return 0


def _chosen(output: str) -> str:
    scenes = {number[1]: scene for scene in _HEADING.split(output) if (number := _NUMBER.match(scene))}
    return "\n".join(scenes[number].rstrip("\n") + "\n" for number in SCENES)


def _painted(text: str) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=True)
    template = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code", "ui-monospace")
    # Not all viewers keep the blanks at the begin of a line without being told.
    template = template.replace("<svg ", '<svg xml:space="preserve" ', 1)
    svg = console.export_svg(title="make demo", theme=MONOKAI, code_format=template, unique_id="demo")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
