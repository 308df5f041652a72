# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways to Xen, each behind a stand-in that has the traps of the real one."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host import xen_calls
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import DOMID_INVALID, Hypervisor
from ansible_collections.xen.pci.plugins.module_utils.host.xen_calls import HypervisorError, running_version
from ansible_collections.xen.pci.plugins.module_utils.model.device import XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import DOMID_IO
from ansible_collections.xen.pci.plugins.module_utils.model.live_domain import Label, LiveDomain, uuids
from ansible_collections.xen.pci.plugins.module_utils.model.xen import Xen
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

DEVICE = Sbdf(1, 0xAB, 0x1C, 5)
DOMID = 7
#: As Xen writes it, with times.
LOG = "(XEN) [    0.1] I/O virtualisation enabled\n(XEN) [    0.1] Interrupt remapping disabled\n"


class XcError(Exception):
    """xen.lowlevel.xc.Error: its arguments are an errno and a text."""


class FakeXc:
    """An object like xen.lowlevel.xc.xc(): what each call got, and what it is to answer.

    Names of arguments, and which calls take them by position only: tools/python/xen/lowlevel/xc/xc.c of Xen.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.results: dict[str, Any] = {}
        self.virt_caps = "pv hvm hvm_directio pv_directio hap"
        self.dom0_is_hvm = 0
        self.console_log, self.command_line = LOG.encode() + b"\xff", "iommu=dom0-strict"
        #: Up to Xen 4.17, it raises an error where there are no more domains (xc_domain_getinfo).
        self.older = False

    def physinfo(self) -> dict[str, Any]:
        return {"virt_caps": self.virt_caps}

    def readconsolering(self, clear: int = 0, index: int = 0, incremental: int = 0) -> bytes:
        assert not clear
        return self.console_log

    def xeninfo(self) -> dict[str, Any]:
        return {"xen_commandline": self.command_line}

    def _call(self, name: str, **arguments: Any) -> Any:
        self.calls.append((name, arguments))
        result = self.results.get(name, 0)
        if isinstance(result, Exception):
            raise result
        return result

    def _about_device(self, name: str, domid: int, pci: str) -> Any:
        # next_bdf() runs past the end of the text where a number has no "x".
        words = pci.split(",")
        assert len(words) == 4 and all(word.startswith("0x") for word in words), pci
        return self._call(name, domid=domid, device=Sbdf(*(int(word, 16) for word in words)))

    def test_assign_device(self, domid: int, pci: str) -> Any:
        return self._about_device("test_assign_device", domid, pci)

    def assign_device(self, domid: int, pci: str) -> Any:
        return self._about_device("assign_device", domid, pci)

    def deassign_device(self, domid: int, pci: str) -> Any:
        return self._about_device("deassign_device", domid, pci)

    def get_device_group(self, *arguments: int) -> Any:
        assert len(arguments) == 5
        return self._call("get_device_group", arguments=arguments)

    def domain_ioport_permission(self, domid: int, first_port: int, nr_ports: int, allow_access: int) -> Any:
        return self._call("ioport", domid=domid, first=first_port, count=nr_ports, allow=allow_access)

    def domain_iomem_permission(self, domid: int, first_pfn: int, nr_pfns: int, allow_access: int) -> Any:
        return self._call("iomem", domid=domid, first=first_pfn, count=nr_pfns, allow=allow_access)

    def domain_irq_permission(self, domid: int, pirq: int, allow_access: int) -> Any:
        return self._call("irq", domid=domid, pirq=pirq, allow=allow_access)

    def domain_getinfo(self, first_dom: int = 0, max_doms: int = 1024) -> Any:
        if max_doms == 1:
            return [{"domid": 0, "hvm": self.dom0_is_hvm}]
        found = self._call("domain_getinfo", first=first_dom)
        matching = [one for one in found or () if one["domid"] >= first_dom][: min(max_doms, 2)]
        if not matching and self.older:
            raise XcError(errno.ESRCH, "No such process")
        return matching

    def physdev_map_pirq(self, domid: int, index: int, pirq: int) -> Any:
        return self._call("map_pirq", domid=domid, index=index, pirq=pirq)


def install_binding(monkeypatch: pytest.MonkeyPatch, xc: FakeXc) -> None:
    binding = types.ModuleType("xen.lowlevel.xc")
    binding.Error = XcError  # type: ignore[attr-defined]
    binding.xc = lambda: xc  # type: ignore[attr-defined]
    package, lowlevel = types.ModuleType("xen"), types.ModuleType("xen.lowlevel")
    lowlevel.xc = binding  # type: ignore[attr-defined]
    for name, one in {"xen": package, "xen.lowlevel": lowlevel, "xen.lowlevel.xc": binding}.items():
        monkeypatch.setitem(sys.modules, name, one)


class FakeLibrary:
    """libxenctrl as ctypes shows it: results and errno, and 0 for success."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.errors: dict[str, int] = {}
        self.group: list[int] = []
        #: Bytes that Xen writes of each domain, in the order of their numbers.
        self.records: list[bytes] = []
        #: What Xen fills in, by the call: where, and which number.
        self.answers = {"xc_physinfo": (28, 0b1111), "xc_domain_getinfolist": (4, 0b100001)}

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("xc_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name == "xc_interface_open":
                return 0 if name in self.errors else 0xBEEF
            handle, *rest = arguments
            assert handle.value == 0xBEEF
            if name in self.answers and not self.records:
                at, number = self.answers[name]
                rest[-1][at : at + 4] = number.to_bytes(4, "little")
                return -1 if name in self.errors else 1
            self.calls.append((name, *(getattr(one, "value", one) for one in rest)))
            if name == "xc_readconsolering" and name not in self.errors:
                assert [one.value for one in rest[2:4]] == [0, 0] and rest[1]._obj.value == len(rest[0]) > len(LOG)
                rest[0][: len(LOG)] = LOG.encode()
                rest[1]._obj.value = len(LOG)
            if name == "xc_version" and name not in self.errors:
                assert rest[0].value == 9 and len(rest[1]) == 1024
                rest[1].value = b"iommu=dom0-strict"
            if name == "xc_get_device_group" and name not in self.errors:
                rest[3]._obj.value = len(self.group)
                for index, value in enumerate(self.group):
                    rest[4][index] = value
            ctypes.set_errno(self.errors.get(name, 0))
            if name == "xc_domain_getinfolist" and name not in self.errors:
                found = [one for one in self.records if int.from_bytes(one[:2], "little") >= rest[0].value][:1]
                for one in found:
                    ctypes.memmove(rest[2], one, len(one))
                return len(found)
            return -1 if name in self.errors else 0

        setattr(self, name, call)
        return call


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLibrary:
    """libxenctrl of the running version is there, and the binding is not."""
    version = tmp_path / "hypervisor" / "version"
    version.mkdir(parents=True)
    (version / "major").write_text("4\n")
    (version / "minor").write_text("17\n")
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path))
    fake = FakeLibrary()

    def load(name: str, **_options: Any) -> FakeLibrary:
        if name != "libxenctrl.so.4.17":
            raise OSError(name)
        return fake

    monkeypatch.setattr(xen_calls.ctypes, "CDLL", load)
    monkeypatch.setitem(sys.modules, "xen", None)
    return fake


