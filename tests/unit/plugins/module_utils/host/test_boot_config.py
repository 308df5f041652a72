# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the next boot: what is heard of them, and that only ours are changed, in full or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host import boot_config
from ansible_collections.xen.pci.plugins.module_utils.host.boot_config import BootConfig, BootConfigError
from ansible_collections.xen.pci.plugins.module_utils.host.kernel_modules import KernelModules
from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import (
    GRUB,
    INITRAMFS_HOOK,
    MARK,
    MODPROBE,
    UNIT,
    DriverModule,
    InitramfsTool,
    PcibackKind,
    Stage,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import plan_boot
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

RELEASE = "6.1.0-0-amd64"
MODULE, BUILT_IN = PcibackKind.MODULE, PcibackKind.BUILT_IN
A = Sbdf.parse("0000:01:00.0")


class Machine:
    """A root directory, and programs on PATH that note their arguments in `calls`."""

    def __init__(self, path: Path) -> None:
        self.root = path / "root"
        self.programs = path / "bin"
        self.calls = path / "calls"
        self.root.mkdir()
        self.programs.mkdir()
        self.config = BootConfig(self.root, RELEASE)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def program(self, name: str, body: str = "") -> None:
        file = self.programs / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{body}\n')
        file.chmod(0o755)

    def hide(self, kind: PcibackKind = MODULE) -> list[tuple[str, str, bool]]:
        return [(one.source, one.text, one.ours) for one in self.config.facts(kind).hide]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{made.programs}:/usr/bin:/bin")
    return made


def test_a_bare_host_says_nothing(machine: Machine) -> None:
    facts = machine.config.facts(MODULE)
    assert facts.hide == ()
    assert set(facts.files.values()) == {None}
    assert not (facts.has_initramfs or facts.has_grub or facts.has_systemd or facts.stale or facts.taken)


def test_modprobes_files_are_heard_by_name_and_the_command_line_last(machine: Machine) -> None:
    machine.write("usr/lib/modprobe.d/b.conf", "options xen-pciback hide=(02:00.0)\n")
    machine.write(
        "etc/modprobe.d/a.conf", "# options xen-pciback hide=(09:00.0)\noptions xen_pciback \\\n hide=(01:00.0)\n"
    )
    machine.write("lib/modprobe.d/a.conf", "options xen-pciback hide=(03:00.0)\n")
    machine.write("etc/modprobe.d/c.txt", "options xen-pciback hide=(04:00.0)\n")
    machine.write("etc/modprobe.d/z.conf", "options other hide=(05:00.0)\noptions xen-pciback 'permissive=1 broken\n")
    machine.write("proc/cmdline", "root=/dev/sda xen-pciback.hide=(06:00.0)(07:00.0) quiet\n")
    assert machine.hide() == [
        ("/etc/modprobe.d/a.conf", "(01:00.0)", False),
        ("/usr/lib/modprobe.d/b.conf", "(02:00.0)", False),
        ("/proc/cmdline", "(06:00.0)(07:00.0)", False),
    ]
    assert machine.hide(BUILT_IN) == [("/proc/cmdline", "(06:00.0)(07:00.0)", False)]


def test_the_boot_loaders_defaults_stand_for_the_next_command_line(machine: Machine) -> None:
    bound = plan_boot(replace(machine.config.facts(BUILT_IN), has_grub=True), {Sbdf.parse("0000:02:00.0")})
    machine.write("proc/cmdline", "xen-pciback.hide=(06:00.0)")
    machine.write(
        "etc/default/grub", '# xen-pciback.hide=(0a:00.0)\nGRUB_CMDLINE_LINUX="quiet xen-pciback.hide=(01:00.0)"\n'
    )
    machine.write(GRUB, bound.files[GRUB] or "")
    assert machine.hide(BUILT_IN) == [
        ("/etc/default/grub", "(01:00.0)", False),
        (f"/{GRUB}", "(0000:02:00.0)", True),
    ]


def test_ours_are_known_by_their_mark(machine: Machine) -> None:
    machine.write(MODPROBE, f"{MARK}\noptions xen-pciback hide=(0000:01:00.0)\n")
    machine.write(GRUB, "# by hand\n")
    facts = machine.config.facts(MODULE)
    assert [one.ours for one in facts.hide] == [True]
    assert facts.taken == {GRUB}


def test_devices_of_our_unit_are_read_back(machine: Machine) -> None:
    machine.write(UNIT, f"{MARK}\nExecStart=-/usr/sbin/xl pci-assignable-add {A}\nExecStart=-/bin/true\n")
    assert machine.config.facts(MODULE).unit_devices == {A}


def test_what_the_host_has_for_booting(machine: Machine) -> None:
    machine.program("update-initramfs")
    machine.program("update-grub")
    machine.write("etc/default/grub", "")
    machine.write("run/systemd/system/x", "")
    machine.write("boot/initrd.img-5.10", "another kernel's")
    facts = machine.config.facts(MODULE)
    assert (facts.has_initramfs, facts.initramfs_tool) == (False, InitramfsTool.INITRAMFS_TOOLS)
    assert facts.has_grub and facts.has_systemd
    machine.write(f"boot/initrd.img-{RELEASE}", "")
    assert machine.config.facts(MODULE).has_initramfs


def test_files_are_written_before_what_is_made_from_them(machine: Machine) -> None:
    machine.program("update-initramfs", f"cat {machine.root / MODPROBE} >> {machine.calls}")
    machine.program("update-grub")
    machine.config.apply({MODPROBE: f"{MARK}\none\n", INITRAMFS_HOOK: f"#!/bin/sh\n{MARK}\n"}, [*Stage])
    assert machine.calls.read_text() == f"update-initramfs -u -k all\n{MARK}\none\nupdate-grub \n"
    assert (machine.root / MODPROBE).stat().st_mode & 0o777 == 0o644
    assert os.access(machine.root / INITRAMFS_HOOK, os.X_OK)
    assert [file.name for file in (machine.root / MODPROBE).parent.iterdir()] == ["xen-pci.conf"], (
        "nothing else is left"
    )


def test_dracut_is_told_to_rebuild(machine: Machine) -> None:
    machine.program("dracut")
    machine.config.apply({}, [Stage.INITRAMFS])
    assert machine.calls.read_text() == "dracut --force --regenerate-all\n"


def test_a_file_that_goes_is_empty_while_things_are_rebuilt(machine: Machine) -> None:
    machine.write(MODPROBE, f"{MARK}\noptions xen-pciback hide=(0000:01:00.0)\n")
    machine.program("update-initramfs", f"cat {machine.root / MODPROBE} >> {machine.calls}")
    machine.config.apply({MODPROBE: None}, [Stage.INITRAMFS])
    assert machine.calls.read_text() == f"update-initramfs -u -k all\n{MARK}\n"
    assert not (machine.root / MODPROBE).exists()


def test_a_rebuild_that_fails_leaves_all_files_as_they_were(machine: Machine) -> None:
    machine.write(MODPROBE, f"{MARK}\nold\n")
    machine.program("update-initramfs", "echo no space left >&2; exit 1")
    with pytest.raises(BootConfigError, match=r"is as before: update-initramfs .* status 1: no space left"):
        machine.config.apply({MODPROBE: f"{MARK}\nnew\n", UNIT: f"{MARK}\n"}, [Stage.INITRAMFS])
    assert (machine.root / MODPROBE).read_text() == f"{MARK}\nold\n"
    assert not (machine.root / UNIT).exists()


def test_a_file_that_cannot_be_written_leaves_the_others_as_they_were(machine: Machine) -> None:
    machine.write(MODPROBE, f"{MARK}\nold\n")
    machine.write("etc/systemd", "no directory")
    with pytest.raises(BootConfigError, match=r"could not be changed and is as before: .*Not a directory"):
        machine.config.apply({MODPROBE: f"{MARK}\nnew\n", UNIT: f"{MARK}\n"}, [])
    assert (machine.root / MODPROBE).read_text() == f"{MARK}\nold\n"


def test_what_cannot_be_put_back_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write(MODPROBE, f"{MARK}\nold\n")
    write, room = boot_config.write_whole, [True]

    def until_full(*arguments: Any) -> None:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room.pop()
        write(*arguments)

    monkeypatch.setattr(boot_config, "write_whole", until_full)
    with pytest.raises(BootConfigError, match=rf"not everything is as before \(/{MODPROBE}: No space left"):
        machine.config.apply({MODPROBE: f"{MARK}\nnew\n", UNIT: f"{MARK}\n"}, [])


def test_what_is_older_than_our_files_is_stale(machine: Machine) -> None:
    ours = machine.write(MODPROBE, f"{MARK}\n")
    image = machine.write(f"boot/initrd.img-{RELEASE}", "")
    grub = machine.write("boot/grub/grub.cfg", "")
    os.utime(ours, (100, 100))
    for when, stale in ((50, {Stage.INITRAMFS}), (150, set())):
        os.utime(image, (when, when))
        os.utime(grub, (when, when))
        assert machine.config.facts(MODULE).stale == stale
    machine.write(MODPROBE, "options xen-pciback\n")
    assert machine.config.facts(MODULE).stale == set(), "somebody else's file is his business"


def modules(root: Path, sysfs: Path = Path("/none"), **files: str) -> KernelModules:
    directory = root / "lib/modules" / RELEASE
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / f"modules.{name.replace('_', '.')}").write_text(text)
    return KernelModules(root, sysfs, RELEASE)


