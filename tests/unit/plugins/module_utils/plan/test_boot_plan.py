# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way devices are kept over a reboot, what our files say then, and what is refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import (
    DRACUT,
    GRUB,
    INITRAMFS_HOOK,
    MARK,
    MODPROBE,
    MODULES_LOAD,
    OWN_FILES,
    UNIT,
    UNIT_WANTED,
    BootFacts,
    DriverModule,
    HideSetting,
    InitramfsTool,
    PcibackKind,
    Stage,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import BootPlan, Holding, Persistence, plan_boot
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
NOTHING = dict.fromkeys(OWN_FILES)
MODULE = BootFacts(
    PcibackKind.MODULE,
    files=NOTHING,
    modules={A: (DriverModule("e1000e"),), B: (DriverModule("nvme"),), C: ()},
    has_systemd=True,
)
BUILT_IN = replace(MODULE, pciback=PcibackKind.BUILT_IN, has_grub=True)
DEBIAN = replace(MODULE, has_initramfs=True, initramfs_tool=InitramfsTool.INITRAMFS_TOOLS)
FOREIGN = HideSetting("/etc/modprobe.d/mine.conf", "(01:00.0)")


def sh(script: str) -> str:
    return subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True).stdout.strip()


def lines(plan: BootPlan, path: str) -> list[str]:
    first, *rest = (plan.files[path] or "").splitlines()
    assert first == MARK
    return rest


def after(boot: BootFacts, plan: BootPlan) -> BootFacts:
    """The host when the plan is carried out, as boot_config would find it."""
    files = {**boot.files, **plan.files}
    hide = [one for one in boot.hide if not one.ours]
    for path in (MODPROBE, GRUB):
        for line in (files[path] or "").splitlines():
            if "hide=" in line:
                hide.append(HideSetting(f"/{path}", line.partition("hide=")[2].rstrip('}"'), ours=True))
    unit = [line.rpartition(" ")[2] for line in (files[UNIT] or "").splitlines() if "pci-assignable-add" in line]
    return replace(boot, files=files, hide=tuple(hide), unit_devices=frozenset(map(Sbdf.parse, unit)))


def test_a_module_is_told_by_modprobe_and_drivers_wait_for_it() -> None:
    plan = plan_boot(MODULE, {A, B, C})
    assert lines(plan, MODPROBE) == [
        f"options xen-pciback hide=({A})({B})({C})",
        "softdep e1000e pre: xen-pciback",
        "softdep nvme pre: xen-pciback",
    ]
    assert lines(plan, MODULES_LOAD) == ["xen-pciback"]
    assert set(plan.files) == {MODPROBE, MODULES_LOAD}
    assert plan.stages == (), "there is no initramfs to rebuild"


def test_the_initramfs_gets_pciback_and_is_rebuilt() -> None:
    plan = plan_boot(DEBIAN, {A})
    assert "manual_add_modules xen-pciback" in (plan.files[INITRAMFS_HOOK] or "")
    assert (plan.files[INITRAMFS_HOOK] or "").startswith("#!/bin/sh\n")
    assert plan.stages == (Stage.INITRAMFS,)
    plan = plan_boot(replace(DEBIAN, initramfs_tool=InitramfsTool.DRACUT), {A})
    assert lines(plan, DRACUT) == ['add_drivers+=" xen-pciback "', f'install_items+=" /{MODPROBE} "']
    assert INITRAMFS_HOOK not in plan.files


def test_pciback_in_the_kernel_is_told_on_the_command_line() -> None:
    plan = plan_boot(BUILT_IN, {B, A})
    assert set(plan.files) == {GRUB}
    shell = "; ".join(["GRUB_CMDLINE_LINUX=quiet", *lines(plan, GRUB), 'echo "$GRUB_CMDLINE_LINUX"'])
    assert sh(shell) == f"quiet xen-pciback.hide=({A})({B})"
    replaced = "GRUB_CMDLINE_LINUX_XEN_REPLACE"
    for before, after in ("", ""), ("single", f"single xen-pciback.hide=({A})({B})"):
        assert sh("; ".join([f"{replaced}={before}", *lines(plan, GRUB), f'echo "${replaced}"'])) == after
    assert plan.stages == (Stage.GRUB,)