@pytest.fixture
def xc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeXc:
    """The binding is there, and no libxenctrl."""
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path))
    fake = FakeXc()
    install_binding(monkeypatch, fake)
    return fake


# ---- the binding


def test_the_binding_gets_devices_in_the_only_form_that_it_reads(xc: FakeXc) -> None:
    with Hypervisor.open() as hypervisor:
        hypervisor.assign(DOMID, DEVICE)
        hypervisor.deassign(DOMID, DEVICE)
        assert hypervisor.accepts(DOMID, DEVICE)
    about = {"domid": DOMID, "device": DEVICE}
    assert xc.calls == [("assign_device", about), ("deassign_device", about), ("test_assign_device", about)]


@pytest.mark.parametrize(("result", "code"), [(int(DEVICE), errno.EINVAL), (-1, errno.ENOSYS)])
@pytest.mark.parametrize(("name", "verb"), [("assign", "assign"), ("deassign", "take")])
def test_a_refusal_of_the_binding_is_an_error(xc: FakeXc, result: int, code: int, name: str, verb: str) -> None:
    xc.results = {"assign_device": result, "deassign_device": result}
    with Hypervisor.open() as hypervisor, pytest.raises(HypervisorError, match=verb) as caught:
        getattr(hypervisor, name)(DOMID, DEVICE)
    assert str(DEVICE) in str(caught.value)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("result", "owner"), [(0, XenOwner.HOST), (int(DEVICE), XenOwner.GUEST), (-1, XenOwner.UNKNOWN)]
)
def test_the_owner_is_asked_with_no_domain_in_mind(xc: FakeXc, result: int, owner: XenOwner) -> None:
    xc.results = {"test_assign_device": result}
    with Hypervisor.open() as hypervisor:
        assert hypervisor.owner(DEVICE) is owner
    assert xc.calls == [("test_assign_device", {"domid": DOMID_INVALID, "device": DEVICE})]