def test_how_the_kernel_has_pciback(tmp_path: Path) -> None:
    sysfs = tmp_path / "sys"
    loadable = "kernel/drivers/xen/xen-pciback/xen-pciback.ko.xz: kernel/drivers/xen/xen.ko.xz\n"
    assert modules(tmp_path / "1", sysfs, dep=loadable).pciback() is MODULE
    assert modules(tmp_path / "2", sysfs, builtin=loadable.partition(":")[0]).pciback() is BUILT_IN
    bare = modules(tmp_path / "3", sysfs, dep="kernel/xen-blkback.ko:\n")
    assert bare.pciback() is PcibackKind.ABSENT
    (sysfs / "module/xen_pciback/parameters").mkdir(parents=True)
    assert bare.pciback() is BUILT_IN
    (sysfs / "module/xen_pciback/initstate").write_text("live\n")
    assert bare.pciback() is MODULE


def test_which_modules_drive_a_device(tmp_path: Path) -> None:
    found = modules(
        tmp_path,
        alias="# Aliases\nalias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n"
        "alias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias usb:v1D6B* other\n",
        builtin_modinfo="ahci.alias=pci:v*d*sv*sd*bc01sc06i01*\0ahci.license=GPL\0",
    ).drivers_of(
        [
            (A, "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00"),
            (Sbdf.parse("0000:02:00.0"), "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"),
            (Sbdf.parse("0000:03:00.0"), "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"),
            (Sbdf.parse("0000:04:00.0"), "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00"),
        ]
    )
    assert list(found.values()) == [
        (DriverModule("e1000e"),),
        (DriverModule("nvme"),),
        (DriverModule("ahci", built_in=True),),
        (),
    ]


