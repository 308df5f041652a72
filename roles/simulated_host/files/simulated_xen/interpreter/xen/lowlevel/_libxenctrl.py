# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxenctrl of a simulated host, as ctypes loads it: the calls that the Python binding of Xen lacks."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from ._simulator import ask


class _Function:
    """A function of the library: 0, or -1 with errno. ctypes sets attributes of it, which mean nothing here."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self.restype: Any = None
        self.argtypes: Any = None

    def __call__(self, _handle: Any, *arguments: Any) -> int:
        try:
            self._call(*(argument.value for argument in arguments))
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1
        return 0


class _Opening:
    """xc_interface_open, which returns a handle."""

    restype: Any = None
    argtypes: Any = None

    def __call__(self, *_arguments: Any) -> int:
        return 1


def _assign(domid: int, sbdf: int, flags: int) -> None:
    ask("hypercall", name="assign", arguments={"domid": domid, "sbdf": sbdf, "relaxed": bool(flags & 1)})


def _unmap_pirq(domid: int, pirq: int) -> None:
    ask("hypercall", name="unmap_pirq", arguments={"domid": domid, "pirq": pirq})


class LibXenCtrl:
    """What `ctypes.CDLL("libxenctrl.so.4.17")` returns."""

    def __init__(self) -> None:
        self.xc_interface_open = _Opening()
        self.xc_interface_close = _Function(lambda: None)
        self.xc_assign_device = _Function(_assign)
        self.xc_physdev_unmap_pirq = _Function(_unmap_pirq)