def test_rights_of_each_kind_reach_the_binding(xc: FakeXc) -> None:
    with Hypervisor.open() as hypervisor:
        hypervisor.allow_ioports(DOMID, 0xE000, 32, True)
        hypervisor.allow_iomem(DOMID, 0xFE800, 4, False)
        hypervisor.allow_irq(DOMID, 17, True)
        hypervisor.allow_irq(DOMID, 17, False)
    assert xc.calls == [
        ("ioport", {"domid": DOMID, "first": 0xE000, "count": 32, "allow": True}),
        ("iomem", {"domid": DOMID, "first": 0xFE800, "count": 4, "allow": False}),
        ("map_pirq", {"domid": DOMID, "index": 17, "pirq": 17}),
        ("irq", {"domid": DOMID, "pirq": 17, "allow": True}),
        ("irq", {"domid": DOMID, "pirq": 17, "allow": False}),
    ]


RIGHTS: dict[str, Callable[[Hypervisor], None]] = {
    "ioport": lambda hypervisor: hypervisor.allow_ioports(DOMID, 0xE000, 32, True),
    "iomem": lambda hypervisor: hypervisor.allow_iomem(DOMID, 0xFE800, 4, False),
    "map_pirq": lambda hypervisor: hypervisor.allow_irq(DOMID, 17, True),
    "irq": lambda hypervisor: hypervisor.allow_irq(DOMID, 17, False),
}


@pytest.mark.parametrize(("name", "call"), RIGHTS.items(), ids=RIGHTS)
@pytest.mark.parametrize(
    ("raised", "code"),
    [(XcError(errno.EPERM, "Operation not permitted"), errno.EPERM), (XcError("no number"), errno.EIO)],
    ids=["with errno", "without"],
)
def test_what_the_binding_raises_is_an_error_with_its_number(
    xc: FakeXc, name: str, call: Callable[[Hypervisor], None], raised: Exception, code: int
) -> None:
    xc.results = {name: raised}
    with Hypervisor.open() as hypervisor, pytest.raises(HypervisorError) as caught:
        call(hypervisor)
    assert caught.value.code == code
    assert f"domain {DOMID}" in str(caught.value)


def test_the_bindings_group_has_no_segment(xc: FakeXc) -> None:
    xc.results = {"get_device_group": "ab:1c.4,ab:1c.6,"}
    with Hypervisor.open() as hypervisor:
        assert hypervisor.device_group(0, DEVICE) == [Sbdf(1, 0xAB, 0x1C, 4), Sbdf(1, 0xAB, 0x1C, 6)]
        xc.results = {"get_device_group": ""}
        assert hypervisor.device_group(0, DEVICE) == []
        xc.results = {"get_device_group": XcError(errno.EPERM, "no")}
        with pytest.raises(HypervisorError):
            hypervisor.device_group(0, DEVICE)
    assert xc.calls[0] == ("get_device_group", {"arguments": (0, 1, 0xAB, 0x1C, 5)})