@pytest.mark.parametrize(
    "boot",
    [
        replace(BUILT_IN, has_grub=False),
        replace(DEBIAN, initramfs_tool=None),
        replace(MODULE, modules={A: (DriverModule("e1000e", built_in=True),)}),
    ],
)
def test_where_pciback_cannot_be_first_a_unit_takes_the_device_back(boot: BootFacts) -> None:
    plan = plan_boot(boot, {A})
    assert set(plan.files) == {UNIT, UNIT_WANTED}
    assert f"ExecStart=-/usr/sbin/xl pci-assignable-add {A}" in lines(plan, UNIT)
    assert any(line.startswith("Before=") and "xendomains.service" in line for line in lines(plan, UNIT))
    assert lines(plan, UNIT_WANTED) == ["[Unit]", "Wants=xen-pci-assignable.service"]
    assert codes(plan_boot(replace(boot, has_systemd=False), {A}).refusals) == [("not-persistent", str(A))]


def test_only_the_driver_that_is_built_in_needs_the_unit() -> None:
    boot = replace(MODULE, modules={**MODULE.modules, B: (DriverModule("nvme", built_in=True),)})
    plan = plan_boot(boot, {A, B})
    assert f"hide=({A})" in lines(plan, MODPROBE)[0]
    assert [line for line in lines(plan, UNIT) if "pci-assignable-add" in line] == [
        f"ExecStart=-/usr/sbin/xl pci-assignable-add {B}"
    ]


def test_a_kernel_without_pciback_is_refused() -> None:
    plan = plan_boot(BootFacts(PcibackKind.ABSENT, files=NOTHING), {A})
    assert codes(plan.refusals) == [("no-pciback", "pciback")]


@pytest.mark.parametrize("boot", [MODULE, BUILT_IN, DEBIAN, replace(MODULE, has_initramfs=True)])
def test_a_second_run_has_nothing_to_do_and_a_last_one_leaves_nothing(boot: BootFacts) -> None:
    then = after(boot, plan_boot(boot, {A, C}))
    assert then.held([A, B, C]) == then.declared_by_us == {A, C}
    assert not plan_boot(then, {A, C}).changes
    fewer = after(then, plan_boot(then, {C}, {A}))
    assert fewer.held([A, B, C]) == {C}
    assert after(fewer, plan_boot(fewer, (), {C})).files == NOTHING


def test_a_device_that_is_not_there_now_keeps_its_driver_waiting() -> None:
    then = after(MODULE, plan_boot(MODULE, {A}))
    gone = replace(then, modules={B: (DriverModule("nvme"),)})
    assert "softdep e1000e pre: xen-pciback" in lines(plan_boot(gone, {A, B}), MODPROBE)
    assert not plan_boot(gone, {A}).changes


def test_what_a_foreign_setting_hides_needs_no_file_of_ours() -> None:
    boot = replace(MODULE, hide=(FOREIGN,))
    assert boot.held([A, B]) == {A}
    assert not plan_boot(boot, {A}).changes


def test_two_settings_are_never_made_as_pciback_hears_one() -> None:
    boot = replace(MODULE, hide=(FOREIGN,))
    (refusal,) = plan_boot(boot, {A, B}).refusals
    assert codes([refusal]) == [("foreign-hide", str(B))]
    assert "/etc/modprobe.d/mine.conf" in str(refusal) and str(A) not in str(refusal)


