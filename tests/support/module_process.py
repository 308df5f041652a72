# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the real modules on a host, simulated or of the lab, each in a process that can be killed at any point.

Started with the host's variables, it answers each line of JSON with a line of JSON. Every run is a fork,
so nothing is imported twice. On a simulated host time is that of clock.py. For a kill, the classes that reach
outside are wrapped (here, not in the product): they count their calls, and the process kills itself at the call
that was asked for. In the same way a call can be refused, as a store, Xen, a device or a full disk would, or its answer
lost.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import importlib
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ansible.module_utils import basic
from pyxs._internal import Op, Packet
from pyxs.client import RVar

from ansible_collections.xen.pci.plugins.module_utils.host import sysfs, xen_calls, xenstore
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack import libxl_files
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import Router
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

MODULES = {
    name: importlib.import_module(f"ansible_collections.xen.pci.plugins.modules.{name}")
    for name in ("assignable_devices", "domain_devices", "host_info", "host_state", "repair", "virtual_functions")
}
#: Requests to xenstored that change something. A read before which the process dies is the change before it.
CHANGES = {Op.WRITE: "write", Op.RM: "rm", Op.MKDIR: "mkdir", Op.SET_PERMS: "perms", Op.TRANSACTION_END: "commit"}
#: Seconds for a node to become what `act` waits for; under emulation a guest needs many.
PATIENCE = 60.0
#: Where a simulated host's xenstored is; empty on a real one.
SIMULATED = os.environ.get("XENSTORED_PATH", "")
HYPERCALLS = ("assign", "deassign", "ioports", "iomem", "irq", "map_pirq", "unmap_pirq")


class Points:
    """Names every change, before and after it; kills this process at one of them: a number, or how a name begins.

    What comes again under the same name is numbered: `after commit T #2`. `after write /local, then after commit` is
    the first commit behind the first of those writes. `refuse_at`: the point before which the call
    is refused; `lose_at`: the one before which xenstored falls silent, so that the call is made and nobody knows. Where
    that is another call than the one that was counted, since this run met fewer conflicts, it is the next request.
    """

    def __init__(self, kill_at: int | str | None, refuse_at: int | None = None, lose_at: int | None = None) -> None:
        self._kill_at = kill_at
        self._names_ahead = kill_at.split(", then ") if isinstance(kill_at, str) else []
        self._refuse_at = refuse_at
        self._lose_at = lose_at
        self._lock = threading.Lock()
        self._times: Counter[str] = Counter()
        self.names: list[str] = []

    def around(self, name: str, call: Callable[[], Any], refuse: Callable[[], Any]) -> Any:
        point = len(self.names)
        self._pass(f"before {name}")
        result = refuse() if point == self._refuse_at else call()
        self._pass(f"after {name}")
        if self._lose_at is not None and point >= self._lose_at and name.split(maxsplit=1)[0] in CHANGES.values():
            self._lose_at = None
            raise xenstore.XenStoreGone("xenstored has not answered")
        return result

    @property
    def meant(self) -> bool:
        """Whether something is to happen at one of them."""
        return any(at is not None for at in (self._kill_at, self._refuse_at, self._lose_at))

    def _pass(self, name: str) -> None:
        with self._lock:
            self._times[name] += 1
            numbered = f"{name} #{self._times[name]}"
            reached = bool(self._names_ahead) and numbered.startswith(self._names_ahead[0])
            if reached and len(self._names_ahead) > 1:
                del self._names_ahead[0]
            elif reached or len(self.names) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.names.append(numbered)


def _full() -> list[Any]:
    """What comes of a request that xenstored has no room for."""
    slot = RVar()
    slot.set(Packet(Op.ERROR, b"ENOSPC\0", 0, 0))
    return [slot]


