# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the modules of any checkout on a simulated host, so that two checkouts can be compared in one run.

The simulated host is always the one of this checkout: only the modules differ.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from short_path import short_directory

from simulated_xen import daemon

ROOT = Path(__file__).resolve().parent.parent.parent
#: A small machine with four network cards behind root ports and two guests that wait for devices.
SMALL_SERVER = json.loads((Path(daemon.__file__).parent / "machines" / "small-server.json").read_text())


@contextmanager
def collections_of(checkout: Path) -> Iterator[Path]:
    """A directory in which Ansible and Python find the checkout under its name ansible_collections.xen.pci."""
    with tempfile.TemporaryDirectory(prefix="collections-") as directory:
        place = Path(directory) / "ansible_collections" / "xen"
        place.mkdir(parents=True)
        (place / "pci").symlink_to(checkout.resolve(), target_is_directory=True)
        yield Path(directory)


@contextmanager
def simulated_host(machine: Mapping[str, Any]) -> Iterator[daemon.RunDirectory]:
    """A running simulated host of this description."""
    with short_directory() as parent:
        description = parent / "machine.json"
        description.write_text(json.dumps(machine))
        try:
            yield daemon.start(str(description), parent / "h")
        finally:
            daemon.stop(parent / "h")


def environment(host: daemon.RunDirectory, collections: Path) -> dict[str, str]:
    """The variables with which a Python process imports the modules of a checkout and sees the simulated host."""
    variables = host.environment()
    paths = [variables["PYTHONPATH"], str(collections), *filter(None, sys.path)]
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths)}