# ---- libxenctrl


def test_the_library_of_the_running_version_serves_without_a_binding(library: FakeLibrary) -> None:
    with Hypervisor.open() as hypervisor:
        hypervisor.assign(DOMID, DEVICE)
        hypervisor.assign(DOMID, DEVICE, relaxed=True)
        hypervisor.deassign(DOMID, DEVICE)
        hypervisor.allow_ioports(DOMID, 0xE000, 32, True)
        hypervisor.allow_iomem(DOMID, 1 << 40, 4, False)
        assert hypervisor.owner(DEVICE) is XenOwner.HOST
    sbdf = int(DEVICE)
    assert library.calls == [
        ("xc_assign_device", DOMID, sbdf, 0),
        ("xc_assign_device", DOMID, sbdf, 1),
        ("xc_deassign_device", DOMID, sbdf),
        ("xc_domain_ioport_permission", DOMID, 0xE000, 32, 1),
        ("xc_domain_iomem_permission", DOMID, 1 << 40, 4, 0),
        ("xc_test_assign_device", DOMID_INVALID, sbdf),
        ("xc_interface_close",),
    ]


@pytest.mark.parametrize(
    ("code", "owner"),
    [
        (errno.EINVAL, XenOwner.GUEST),
        (errno.EBUSY, XenOwner.GUEST),
        (errno.EOPNOTSUPP, XenOwner.UNKNOWN),
        (errno.ENOSYS, XenOwner.UNKNOWN),
        (errno.EPERM, XenOwner.UNKNOWN),
        (errno.EACCES, XenOwner.UNKNOWN),
    ],
)
def test_an_error_tells_an_owner_only_if_it_is_about_the_device(
    library: FakeLibrary, code: int, owner: XenOwner
) -> None:
    library.errors = {"xc_test_assign_device": code}
    with Hypervisor.open() as hypervisor:
        assert hypervisor.owner(DEVICE) is owner
        assert not hypervisor.accepts(DOMID, DEVICE)


def test_an_errno_of_the_library_comes_through(library: FakeLibrary) -> None:
    library.errors = {"xc_assign_device": errno.EBUSY}
    with Hypervisor.open() as hypervisor, pytest.raises(HypervisorError, match=f"assign {DEVICE}") as caught:
        hypervisor.assign(DOMID, DEVICE)
    assert caught.value.code == errno.EBUSY


def test_a_device_with_reserved_memory_is_refused_with_what_to_look_for(library: FakeLibrary) -> None:
    library.errors = {"xc_assign_device": errno.EPERM}
    with Hypervisor.open() as hypervisor:
        with pytest.raises(HypervisorError, match=r"assign .*xl dmesg.*RMRR.*rdm_policy: relaxed") as caught:
            hypervisor.assign(DOMID, DEVICE)
        assert caught.value.code == errno.EPERM
        with pytest.raises(HypervisorError) as plain:
            hypervisor.assign(DOMID, DEVICE, relaxed=True)
        assert "RMRR" not in str(plain.value)


def test_an_interrupt_is_mapped_before_it_is_granted_and_revoked_although_it_cannot_be_unmapped(
    library: FakeLibrary,
) -> None:
    with Hypervisor.open() as hypervisor:
        hypervisor.allow_irq(DOMID, 17, True)
        library.errors = {"xc_physdev_unmap_pirq": errno.EINVAL}
        hypervisor.allow_irq(DOMID, 17, False)
    assert [call[0] for call in library.calls[:-1]] == [
        "xc_physdev_map_pirq",
        "xc_domain_irq_permission",
        "xc_physdev_unmap_pirq",
        "xc_domain_irq_permission",
    ]
    assert library.calls[3] == ("xc_domain_irq_permission", DOMID, 17, 0)