def watch(points: Points) -> None:
    """Wrap what reaches outside: xenstore requests, sysfs writes, hypercalls, files that take the place of others."""
    send = Router.send_all

    def counted_send(router: Router, requests: Sequence[tuple[int, bytes]], tx_id: int) -> list[Any]:
        """One request at a time, so that a batch can end in its middle."""
        slots = []
        for operation, payload in requests:
            one = functools.partial(send, router, [(operation, payload)], tx_id)
            if operation in CHANGES:
                where = payload.split(b"\0")[0].decode()
                slots += points.around(f"{CHANGES[operation]} {where}", one, _full)
            else:
                slots += one()
        return slots

    Router.send_all = counted_send  # type: ignore[method-assign]
    write = sysfs.Sysfs._write

    def counted_write(self: Any, file: Any, text: str, sbdf: Any, purpose: str) -> None:
        missing = file.with_name("no such file")
        points.around(
            f"sysfs {file.name} {sbdf}",
            lambda: write(self, file, text, sbdf, purpose),
            lambda: write(self, missing, text, sbdf, purpose),
        )

    sysfs.Sysfs._write = counted_write  # type: ignore[method-assign]
    replace = os.replace

    def full_disk(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def counted_replace(source: Any, target: Any) -> None:
        points.around(f"file {target}", lambda: replace(source, target), full_disk)

    os.replace = counted_replace  # type: ignore[assignment]
    acquire = libxl_files._acquire

    def counted_acquire(path: Path, deadline: float) -> Any:
        return points.around(f"lock {path}", lambda: acquire(path, deadline), full_disk)

    libxl_files._acquire = counted_acquire
    for way, name in itertools.product((xen_calls.Binding, xen_calls.Library), HYPERCALLS):
        real = getattr(way, name)

        def counted(self: Any, *arguments: Any, _real: Any = real, _name: str = name) -> Any:
            shown = " ".join(map(str, arguments))
            return points.around(f"xen {_name} {shown}", lambda: _real(self, *arguments), lambda: errno.EINVAL)

        setattr(way, name, counted)


def run(module: str, parameters: dict[str, Any], check: bool, points: Points) -> dict[str, Any]:
    """What the module answers, as Ansible would get it, its log, the points that it passed, the seconds it took."""
    arguments = {**parameters, "_ansible_check_mode": check, "_ansible_diff": True}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    output, log, began = io.StringIO(), [], time.monotonic()
    basic.AnsibleModule.log = lambda _self, message, log_args=None: log.append(message)  # type: ignore[method-assign]
    try:
        with redirect_stdout(output):
            MODULES[module].main()
    except SystemExit:
        pass
    answer: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    return {**answer, "log": log, "points": points.names, "elapsed": time.monotonic() - began}


def act(steps: list[list[Any]]) -> dict[str, Any]:
    """Somebody else's hands: xenstore (write, remove), Xen (assign, deassign) and sysfs (unbind, bind, permissive).

    `until PATH VALUE` waits for a node, `until_touched DEVICE` for a guest's driver to switch
    something in its configuration space, and `pause DOMID` stops a guest before it gets further, on real Xen only.
    """
    with open_host() as access:
        flags = access.sysfs.config_flags
        before = {words[0]: flags(Sbdf.parse(words[0])) for what, *words in steps if what == "until_touched"}
        for what, *words in steps:
            if what in ("write", "remove"):
                getattr(access.store, what)(*words)
            elif what in ("assign", "deassign"):
                getattr(access.hypervisor, what)(int(words[0]), Sbdf.parse(words[1]))
            elif what == "until":
                _until(functools.partial(access.store.read, words[0]), words[1], words[0])
            elif what == "until_touched":
                _until(lambda name=words[0]: flags(Sbdf.parse(name)) != before[name], True, f"touch of {words[0]}")
            elif what == "pause":
                xen_calls.check(_pause(int(words[0])), f"pause domain {words[0]}")
            else:
                getattr(access.sysfs, what)(Sbdf.parse(words[0]), *words[1:])
    return {}


def _until(look: Callable[[], object], value: object, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (now := look()) != value:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is {now}, not {value}")


def _pause(domid: int) -> int:
    library = xen_calls.find_library()
    return library._call("xc_domain_pause", ctypes.c_uint32(domid)) if library is not None else errno.ENOSYS


def serve() -> None:
    """Answer each request with the result of a fork, or with the signal that ended it."""
    if SIMULATED:
        from clock import Clock  # noqa: PLC0415 - it needs the simulator, which is not on the lab

        Clock(Path(SIMULATED).parent.parent).install()
        run("repair", {"settle": 0}, True, Points(None))  # what is imported at its first use is in every fork then
    gc.collect()
    gc.freeze()  # a fork's collector would copy all pages that it looks at
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(request, writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            text = pipe.read()
        _pid, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            text = json.dumps({"killed": os.WTERMSIG(status)})
        print(text or json.dumps({"crashed": os.waitstatus_to_exitcode(status)}), flush=True)


def _child(request: dict[str, Any], writing: int) -> None:
    status = 1
    try:
        points = Points(request.get("kill_at"), request.get("refuse_at"), request.get("lose_at"))
        if request.get("count") or points.meant:
            watch(points)
        if request["module"] == "act":
            answer = act(request["parameters"])
        else:
            answer = run(request["module"], request["parameters"], request.get("check", False), points)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(answer))
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
