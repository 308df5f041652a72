# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading devices from a small tree that has the shape of sysfs, and what becomes of refused writes."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import Sysfs, SysfsError
from ansible_collections.xen.pci.plugins.module_utils.model.device import Acs, ConfigFlags, Resource
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.reserved_memory import ReservedMemory
from simulated_xen.host.firmware import Reserved, table

NIC = Sbdf.parse("0000:03:00.0")
PORT = Sbdf.parse("0000:00:02.0")
NVME = Sbdf.parse("0000:04:00.0")
#: As Linux writes it: an Intel 82574L, subsystem a01f.
MODALIAS = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"


def config_space(size: int = 4096, command: int = 0x0507, msix: bool = True) -> bytes:
    """MSI at 0x50 (off), MSI-X at 0x60, PCI Express at 0x70; a serial number as second extended capability."""
    space = bytearray(4096)
    struct.pack_into("<HH", space, 0x04, command, 0x0010)
    space[0x0E] = 0x80
    space[0x34] = 0x50
    space[0x3D] = 1
    struct.pack_into("<BBH", space, 0x50, 0x05, 0x60, 0x0080)
    struct.pack_into("<BBH", space, 0x60, 0x11, 0x70, 0x8002 if msix else 0x0002)
    struct.pack_into("<BBH", space, 0x70, 0x10, 0x00, 0x0002)
    struct.pack_into("<I", space, 0x100, 0x0001 | 1 << 16 | 0x140 << 20)
    struct.pack_into("<III", space, 0x140, 0x0003 | 1 << 16, 0xFF000101, 0x525400FF)
    return bytes(space[:size])


