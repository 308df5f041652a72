# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operation of the simulated libxl needs: xenstore, hypercalls, sysfs, names, stored configuration."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..host.device import Address
from ..interpreter.xen.lowlevel._simulator import request
from .qmp_client import Failed, command
from .store_client import StoreClient

DOMID_IO = 0x7FF1


def complain(text: str, level: str = "error") -> None:
    """A line as libxl logs it."""
    print(f"libxl: {level}: {text}", file=sys.stderr)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """libxl's lock on a file, which goes with the lock (libxl__lock_file, libxl__unlock_file)."""
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


class Toolstack:
    """One toolstack process. `wait` is how long it waits for a backend, in seconds (libxl: 10)."""

    def __init__(self, run: Path) -> None:
        self._run = str(run)
        self.sys = run / "sys"
        self._userdata = run / "var" / "lib" / "xen"
        self._sockets = run / "run"
        self.wait = float(os.environ.get("SIMULATED_XL_WAIT", "10"))
        self.xs = StoreClient(str(run / "xenstored" / "socket"))

    def ask(self, do: str, **arguments: Any) -> Any:
        """A request to the simulator (a hypercall)."""
        return request(self._run, do, **arguments)

    def call(self, name: str, **arguments: Any) -> Any:
        """A hypercall; OSError."""
        return self.ask("hypercall", name=name, arguments=arguments)

    def sysfs(self, path: str, text: str) -> None:
        """Write to a file of sysfs; OSError."""
        self.ask("sysfs-write", path=os.path.realpath(self.sys / path), data=text)

    def iommu_caps(self) -> str:
        """What `xl info` adds to virt_caps where there is an IOMMU."""
        try:
            self.call("test_assign", domid=DOMID_IO, sbdf=0)
        except OSError as error:
            return "" if error.errno == errno.EOPNOTSUPP else " hvm_directio pv_directio"
        return " hvm_directio pv_directio"

    # -- names ---------------------------------------------------------------------------------------

    def domid(self, who: str) -> int:
        """A domain by name or number."""
        for domain in self.ask("list"):
            if who in (domain["name"], str(domain["domid"])):
                return int(domain["domid"])
        raise Failed(f"{who} is an invalid domain identifier (rc=-6)")

    def domain(self, domid: int) -> dict[str, Any]:
        """What the simulator knows of a domain."""
        return next(domain for domain in self.ask("list") if domain["domid"] == domid)

    def stub_domain(self, domid: int) -> int | None:
        """The domain that a domain's QEMU runs in, if it is not dom0."""
        text = self.xs.read(f"/local/domain/{domid}/image/device-model-domid")
        return int(text) if text else None

    @staticmethod
    def qemu_name(address: Address) -> str:
        """What QEMU calls a device: without the segment."""
        return f"pci-pt-{address.bus:02x}_{address.slot:02x}.{address.function}"

    def qmp(self, domid: int, name: str, **arguments: Any) -> Any:
        """A command for a domain's QEMU, under the lock that libxl takes for it; Failed."""
        lock = self.json_path(domid).name.replace("userdata-d.", "userdata-l.").replace("libxl-json", "qmp-socket-lock")
        with locked(self._userdata / lock):
            return command(self._sockets / f"qmp-libxl-{domid}", self.wait, name, **arguments)

    @staticmethod
    def atoi(text: str | None) -> int:
        """C's reading of a number: what does not begin with one is 0."""
        match = re.match(r"\s*[+-]?\d+", text or "", re.ASCII)
        return int(match[0]) if match else 0

    @staticmethod
    def marker(address: Address) -> str:
        """libxl's own directory for a device."""
        a = address
        return f"/libxl/pci/{a.segment:04x}-{a.bus:02x}-{a.slot:02x}-{a.function}"

    @staticmethod
    def backend(domid: int) -> str:
        """The backend's directory."""
        return f"/local/domain/0/backend/pci/{domid}/0"

    @staticmethod
    def frontend(domid: int) -> str:
        """The frontend's directory."""
        return f"/local/domain/{domid}/device/pci/0"

    # -- stored configuration ------------------------------------------------------------------------

    def config(self, domid: int) -> dict[str, Any]:
        """What a domain was created from."""
        names = (
            "name",
            "type",
            "passthrough",
            "e820_host",
            "pcifront",
            "linux",
            "memory",
            "on_poweroff",
            "on_reboot",
            "stubdomain",
            "pci",
        )
        return {name: value for name, value in self.domain(domid).items() if name in names}

    def json_path(self, domid: int) -> Path:
        """The file of libxl's stored configuration."""
        return self._userdata / f"userdata-d.{domid}.{self.domain(domid)['uuid']}.libxl-json"

    def load(self, domid: int) -> Any:
        """The stored configuration; Failed if there is none, or one that libxl cannot read."""
        try:
            return json.loads(self.json_path(domid).read_text(encoding="utf-8").rstrip("\0"))
        except FileNotFoundError:
            raise Failed(f"Domain {domid}:no such file or directory: libxl-json") from None
        except ValueError as error:
            raise Failed(f"libxl_json.c: failed to parse the configuration of domain {domid}: {error}") from None

    def remembered(self, domid: int) -> list[str]:
        """Devices of the stored configuration."""
        return [
            str(Address(d.get("domain", 0), d.get("bus", 0), d.get("dev", 0), d.get("func", 0)))
            for d in self.load(domid).get("pcidevs", [])
        ]

    def remembered_entry(self, domid: int, device: str) -> dict[str, Any]:
        """The entry of a device in the stored configuration."""
        at = self.remembered(domid).index(device)
        return dict(self.load(domid)["pcidevs"][at])

    def remember(self, domid: int, address: Address, options: dict[str, Any]) -> None:
        """Add a device to the stored configuration; default values are left out."""
        path, config = self.json_path(domid), self.load(domid)
        values = {"dev": address.slot, "bus": address.bus, "domain": address.segment, "func": address.function}
        entry = {name: value for name, value in values.items() if value} | options
        # An entry of the same device is replaced (device_add_domain_config).
        others = [one for one in config.get("pcidevs", []) if any(one.get(n, 0) != v for n, v in values.items())]
        config["pcidevs"] = [*others, entry]
        new = path.with_name(path.name.replace("userdata-d.", "userdata-n."))
        new.write_bytes(json.dumps(config, indent=4).encode() + b"\0")
        os.replace(new, path)