def test_a_release_that_would_not_last_is_refused() -> None:
    (refusal,) = plan_boot(replace(MODULE, hide=(FOREIGN,)), (), {A, B}).refusals
    assert codes([refusal]) == [("foreign-hide", str(A))]
    assert "/etc/modprobe.d/mine.conf" in str(refusal)


def test_the_last_setting_is_heard_alone_and_one_typo_hides_nothing() -> None:
    ours = HideSetting(f"/{MODPROBE}", f"({A})", ours=True)
    later = HideSetting("/proc/cmdline", f"({B})")
    assert replace(MODULE, hide=(ours, later)).held([A, B]) == {B}
    (word,) = replace(MODULE, hide=(ours, later)).complaints
    assert f"hide= in /{MODPROBE} has no effect" in word
    broken = replace(MODULE, hide=(HideSetting("/proc/cmdline", f"({A}),({B})"),))
    assert broken.held([A, B]) == set()
    (word,) = broken.complaints
    assert "pciback will not load at the next boot" in word and "from ',(" in word
    assert replace(MODULE, hide=(ours,)).complaints == []


def test_files_of_others_are_left_alone() -> None:
    boot = replace(
        MODULE, files={**NOTHING, MODPROBE: "options xen-pciback permissive=1\n"}, taken=frozenset({MODPROBE})
    )
    assert codes(plan_boot(boot, {A}).refusals) == [("foreign-file", f"/{MODPROBE}")]
    assert plan_boot(boot, (), {A}) == BootPlan({})


def test_more_than_fits_is_refused() -> None:
    many = {Sbdf(0, bus, 0, 0) for bus in range(80)}
    (refusal,) = plan_boot(replace(MODULE, modules=dict.fromkeys(many, ())), many).refusals
    assert codes([refusal]) == [("hide-too-long", "hide")]
    assert "1024" in str(refusal)


def test_what_an_interrupted_run_left_stale_is_rebuilt() -> None:
    then = after(DEBIAN, plan_boot(DEBIAN, {A}))
    again = plan_boot(replace(then, stale=frozenset({Stage.INITRAMFS})), {A})
    assert (dict(again.files), again.stages) == ({}, (Stage.INITRAMFS,))
    assert again.changes
    assert again.actions == ["rebuild the initramfs configuration"]


HELD = replace(MODULE, hide=(HideSetting(f"/{MODPROBE}", f"({A})({B})", ours=True),))


@pytest.mark.parametrize(
    ("want", "wanted"),
    [
        (Persistence(frozenset({C}), persistent=True), {A, B, C}),
        (Persistence(frozenset({C})), {A, B}),
        (Persistence(frozenset({A, C}), persistent=False), {B}),
        (Persistence(frozenset({A}), released=frozenset({A})), {B}),
        (Persistence(frozenset({C}), persistent=True, exclusive=True), {C}),
        (Persistence(frozenset({A, C}), exclusive=True), {A}),
        (Persistence(frozenset({C}), frozenset({B}), persistent=True), {A, C}),
    ],
)
def test_what_a_run_wants_of_the_next_boot(want: Persistence, wanted: set[Sbdf]) -> None:
    assert want.wanted(HELD.declared_by_us) == wanted
    then = after(HELD, want.plan(HELD))
    assert then.held([A, B, C]) == want.expected(HELD, [A, B, C]) == wanted
    assert not want.plan(then).changes


def test_what_others_keep_is_expected_to_stay() -> None:
    boot = replace(MODULE, hide=(FOREIGN,))
    assert Persistence(frozenset({C})).expected(boot, [A, B, C]) == {A}
    (refusal,) = Persistence(frozenset({A}), persistent=False).plan(boot).refusals
    assert codes([refusal]) == [("foreign-hide", str(A))]
    assert FOREIGN.source in str(refusal)


def test_four_values_of_now_and_after_a_reboot() -> None:
    asked = [(now, later) for now in (False, True) for later in (False, True)]
    assert [Holding.of(*one).value for one in asked] == ["neither", "after_reboot", "now", "both"]