class Tree:
    """Builds a sysfs below a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root / "sys"
        for path in ("bus/pci/devices", "bus/pci/drivers/pciback", "class/net", "class/block"):
            (self.root / path).mkdir(parents=True)
        for name in ("bind", "unbind", "new_slot", "remove_slot", "slots"):
            self.write(f"bus/pci/drivers/pciback/{name}", "")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def device(self, sbdf: Sbdf, under: str = "", driver: str | None = None, config: bytes = b"", **files: str) -> str:
        path = f"devices/pci0000:00/{under}{sbdf}"
        facts = {"modalias": MODALIAS, "revision": "0x03", "numa_node": "-1", "irq": "17"}
        for name, text in (facts | files).items():
            self.write(f"{path}/{name}", f"{text}\n")
        (self.root / path / "config").write_bytes(config or config_space())
        (self.root / "bus/pci/devices" / str(sbdf)).symlink_to(f"../../../{path}")
        if driver:
            (self.root / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (self.root / path / "driver").symlink_to(
                os.path.relpath(self.root / "bus/pci/drivers" / driver, self.root / path)
            )
        return path


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_number_of_a_message_interrupt_is_not_taken_for_the_line(tree: Tree) -> None:
    path = tree.device(NIC, irq="68")
    tree.write(f"{path}/msi_irqs/68", "msi")
    sysfs = Sysfs(tree.root)
    assert sysfs.devices()[NIC].irq == sysfs.interrupt_line(NIC) == 0
    # With MSI-X Linux goes on to show the line; without either there is no such directory.
    tree.write(f"{path}/irq", "17")
    assert sysfs.devices()[NIC].irq == sysfs.interrupt_line(NIC) == 17


def test_a_device_is_read_with_all_its_facts(tree: Tree) -> None:
    windows = "\n".join(
        ["0x00000000fe000000 0x00000000fe01ffff 0x0000000000040200"]
        + ["0x0000000000000000 0x0000000000000000 0x0000000000000000"]
        + ["0x000000000000c000 0x000000000000c01f 0x0000000000040101"]
        + ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 4
        + ["0x00000000fd000000 0x00000000fd003fff 0x0000000000140204"]
    )
    tree.device(
        NIC,
        driver="e1000e",
        resource=windows,
        reset_method="flr bus",
        numa_node="1",
        sriov_totalvfs="4",
    )
    device = Sysfs(tree.root).devices()[NIC]
    assert (device.vendor, device.device, device.class_code, device.revision) == ("8086", "10d3", "020000", "03")
    assert (device.subsystem_vendor, device.subsystem_device) == ("8086", "a01f")
    assert (device.driver, device.numa_node, device.irq, device.modalias) == ("e1000e", 1, 17, MODALIAS)
    assert device.reset_methods == ("flr", "bus")
    assert device.sriov_totalvfs == 4
    assert device.serial == "52-54-00-ff-ff-00-01-01"
    assert device.header_type == 0
    assert device.config == ConfigFlags(memory=True, bus_master=True, msi=False, msix=True)
    # The eighth line is a window of SR-IOV, not one of the function's own.
    assert device.resources == (Resource(0xFE000000, 0xFE01FFFF, 0x40200), Resource(0xC000, 0xC01F, 0x40101))
    assert [window.is_io_ports for window in device.resources] == [False, True]
    assert (device.interrupt_pin, device.message_interrupts) == (1, True)
    assert (device.path, device.slot, device.label, device.parent) == ("0000:00/00.0", None, None, None)


def test_a_device_whose_modalias_says_nothing_has_no_identity(tree: Tree) -> None:
    tree.device(NIC, modalias="")
    device = Sysfs(tree.root).devices()[NIC]
    assert (device.vendor, device.device, device.class_code, device.modalias) == ("", "", "", "")
    assert device.revision == "03"


@pytest.mark.parametrize("name", ["DMAR", "RMAD", "XMAR"])
def test_reserved_memory_is_that_of_the_functions_on_its_way(tree: Tree, name: str) -> None:
    tree.device(PORT)
    tree.device(NIC, under=f"{PORT}/")
    file = tree.root / "firmware/acpi/tables" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(table([Reserved(0xE0000, 0xEFFFF, [(0, [(2, 0), (0, 0)])])]))
    devices = Sysfs(tree.root).devices()
    assert devices[NIC].reserved_memory == (ReservedMemory(0xE0000, 0xEFFFF, ("0000:00/02.0/00.0",)),)
    assert devices[PORT].reserved_memory == ()


def test_virtual_functions_and_their_parent_point_to_each_other(tree: Tree) -> None:
    path = tree.device(NIC)
    other = Sbdf.parse("0000:03:10.2")
    virtual = tree.device(other)
    (tree.root / path / "virtfn0").symlink_to(f"../{other}")
    (tree.root / virtual / "physfn").symlink_to(f"../{NIC}")
    devices = Sysfs(tree.root).devices()
    assert devices[NIC].virtfns == (other,)
    assert devices[other].physfn == NIC


def test_virtual_functions_are_numbered_and_found_by_number(tree: Tree) -> None:
    path = tree.device(NIC, under=f"{PORT}/")
    virtual = [Sbdf.parse(f"0000:04:{slot:02x}.0") for slot in range(11)]
    for number, sbdf in enumerate(reversed(virtual)):
        below = tree.device(sbdf, under=f"{PORT}/")
        (tree.root / path / f"virtfn{number}").symlink_to(f"../{sbdf}")
        (tree.root / below / "physfn").symlink_to(f"../{NIC}")
    sysfs = Sysfs(tree.root)
    devices = sysfs.devices()
    assert devices[NIC].virtfns == tuple(reversed(virtual))
    assert [devices[sbdf].vf_index for sbdf in reversed(virtual)] == list(range(11))
    assert devices[virtual[0]].path == "0000:00/02.0/00.0/vf10"
    assert sysfs.device(virtual[0]) == devices[virtual[0]]


def test_a_path_leaves_out_the_numbers_of_buses_below_the_root(tree: Tree) -> None:
    tree.device(PORT, **{"class": "0x060400"})
    tree.device(NIC, under=f"{PORT}/")
    tree.device(NVME, under=f"{PORT}/0000:00:07.0/")
    devices = Sysfs(tree.root).devices()
    assert devices[NIC].path == "0000:00/02.0/00.0"
    assert devices[NVME].path == "0000:00/02.0/07.0/00.0"
    assert (devices[PORT].path, devices[PORT].parent) == ("0000:00/02.0", None)
    assert devices[NIC].parent == PORT


def test_slots_and_devices_have_the_names_that_firmware_gives_them(tree: Tree) -> None:
    tree.device(NIC, label="Onboard LAN 1")
    tree.device(Sbdf.parse("0000:03:00.1"))
    tree.device(NVME)
    tree.write("bus/pci/slots/3-1/address", "0000:03:00\n")
    tree.write("bus/pci/slots/9/address", "0000:09\n")
    devices = Sysfs(tree.root).devices()
    assert [device.slot for device in devices.values()] == ["3-1", "3-1", None]
    assert [device.label for device in devices.values()] == ["Onboard LAN 1", None, None]


def test_the_console_is_found_by_firmware_framebuffer_and_terminal(tree: Tree) -> None:
    screen, serial = NIC, NVME
    tree.device(screen, boot_vga="1")
    path = tree.device(serial, boot_vga="0")
    for group, name, device in (("graphics", "fb0", NIC), ("tty", "ttyS4", NVME), ("tty", "ttyS5", NIC)):
        node = tree.root / f"devices/pci0000:00/{device}/{group}/{name}"
        node.mkdir(parents=True)
        (node / "device").symlink_to(tree.root / f"devices/pci0000:00/{device}")
        (tree.root / "class" / group).mkdir(exist_ok=True)
        (tree.root / "class" / group / name).symlink_to(node)
    tree.write("class/tty/console/active", "tty0 ttyS4\n")
    devices = Sysfs(tree.root).devices()
    assert devices[screen].consoles == ("the firmware's display", "framebuffer fb0")
    assert devices[serial].consoles == ("console ttyS4",)
    assert path


def test_pcibacks_lists_are_read_per_device(tree: Tree) -> None:
    tree.device(NIC)
    tree.device(NVME)
    tree.write("bus/pci/drivers/pciback/slots", f"{NIC}\n{NIC}\n0000:05:00.0\n")
    tree.write("bus/pci/drivers/pciback/permissive", f"{NVME}\n")
    devices = Sysfs(tree.root).devices()
    assert [device.pciback_slots for device in devices.values()] == [2, 0]
    assert [device.permissive for device in devices.values()] == [False, True]
    assert Sysfs(tree.root).permissive(NVME)


def test_a_list_of_slots_that_fills_its_page_says_nothing_of_others(tree: Tree) -> None:
    tree.device(NIC)
    tree.device(NVME)
    listed = [str(NIC), *(f"0000:{bus:02x}:{slot:02x}.0" for bus in range(0x10, 0x1A) for slot in range(32))]
    tree.write("bus/pci/drivers/pciback/slots", "\n".join(listed[:315]) + "\n")
    assert [device.pciback_slots for device in Sysfs(tree.root).devices().values()] == [1, None]
    tree.write("bus/pci/drivers/pciback/slots", "\n".join(listed[:314]) + "\n")
    assert [device.pciback_slots for device in Sysfs(tree.root).devices().values()] == [1, 0]


def test_a_slot_is_removed_as_often_as_it_is_listed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.device(NIC)
    entries = [NIC] * 3

    def write(self: Sysfs, file: Path, text: str, sbdf: Sbdf, purpose: str) -> None:
        if sbdf not in entries:
            raise SysfsError("not listed", errno.ENOENT)
        entries.remove(sbdf)

    monkeypatch.setattr(Sysfs, "_write", write)
    assert Sysfs(tree.root).remove_slot(NIC)
    assert entries == []
    assert not Sysfs(tree.root).remove_slot(NIC)


def test_permissive_for_all_is_a_parameter_of_the_module(tree: Tree) -> None:
    assert not Sysfs(tree.root).permissive_for_all()
    tree.write("module/xen_pciback/parameters/permissive", "Y\n")
    assert Sysfs(tree.root).permissive_for_all()


def test_devices_below_a_bridge_are_its_children(tree: Tree) -> None:
    tree.device(PORT, **{"class": "0x060400"})
    tree.device(NIC, under=f"{PORT}/")
    devices = Sysfs(tree.root).devices()
    assert devices[PORT].children == (NIC,)
    assert devices[PORT].is_bridge
    assert not devices[NIC].is_bridge


@pytest.mark.parametrize(
    ("size", "serial", "flags"),
    [
        (4096, "52-54-00-ff-ff-00-01-01", ConfigFlags(memory=True, bus_master=True, msix=True)),
        (256, None, ConfigFlags(memory=True, bus_master=True, msix=True)),
        (64, None, ConfigFlags(memory=True, bus_master=True)),
        (0x148, None, ConfigFlags(memory=True, bus_master=True, msix=True)),
    ],
)
def test_config_space_may_be_cut_short(tree: Tree, size: int, serial: str | None, flags: ConfigFlags) -> None:
    tree.device(NIC, config=config_space(size))
    device = Sysfs(tree.root).device(NIC)
    assert (device.serial, device.config) == (serial, flags)


@pytest.mark.parametrize(
    ("offered", "enabled", "acs"),
    [
        (0x1F, 0x1D, Acs.ON),
        (0x1F, 0x1F, Acs.ON),
        (0x1F, 0x19, Acs.OFF),
        (0x1F, 0x00, Acs.OFF),
        (0x00, 0x00, Acs.ON),  # a function that has nothing to control
        (None, 0x00, Acs.ABSENT),
    ],
)
def test_acs_is_on_if_all_that_isolates_and_is_offered_is_on(
    tree: Tree, offered: int | None, enabled: int, acs: Acs
) -> None:
    space = bytearray(config_space())
    struct.pack_into("<H", space, 0x72, 2 | 6 << 4)
    if offered is not None:
        struct.pack_into("<I", space, 0x140, 0x0003 | 1 << 16 | 0x160 << 20)
        struct.pack_into("<IHH", space, 0x160, 0x000D | 1 << 16, offered, enabled)
    tree.device(NIC, config=bytes(space))
    device = Sysfs(tree.root).device(NIC)
    assert (device.acs, device.port_type, device.serial) == (acs, 6, "52-54-00-ff-ff-00-01-01")
    tree.device(PORT, config=bytes(space[:0x148]))
    cut = Sysfs(tree.root).device(PORT)
    assert cut.acs is (Acs.UNKNOWN if offered is not None else Acs.ABSENT)


def test_a_capability_list_that_runs_in_a_circle_ends(tree: Tree) -> None:
    space = bytearray(config_space())
    space[0x71] = 0x50
    space[0x60] = 0x01
    tree.device(NIC, config=bytes(space))
    assert Sysfs(tree.root).config_flags(NIC) == ConfigFlags(memory=True, bus_master=True)


def test_a_device_that_does_not_answer_has_nothing_switched_on(tree: Tree) -> None:
    tree.device(NIC, config=b"\xff" * 4096)
    tree.device(PORT)
    assert not Sysfs(tree.root).device(NIC).answers
    assert Sysfs(tree.root).device(PORT).answers
    assert Sysfs(tree.root).device(NIC).config == ConfigFlags()
    assert Sysfs(tree.root).device(NIC).serial is None


def test_an_nvme_tells_its_serial_while_its_driver_holds_it(tree: Tree) -> None:
    path = tree.device(NVME, driver="nvme", **{"class": "0x010802"})
    tree.write(f"{path}/nvme/nvme0/serial", "NV1                 \n")
    assert Sysfs(tree.root).device(NVME).nvme_serial == "NV1"


def test_reset_methods_of_old_kernels_are_just_reset(tree: Tree) -> None:
    tree.device(NIC, reset="")
    tree.device(NVME)
    devices = Sysfs(tree.root).devices()
    assert devices[NIC].reset_methods == ("reset",)
    assert devices[NVME].reset_methods == ()


def test_reset_writes_where_it_can(tree: Tree) -> None:
    path = tree.device(NIC, reset="")
    tree.device(NVME)
    assert Sysfs(tree.root).reset(NIC)
    assert (tree.root / path / "reset").read_text().startswith("1")
    assert not Sysfs(tree.root).reset(NVME)


def test_the_driver_path_is_libxls_form_wherever_the_tree_is(tree: Tree) -> None:
    tree.device(NIC, driver="e1000e")
    tree.device(NVME)
    sysfs = Sysfs(tree.root)
    assert sysfs.driver_path(NIC) == "/sys/bus/pci/drivers/e1000e"
    assert sysfs.driver_path(NVME) is None
    assert sysfs.drivers() == {"e1000e", "pciback"}


def test_slots_are_added_once_and_written_in_full(tree: Tree) -> None:
    tree.device(NIC)
    sysfs = Sysfs(tree.root)
    assert sysfs.add_slot(NIC)
    assert (tree.root / "bus/pci/drivers/pciback/new_slot").read_text() == "0000:03:00.0"
    tree.write("bus/pci/drivers/pciback/slots", "0000:03:00.0\n0000:05:00.0\n")
    assert not sysfs.add_slot(NIC)


def test_a_refused_write_names_device_file_reason_and_remedy(tree: Tree) -> None:
    tree.device(NIC)
    with pytest.raises(SysfsError) as caught:
        Sysfs(tree.root).bind(NIC, "ixgbe")
    message = str(caught.value)
    assert caught.value.errno == errno.ENOENT
    assert all(part in message for part in ("0000:03:00.0", "drivers/ixgbe/bind", "No such file", "load"))


def test_a_device_that_is_gone_is_an_error_of_one_sentence(tree: Tree) -> None:
    with pytest.raises(SysfsError, match=r"no PCI device 0000:03:00\.0"):
        Sysfs(tree.root).device(NIC)
    assert not Sysfs(tree.root).exists(NIC)


def test_a_device_that_goes_while_it_is_read_is_left_out(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are open by then, and the kernel says of those that there is no such device."""
    tree.device(NIC)
    tree.device(NVME)
    sysfs, read = Sysfs(tree.root), os.pread

    def gone(descriptor: int, length: int, offset: int) -> bytes:
        if str(NIC) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", gone)
    assert [*sysfs.devices()] == [NVME]
    with pytest.raises(SysfsError, match=f"no PCI device {NIC}"):
        sysfs.device(NIC)
    with pytest.raises(SysfsError, match="cannot be read"):
        sysfs.config_flags(NIC)


