# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counter of functions and files: exact on a module made for it, plausible on the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = {
    "modules/sample.py": """
import json
import threading
from ansible_collections.xen.pci.plugins.module_utils.used import work
from ansible_collections.xen.pci.plugins.module_utils import unused

def main():
    work()
    work()
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    print(json.dumps({"changed": False}))

def in_a_thread():
    from ansible_collections.xen.pci.plugins.module_utils.late import Late
    Late()

def never():
    pass
""",
    "module_utils/used.py": """
def work():
    return [inner(number) for number in sorted(range(3), key=lambda number: -number)]

def inner(number):
    return number
""",
    "module_utils/unused.py": "def idle(): pass\n",
    "module_utils/late.py": """
class Late:
    number = 1
    def __init__(self):
        self.number = 2
""",
}


def traced(collections: Path, module: str) -> dict[str, Any]:
    program = ROOT / "tests" / "support" / "traced_module.py"
    paths = os.pathsep.join([str(collections), *filter(None, sys.path)])
    words = [sys.executable, str(program), module, "{}"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_each_function_that_ran_is_counted_once_in_every_thread(tmp_path: Path) -> None:
    for name, text in SAMPLE.items():
        file = tmp_path / "ansible_collections" / "xen" / "pci" / "plugins" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    seen = traced(tmp_path, "sample")
    assert seen["result"] == {"changed": False}
    assert seen["functions"] == {
        "modules/sample.py": ["main", "in_a_thread"],
        "module_utils/used.py": ["work", "inner"],
        "module_utils/late.py": ["__init__"],
    }
    assert seen["loaded"] == sorted(SAMPLE)


def test_the_runs_of_one_device_are_counted_and_listed() -> None:
    words = [sys.executable, str(ROOT / "tools" / "trace_run.py"), str(ROOT), "--list"]
    lines = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    counts = {words[0]: [int(word) for word in words[1:]] for words in map(str.split, lines[1:6])}
    assert list(counts) == ["assign", "add", "no-op", "remove", "release"]
    for functions, files, loaded in counts.values():
        assert functions > files > 10
        assert loaded >= files
    assert counts["add"] > counts["no-op"], "nothing more runs where a device is added"
    listed = [line for line in lines if line.startswith("  modules/domain_devices.py (")]
    assert len(listed) == 3
    assert all("main" in line for line in listed)


def test_a_run_that_changes_nothing_loads_nothing_that_changes_a_host() -> None:
    words = [sys.executable, "-c", "import json, trace_run; print(json.dumps(trace_run.trace(trace_run.ROOT)))"]
    paths = os.pathsep.join([str(ROOT / "tools"), *filter(None, sys.path)])
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=True)
    seen = json.loads(done.stdout)
    acting = {
        "module_utils/apply/handshake.py",
        "module_utils/apply/loop.py",
        "module_utils/model/connection_writes.py",
    }
    assert acting <= set(seen["add"]["loaded"])
    repairing = {f"module_utils/{file}.py" for file in ("repair/run", "faults/simulate", "model/xl_file")}
    assert not (acting | repairing) & set(seen["no-op"]["loaded"])
