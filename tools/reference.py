# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write everything that is made from the tables of keys and variables, or check that it is up to date.

That is docs/schema/xen_pci.json, and in the files of PARTS what is between a line "begin: NAME" and a line "end".
Without options this checks; with `--write` it writes.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / ".build" / "collections"))

from declaration_schema import schema  # noqa: E402

from ansible_collections.xen.pci.plugins.module_utils.values.function_keys import (  # noqa: E402
    FUNCTION_KEYS,
    SETTING_KEYS,
)
from ansible_collections.xen.pci.plugins.module_utils.values.keys import (  # noqa: E402
    DEVICE_KEYS,
    DOMAIN_KEYS,
    IDENTITY_KEYS,
    POLICY_KEYS,
    POOL_KEYS,
    SHARE_KEYS,
    Key,
)
from ansible_collections.xen.pci.plugins.module_utils.values.variables import VARIABLES  # noqa: E402

TABLES: Mapping[str, Mapping[str, Key]] = {
    "variables": VARIABLES,
    "keys of a device": DEVICE_KEYS,
    "keys that say which device it is": IDENTITY_KEYS,
    "keys of a pool": POOL_KEYS,
    "keys of every device and pool": POLICY_KEYS,
    "keys of a domain": DOMAIN_KEYS,
    "keys of a part of a pool": SHARE_KEYS,
    "keys of a physical function": FUNCTION_KEYS,
    "keys of a virtual function": SETTING_KEYS,
}
_CODE = re.compile(r"\b(?:V|C|O|RV|M)\((?:[\w.]+#\w+:)?([^)]*)\)")
_WIDTH = 120


def bullets(table: Mapping[str, Key]) -> str:
    """One item of a description for each key, for the documentation of a module."""
    return "".join(_bullet(key) for key in table.values())


def _bullet(key: Key) -> str:
    default = ["required"] if key.required else [f"default V({key.default})"] if key.default else []
    about = ", ".join([_type(key), *default])
    text = f"V({key.name}) ({about}). {key.meaning} Example: C({key.name}: {key.example})."
    lines = textwrap.wrap(text, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    # A colon in plain text would make a mapping of it.
    return "      - >-\n        " + "\n        ".join(lines) + "\n"


def rows(table: Mapping[str, Key]) -> str:
    """A table of Markdown."""
    kind = "variable" if table is VARIABLES else "key"
    lines = [f"| {kind} | type | default | meaning | example |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, table.values())]) + "\n"


def _row(key: Key) -> str:
    default = "required" if key.required else f"`{key.default}`" if key.default else ""
    fence = "``" if "`" in key.example else "`"
    meaning = _CODE.sub(r"`\1`", key.meaning)
    return f"| `{key.name}` | {_type(key)} | {default} | {meaning} | {fence}{key.example}{fence} |"


def _type(key: Key) -> str:
    """The type, with what is special about a value."""
    if key.type == "int":
        return f"int from {key.least} to {key.most}"
    return {"bool": "bool", "str": f"str, {key.form}"}.get(key.type, key.form.removeprefix("a "))


PARTS: Mapping[str, Callable[[Mapping[str, Key]], str]] = {
    "docs/declaration.md": rows,
    "plugins/doc_fragments/catalog.py": bullets,
    "plugins/modules/domain_devices.py": bullets,
    "plugins/modules/virtual_functions.py": bullets,
}
_PART = re.compile(
    r"(^[^\n]*\bbegin: (?P<name>[\w ]+?)(?: -->)?\n)(?P<text>.*?)(?P<end>^[^\n]*\bend\b[^\n]*\n)", re.M | re.S
)


def filled(text: str, render: Callable[[Mapping[str, Key]], str]) -> str:
    """The file with every part as the tables have it now."""
    return _PART.sub(lambda part: part[1] + render(TABLES[part["name"]]) + part["end"], text)


def wanted() -> dict[Path, str]:
    """What each file is to contain."""
    files = {CLONE / name: filled((CLONE / name).read_text(), render) for name, render in PARTS.items()}
    files[CLONE / "docs/schema/xen_pci.json"] = json.dumps(schema(), indent=2) + "\n"
    return files


def main(arguments: list[str]) -> int:
    """Check or write; the exit status tells whether a file is out of date."""
    stale = [(file, text) for file, text in wanted().items() if not file.exists() or file.read_text() != text]
    for file, text in stale:
        if "--write" in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        else:
            print(f"{file.relative_to(CLONE)} is out of date: run tools/reference.py --write", file=sys.stderr)
    return 1 if stale and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