def test_what_is_behind_a_vmd_is_the_hosts_and_counts_as_a_use_of_that(tree: Tree) -> None:
    """Linux has 32 bits for a segment, and numbers those of VMDs from 0x10000."""
    controller = tree.device(NIC)
    behind = f"{controller}/pci10000:e0/10000:e0:06.0"
    tree.write(f"{behind}/vendor", "0x8086\n")
    (tree.root / "bus/pci/devices/10000:e0:06.0").symlink_to(f"../../../{behind}")
    tree.write(f"{behind}/nvme/nvme0/nvme0n1/dev", "259:0")
    (tree.root / "class/block/nvme0n1").symlink_to(f"../../{behind}/nvme/nvme0/nvme0n1")
    devices = Sysfs(tree.root).devices()
    assert [*devices] == [NIC]
    assert [disk.name for disk in devices[NIC].block] == ["nvme0n1"]


def test_a_machine_without_pci_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SysfsError, match="no PCI bus"):
        Sysfs(tmp_path).devices()


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path))
    assert Sysfs.from_environment().root == tmp_path
    monkeypatch.delenv("SYSFS_PATH")
    assert Sysfs.from_environment().root == Path("/sys")


def test_the_backend_device_of_a_domain_is_seen(tree: Tree) -> None:
    assert not Sysfs(tree.root).backend_device_exists(3)
    tree.write("bus/xen-backend/devices/pci-3-0/state", "4")
    assert Sysfs(tree.root).backend_device_exists(3)