def test_the_librarys_group_is_in_xens_own_layout(library: FakeLibrary) -> None:
    library.group = [0xAB << 16 | DEVICE.devfn << 8, 0x03 << 16 | 0x08 << 8]
    with Hypervisor.open() as hypervisor:
        assert hypervisor.device_group(0, DEVICE) == [DEVICE, Sbdf(1, 3, 1, 0)]
        library.errors = {"xc_get_device_group": errno.EFAULT}
        with pytest.raises(HypervisorError, match="group"):
            hypervisor.device_group(0, DEVICE)


def test_with_both_ways_the_library_does_what_the_binding_cannot(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    xc = FakeXc()
    install_binding(monkeypatch, xc)
    with Hypervisor.open() as hypervisor:
        hypervisor.assign(DOMID, DEVICE, relaxed=True)
        hypervisor.allow_irq(DOMID, 17, False)
    assert library.calls == [
        ("xc_assign_device", DOMID, int(DEVICE), 1),
        ("xc_physdev_unmap_pirq", DOMID, 17),
        ("xc_interface_close",),
    ]
    assert [name for name, _arguments in xc.calls] == ["irq"]


# ---- what Xen says of itself


@pytest.mark.parametrize(
    ("virt_caps", "iommu"),
    [("pv hvm hvm_directio pv_directio hap", True), ("hvm hvm_directio", True), ("pv hvm hap", False), ("", False)],
)
def test_the_binding_says_whether_there_is_an_iommu(xc: FakeXc, virt_caps: str, iommu: bool) -> None:
    xc.virt_caps = virt_caps
    with Hypervisor.open() as hypervisor:
        assert hypervisor.describe() == Xen(iommu, False, False, "strict")
        # The binding hides why Xen refuses the question, so the answer must not be taken for a guest's device.
        xc.results = {"test_assign_device": 0 if iommu else int(DEVICE)}
        assert hypervisor.owner(DEVICE) is (XenOwner.HOST if iommu else XenOwner.UNKNOWN)


def test_the_library_says_the_same(library: FakeLibrary) -> None:
    with Hypervisor.open() as hypervisor:
        assert hypervisor.describe() == Xen(True, False, False, "strict")
    library.answers = {"xc_physinfo": (28, 0b1011), "xc_domain_getinfolist": (4, 0b100010)}
    with Hypervisor.open() as hypervisor:
        assert hypervisor.describe() == Xen(False, True, False, "strict")


@pytest.mark.parametrize(("guest_type", "pvh"), [("PV\n", False), ("PVH\n", True), (None, None)])
def test_where_xen_does_not_say_the_kernel_does(
    library: FakeLibrary, tmp_path: Path, guest_type: str | None, pvh: bool | None
) -> None:
    calls = ("xc_physinfo", "xc_domain_getinfolist", "xc_readconsolering", "xc_version")
    library.errors = dict.fromkeys(calls, errno.EPERM)
    if guest_type is not None:
        (tmp_path / "hypervisor" / "guest_type").write_text(guest_type)
    with Hypervisor.open() as hypervisor:
        assert hypervisor.describe() == Xen(iommu=None, dom0_is_pvh=pvh)


def test_older_xens_have_the_flag_elsewhere(library: FakeLibrary, tmp_path: Path) -> None:
    (tmp_path / "hypervisor" / "version" / "minor").write_text("11\n")
    assert running_version() == "4.11"
    assert xen_calls.Library.has_iommu(xen_calls.Library(library)) is None  # type: ignore[arg-type]


def test_a_pvh_dom0_gives_no_interrupt_lines(xc: FakeXc) -> None:
    xc.dom0_is_hvm = 1
    with Hypervisor.open() as hypervisor:
        with pytest.raises(HypervisorError, match=r"interrupt 17 .*PVH.*PV guests"):
            hypervisor.allow_irq(DOMID, 17, True)
        hypervisor.allow_irq(DOMID, 17, False)  # nothing of that number is a guest's
    assert xc.calls == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EBUSY, errno.ENODEV, errno.EPERM, errno.EOPNOTSUPP])
