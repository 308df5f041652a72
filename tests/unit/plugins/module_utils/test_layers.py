# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the collection: an import goes to the same layer or a lower one, never up."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins import module_utils

PLUGINS = Path(next(iter(module_utils.__path__))).parent
#: What each layer may use besides itself.
BELOW = {
    "values": set(),
    "model": {"values"},
    "faults": {"model", "values"},
    "plan": {"faults", "model", "values"},
    "verify": {"plan", "faults", "model", "values"},
    "host": {"model", "values"},
    "apply": {"host", "plan", "model", "values"},
    "repair": {"apply", "host", "plan", "faults", "model", "values"},
    "results": {"repair", "apply", "host", "verify", "plan", "faults", "model", "values"},
    "stages": {"results", "repair", "apply", "host", "verify", "plan", "faults", "model", "values"},
    "modules": {"stages", "results", "repair", "apply", "host", "verify", "plan", "faults", "model", "values"},
}
FULL_NAME = "ansible_collections.xen.pci.plugins."
#: Parts of Python that reach outside; what is pure does without.
OUTSIDE = {"os", "io", "socket", "subprocess", "threading", "time", "pathlib", "pyxs", "ctypes", "ansible"}


def files() -> Iterator[tuple[str, Path]]:
    for layer in BELOW:
        directory = PLUGINS / layer if layer == "modules" else PLUGINS / "module_utils" / layer
        alone = directory.with_suffix(".py")
        for file in [alone] if alone.is_file() else sorted(directory.rglob("*.py")):
            yield layer, file


def imports(file: Path) -> Iterator[str]:
    """Full names of all that a file imports, at whatever depth in it."""
    own = ["ansible_collections", "xen", "pci", "plugins", *file.relative_to(PLUGINS).parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer_of(name: str) -> str | None:
    if not name.startswith(FULL_NAME):
        return None
    parts = name.removeprefix(FULL_NAME).split(".")
    return parts[1] if parts[0] == "module_utils" and len(parts) > 1 else parts[0]


FILES = list(files())


def test_every_file_is_in_a_layer() -> None:
    found = {file for _layer, file in FILES}
    assert {file for file in (PLUGINS / "module_utils").rglob("*.py") if file.name != "__init__.py"} <= found
    assert {layer for layer, _file in FILES} == set(BELOW)


@pytest.mark.parametrize(("layer", "file"), FILES, ids=[f"{layer}/{file.name}" for layer, file in FILES])
def test_imports_go_down_only(layer: str, file: Path) -> None:
    used = {used for name in imports(file) if (used := layer_of(name)) is not None}
    assert used <= BELOW[layer] | {layer}


PURE = [(layer, file) for layer, file in FILES if layer in ("values", "model", "faults", "plan", "verify")]


@pytest.mark.parametrize(("layer", "file"), PURE, ids=[f"{layer}/{file.name}" for layer, file in PURE])
def test_what_is_pure_reaches_nothing_outside(layer: str, file: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(file)} & OUTSIDE


TOOLSTACK = FULL_NAME + "module_utils.host.toolstack."


@pytest.mark.parametrize(("layer", "file"), FILES, ids=[f"{layer}/{file.name}" for layer, file in FILES])
def test_only_host_access_knows_which_toolstack_it_is(layer: str, file: Path) -> None:
    if file.parent.name == "toolstack":
        return
    used = {name.removeprefix(TOOLSTACK).partition(".")[0] for name in imports(file) if name.startswith(TOOLSTACK)}
    assert used <= ({"contract", "libxl"} if file.name == "access.py" else {"contract"})


#: What a run that finds all as declared does without; each file that is imported costs every run.
WRITERS = ("boot_config", "kernel_modules", "sriov", "toolstack.qmp", "toolstack.xl")


def test_a_look_at_a_host_imports_no_way_to_change_it() -> None:
    module = f"{FULL_NAME}module_utils.host"
    script = f"import sys; sys.path[:] = {sys.path!r}; import {module}.observe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"{module}.access" in done.stdout.split()
    assert not {f"{module}.{name}" for name in WRITERS} & set(done.stdout.split())
