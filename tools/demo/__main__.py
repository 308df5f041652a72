# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the demo; exit status 0 if everything came out as told, 130 or 143 if it was interrupted."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from .hosts import Hosts, HostsFailed
from .interruption import Interrupted, ignore, watch
from .inventory import Inventory
from .screen import Screen
from .story import Story, StoryFailed


def make_directory() -> Path:
    """A directory of our own, in memory unless TMPDIR says otherwise; sockets have little room for its path."""
    memory = Path("/dev/shm")
    place = memory if "TMPDIR" not in os.environ and os.access(memory, os.W_OK | os.X_OK) else None
    return Path(tempfile.mkdtemp(prefix="xen-pci-", dir=place))


def main() -> int:
    """All scenes, and the end of everything that was started for them."""
    watch()
    directory = make_directory()
    hosts = Hosts(directory)
    try:
        hosts.start()
        Story(Screen(), hosts, Inventory(directory)).tell()
    except (StoryFailed, HostsFailed) as failure:
        print(f"\nThe demo failed. {failure}", file=sys.stderr)
        return 1
    except Interrupted as interruption:
        print("\nInterrupted: stopping the simulated hosts.", file=sys.stderr)
        return 128 + interruption.number
    finally:
        ignore()
        hosts.stop()
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