# ---- what the programs of a host make of our files

#: Looked for before a test replaces the PATH.
_MODPROBE_PROGRAM = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_unit(machine: Machine, tmp_path: Path) -> None:
    boot = replace(machine.config.facts(MODULE), has_systemd=True, has_initramfs=True)
    plan = plan_boot(boot, {A, Sbdf.parse("0000:02:00.0")})
    machine.config.apply(plan.files, ())
    text = (machine.root / UNIT).read_text()
    # It wants to see the programs, which are those of a dom0.
    unit = tmp_path / Path(UNIT).name
    unit.write_text(text.replace("/usr/sbin/xl", "/bin/true").replace("/sbin/modprobe", "/bin/true"))
    assert complaints_of_systemd(unit) == []
    unit.write_text(unit.read_text().replace("Type=oneshot", "Type=onesho"))
    assert complaints_of_systemd(unit) != []


def complaints_of_systemd(unit: Path) -> list[str]:
    """What it finds in a unit; it does not look for manual pages, which the machine may not have."""
    words = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]


@pytest.mark.skipif(_MODPROBE_PROGRAM is None, reason="there is no modprobe")
def test_modprobe_hears_our_options_and_what_waits_for_pciback(machine: Machine) -> None:
    facts = replace(machine.config.facts(MODULE), modules={A: (DriverModule("e1000e"),)})
    machine.config.apply(plan_boot(facts, {A}).files, ())
    read = subprocess.run(
        [str(_MODPROBE_PROGRAM), "--showconfig", "--config", str(machine.root / "etc/modprobe.d")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert f"options xen_pciback hide=({A})" in read
    assert "softdep e1000e pre: xen-pciback" in [line.strip() for line in read]