@pytest.mark.parametrize("iommu", [True, False])
def test_no_message_has_a_number_that_users_do_not_know(library: FakeLibrary, code: int, iommu: bool) -> None:
    library.errors = {"xc_assign_device": code, "xc_deassign_device": code}
    library.answers["xc_physinfo"] = 28, 0b1111 if iommu else 0b1011
    with Hypervisor.open() as hypervisor:
        for call in (hypervisor.deassign, hypervisor.assign):
            with pytest.raises(HypervisorError, match="quarantine") as caught:
                call(DOMID_IO, DEVICE)
            text = str(caught.value)
            assert not re.search("327|domain 3", text)
            assert ("IOMMU" in text) == (not iommu or code in (errno.ENOSYS, errno.EOPNOTSUPP))
            assert not text.endswith(f": {os.strerror(code)}")


# ---- none


def test_without_any_way_the_message_names_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "xen", None)
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path))
    with pytest.raises(HypervisorError, match=r"xen\.lowlevel\.xc nor libxenctrl.*dom0"), Hypervisor.open():
        pass


def test_a_library_that_cannot_reach_xen_is_no_way(library: FakeLibrary) -> None:
    library.errors = {"xc_interface_open": errno.EACCES}
    with pytest.raises(HypervisorError, match=r"libxenctrl\.so\.4\.17"), Hypervisor.open():
        pass


def test_the_version_is_xens_own(library: FakeLibrary) -> None:
    assert running_version() == "4.17"


# ---- domains

UUIDS = [bytes([number] * 16) for number in (0, 5, 9)]


def record(domid: int, flags: int, uuid: bytes, place: int) -> bytes:
    """What Xen writes of a domain, with its UUID at a place that depends on the release."""
    head = domid.to_bytes(2, "little") + b"\xee\xee" + flags.to_bytes(4, "little")
    return head.ljust(place, b"\x01") + uuid + bytes(32)


@pytest.mark.parametrize("older", [False, True])
def test_the_binding_lists_domains_until_no_more_come(xc: FakeXc, older: bool) -> None:
    xc.older = older
    xc.results["domain_getinfo"] = [
        {"domid": domid, "dying": int(domid == 9), "handle": list(uuid)}
        for domid, uuid in zip((0, 5, 9), UUIDS, strict=True)
    ]
    with Hypervisor.open() as hypervisor:
        assert list(hypervisor.domains().values()) == [
            LiveDomain(0, False, UUIDS[0]),
            LiveDomain(5, False, UUIDS[1]),
            LiveDomain(9, True, UUIDS[2]),
        ]
        assert [domid for domid in range(12) if hypervisor.has(domid)] == [0, 5]
        xc.results["domain_getinfo"] = XcError(errno.EPERM, "Operation not permitted")
        with pytest.raises(HypervisorError, match="refused to list its domains"):
            hypervisor.domains()


@pytest.mark.parametrize("place", [8, 76, 200])
def test_the_library_lists_them_whatever_else_xen_says(library: FakeLibrary, place: int) -> None:
    """Only the first eight bytes are the same in all releases."""
    flags = (0x18, 0x1F0012, 0x1)
    library.records = [record(*one, place) for one in zip((0, 5, 9), flags, UUIDS, strict=True)]
    with Hypervisor.open() as hypervisor:
        found = hypervisor.domains()
        assert [(one.domid, one.dying) for one in found.values()] == [(0, False), (5, False), (9, True)]
        assert [domid for domid in range(12) if hypervisor.has(domid)] == [0, 5]
        labels = {5: Label("web01", "05050505-0505-0505-0505-050505050505"), 9: Label("db01")}
        assert uuids(found, labels) == {
            0: "",
            5: "05050505-0505-0505-0505-050505050505",
            9: "09090909-0909-0909-0909-090909090909",
        }
        library.errors["xc_domain_getinfolist"] = errno.EACCES
        with pytest.raises(HypervisorError, match="Permission denied"):
            hypervisor.domains()
