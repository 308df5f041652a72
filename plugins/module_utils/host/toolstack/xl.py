# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command xl, for what only libxl can do: devices of guests that have a device model.

Its exit status is not the truth: it is 0 where a forced detach went wrong, and 1 where a guest followed a second too
late. So what it says is reported, and what is there afterwards is looked at.
"""

from __future__ import annotations

import shutil

from ...values.address import Sbdf
from ...values.device_options import DeviceOptions
from .. import command, run_lock
from .contract import ToolstackError

#: Seconds after which an xl that hangs is killed; its own waits add up to less (10 s for QEMU, 60 s for a stub domain).
_MOST_SECONDS = 180.0
#: Ansible's shell on the host may lack the directories of the administrator's programs.
_MORE_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_LONGEST = 300


class XlError(ToolstackError):
    """xl is not there, or refused; the text is what it said."""


def attach(domid: int, device: Sbdf, options: DeviceOptions) -> None:
    """Have libxl give a guest a device with options. Raises XlError; then anything from nothing to all may be done."""
    _run("pci-attach", str(domid), options.as_spec(device))


def detach(domid: int, device: Sbdf) -> None:
    """Have libxl forget a device that the guest has ejected, without asking the guest again. Raises XlError."""
    _run("pci-detach", "-f", str(domid), str(device))


def _run(*words: str) -> None:
    program = shutil.which("xl") or shutil.which("xl", path=_MORE_PATH)
    if program is None:
        raise XlError("the program xl, which changes the devices of HVM guests, is not on this host")
    try:
        # It goes on if this process is killed; the next run of ours then waits for it.
        finished = command.run([program, *words], _MOST_SECONDS, keep=run_lock.held())
    except OSError as error:
        raise XlError(f"{program} could not be run to its end ({error.strerror})") from error
    if finished.status:
        raise XlError(f"xl {words[0]} said {_essence(finished)!r}")


def _essence(finished: command.Finished) -> str:
    """Return the first complaint, the cause; those after it are its echo. libxl puts its file and line before each."""
    lines = [line for line in finished.errors.splitlines() if "libxl: error:" in line]
    return (lines[0].rpartition("libxl: error: ")[2].strip() if lines else finished.last_words)[:_LONGEST]
