# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a `hide=` wins is derived as the boot does it, and what this boot shows refutes what files say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from builders import device
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.host.boot_config import BootConfig
from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import (
    GRUB,
    MARK,
    UNIT,
    BootFacts,
    Kept,
    PcibackKind,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import plan_boot
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
HIDE_A, HIDE_B = "xen-pciback.hide=(01:00.0)", "xen-pciback.hide=(02:00.0)"
DEFAULTS = "etc/default/grub"
BOOTED = 1_000_000_000
#: Debian's own file (package xen-hypervisor-common), in what it does.
DEBIANS = """
#XEN_OVERRIDE_GRUB_DEFAULT=0
echo "Including Xen overrides from /etc/default/grub.d/xen.cfg"
if [ "$XEN_OVERRIDE_GRUB_DEFAULT" = "" ]; then
\techo "WARNING: GRUB_DEFAULT changed to boot into Xen by default!"
\tXEN_OVERRIDE_GRUB_DEFAULT=1
fi
if [ "$XEN_OVERRIDE_GRUB_DEFAULT" = "1" ]; then
\tGRUB_DEFAULT=$( \\
\t\tprintf "$(gettext "%s, with Xen hypervisor")" \\
\t\t"$( . /usr/share/grub/grub-mkconfig_lib; echo Debian)")
fi
"""


def grub_cfg(*dom0: str, xen: str = "dom0_mem=1G", recovery: str = "") -> str:
    """What 20_linux_xen makes: entries for Xen with these lines for dom0, and one for Linux alone."""
    entries = [f"menuentry 'Debian, with Xen {number}' {{\n{entry(line, xen)}}}\n" for number, line in enumerate(dom0)]
    plain = "menuentry 'Debian' {\n\tlinux /vmlinuz root=/dev/vda ro xen-pciback.hide=(09:00.0)\n}\n"
    rescue = f"menuentry 'Debian, with Xen (recovery mode)' {{\n{entry(recovery, xen)}}}\n" if recovery else ""
    return f"set default=0\nset xen_rm_opts=\n{plain}submenu 'Advanced options' {{\n{''.join(entries)}{rescue}}}\n"


def entry(dom0: str, xen: str) -> str:
    return (
        f"\techo 'Loading Xen ...'\n\tmultiboot2\t/boot/xen-4.17.gz placeholder {xen} ${{xen_rm_opts}}\n"
        f"\tmodule2\t/boot/vmlinuz-6.1 placeholder root=/dev/vda ro {dom0}\n"
        "\tmodule2\t--nounzip   /boot/initrd.img-6.1\n"
    )


class Root:
    """A root directory whose host booted at a certain time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("proc/stat", f"cpu  1 2 3\nbtime {BOOTED}\n")

    def write(self, path: str, text: str, older: bool = True) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        moment = BOOTED - 100 if older else BOOTED + 100
        os.utime(file, (moment, moment))

    def cmdline(self, text: str) -> None:
        self.write("proc/cmdline", f"placeholder root=/dev/vda ro {text}\n")

    def facts(self, kind: PcibackKind = PcibackKind.BUILT_IN, **devices: str) -> BootFacts:
        classes = {Sbdf.parse(f"0000:{name[1:].replace('_', ':')}:00.0"): code for name, code in devices.items()}
        known = {sbdf: device(sbdf, class_code=code) for sbdf, code in classes.items()}
        return BootConfig(self.path, "6.1").facts(kind, known)

    def kept(self, sbdf: Sbdf = A) -> str:
        return self.facts().kept(sbdf).value


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


HEARD: dict[str, Mapping[str, str]] = {
    "the variable": {DEFAULTS: f'GRUB_CMDLINE_LINUX="quiet {HIDE_A}"'},
    "the default one": {DEFAULTS: f"GRUB_CMDLINE_LINUX_DEFAULT='{HIDE_A}'"},
    "underscores": {DEFAULTS: 'GRUB_CMDLINE_LINUX="xen_pciback.hide=(0000:01:00.0)"'},
    "a quoted value": {DEFAULTS: "GRUB_CMDLINE_LINUX='xen-pciback.hide=\"(01:00.0)\"'"},
    "export and another variable": {DEFAULTS: f'MINE={HIDE_A!r}\nexport GRUB_CMDLINE_LINUX="quiet ${{MINE}}"'},
    "appended in a later file": {
        DEFAULTS: "GRUB_CMDLINE_LINUX=quiet",
        f"{DEFAULTS}.d/x.cfg": f'GRUB_CMDLINE_LINUX+=" {HIDE_A}"',
    },
    "a later file keeps it": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"',
        f"{DEFAULTS}.d/x.cfg": 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX splash"; GRUB_TIMEOUT=3',
    },
    "continued lines": {DEFAULTS: f'GRUB_CMDLINE_LINUX="quiet \\\n{HIDE_A} \\\nro" # why'},
    "what replaces it": {DEFAULTS: f'GRUB_CMDLINE_LINUX=x\nGRUB_CMDLINE_LINUX_XEN_REPLACE="{HIDE_A}"'},
    "what replaces the default one": {DEFAULTS: f'GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT="{HIDE_A}"'},
    "an empty replacement": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\nGRUB_CMDLINE_LINUX_XEN_REPLACE=""'},
    "what Xen hands on": {DEFAULTS: f'GRUB_CMDLINE_XEN="dom0_mem=1G -- {HIDE_A}"'},
    "beside Debian's own file": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"', f"{DEFAULTS}.d/xen.cfg": DEBIANS},
    "the last of two": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_B} {HIDE_A}"'},
    "a command for another variable": {DEFAULTS: f'GRUB_DISTRIBUTOR=$(lsb_release)\nGRUB_CMDLINE_LINUX="{HIDE_A}"'},
    "the UUID that grub-mkconfig finds": {DEFAULTS: f'GRUB_CMDLINE_LINUX="resume=UUID=$GRUB_DEVICE_UUID {HIDE_A}"'},
}
NOT_HEARD: dict[str, Mapping[str, str]] = {
    "replaced": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"',
        f"{DEFAULTS}.d/xen.cfg": 'GRUB_CMDLINE_LINUX_XEN_REPLACE="console=hvc0"',
    },
    "the default one replaced": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX_DEFAULT="{HIDE_A}"\nGRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT=quiet'
    },
    "the line of Xen": {DEFAULTS: f'GRUB_CMDLINE_XEN_DEFAULT="dom0_mem=4G {HIDE_A}"'},
    "set again": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\nGRUB_CMDLINE_LINUX="quiet"'},
    "set again in a later file": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"',
        f"{DEFAULTS}.d/a.cfg": "GRUB_CMDLINE_LINUX=quiet",
    },
    "a variable of no meaning": {DEFAULTS: f'GRUB_CMDLINE_LINUX_XEN="{HIDE_A}"'},
    "in single quotes": {DEFAULTS: f"MINE='{HIDE_A}'\nGRUB_CMDLINE_LINUX='$MINE'"},
    "another last": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A} {HIDE_B}"'},
    "for one command": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}" true'},
    "a file without the suffix": {DEFAULTS: "", f"{DEFAULTS}.d/x.conf": f'GRUB_CMDLINE_LINUX="{HIDE_A}"'},
    "an old spelling": {DEFAULTS: 'GRUB_CMDLINE_LINUX="pciback.hide=(01:00.0)"'},
    "unset": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\nunset GRUB_CMDLINE_LINUX'},
    "grub-mkconfig reads no directory": {
        DEFAULTS: "",
        f"{DEFAULTS}.d/x.cfg": f'GRUB_CMDLINE_LINUX="{HIDE_A}"',
        "usr/sbin/grub2-mkconfig": "#!/bin/sh\n. ${sysconfdir}/default/grub\n",
    },
}
UNKNOWN: dict[str, Mapping[str, str]] = {
    "a command": {DEFAULTS: "GRUB_CMDLINE_LINUX=$(cat /etc/kernel/cmdline)"},
    "backquotes": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A} `cat /x`"'},
    "a condition": {DEFAULTS: f'if [ -e /x ]; then GRUB_CMDLINE_LINUX="{HIDE_A}"; fi'},
    "a short condition": {DEFAULTS: f'[ -e /x ] && GRUB_CMDLINE_LINUX="{HIDE_A}"'},
    "a case": {DEFAULTS: f'case $(uname -n) in\n a|b) GRUB_CMDLINE_LINUX="{HIDE_A}" ;;\nesac'},
    "a loop": {DEFAULTS: 'for one in 01:00.0; do GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ($one)"; done'},
    "a function": {DEFAULTS: 'add() {\n GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $1"\n}\nadd x'},
    "a function called after an assignment": {
        DEFAULTS: 'add() { GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $1"; }\nGRUB_CMDLINE_LINUX=quiet\nadd x'
    },
    "another file": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\n. /etc/default/grub.local'},
    "a source that is read": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\n[ -r /x ] && source /x'},
    "eval": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\neval "$(cat /x)"'},
    "read": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}"\nread GRUB_CMDLINE_LINUX < /x'},
    "no end": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE_A}'},
    "a script": {DEFAULTS: "", "etc/grub.d/40_custom": f"#!/bin/sh\nexec tail -n +3 $0\nmodule2 /vmlinuz {HIDE_A}\n"},
    "a script with a variable": {DEFAULTS: "", "etc/grub.d/08_xen": "echo xen-pciback.hide=$DEVICES\n"},
}


@pytest.mark.parametrize("files", HEARD.values(), ids=HEARD)
def test_defaults_that_reach_dom0s_kernel(root: Root, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        root.write(path, text)
    assert root.kept() == "yes"


@pytest.mark.parametrize("files", NOT_HEARD.values(), ids=NOT_HEARD)
def test_defaults_that_do_not_reach_it_are_complained_of(root: Root, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        root.write(path, text)
    assert root.kept() == "no"
    if not any(word in str(files) for word in ("x.conf", "usr/sbin")):
        assert any("hide=" in complaint for complaint in root.facts().complaints), root.facts().complaints


@pytest.mark.parametrize("files", UNKNOWN.values(), ids=UNKNOWN)
def test_what_would_have_to_be_run_is_unknown_and_said_to_be(root: Root, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        root.write(path, text)
    facts = root.facts()
    assert facts.kept(A) is Kept.UNKNOWN
    source = list(files)[-1]
    assert f"/{source}" in facts.why_unknown(A)
    assert any(f"/{source}" in complaint for complaint in facts.complaints)


def test_a_script_says_nothing_of_devices_that_it_does_not_name(root: Root) -> None:
    root.write(DEFAULTS, "")
    root.write("etc/grub.d/40_custom", f"module2 /vmlinuz {HIDE_A}\n")
    assert (root.kept(A), root.kept(B)) == ("unknown", "no")


# ---- what boots next is grub.cfg


def test_grubs_configuration_decides_and_not_its_defaults(root: Root) -> None:
    root.cmdline("quiet")
    root.write(DEFAULTS, f'GRUB_CMDLINE_LINUX="quiet {HIDE_A}"', older=False)
    root.write("boot/grub/grub.cfg", grub_cfg("quiet", "quiet"))
    facts = root.facts()
    assert facts.kept(A) is Kept.NO and facts.once_rebuilt.kept(A) is Kept.YES
    assert any("Run update-grub" in complaint for complaint in facts.complaints)
    root.write("boot/grub/grub.cfg", grub_cfg(f"quiet {HIDE_A}", recovery="single"), older=False)
    assert root.kept() == "yes"
    assert root.facts().complaints == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (grub_cfg(HIDE_A), "yes"),
        (grub_cfg(HIDE_A, HIDE_A, recovery="single"), "yes"),
        (grub_cfg("quiet"), "no"),
        (grub_cfg(HIDE_A, "quiet"), "unknown"),
        (grub_cfg("quiet", xen=HIDE_A), "no"),
        (grub_cfg("quiet", xen=f"dom0_mem=1G -- {HIDE_A}"), "yes"),
        (grub_cfg("$mine").replace("set default=0", f"set mine='{HIDE_A}'"), "yes"),
        (grub_cfg("$mine").replace("set default=0", f"set mine='{HIDE_A}'\nset mine=quiet"), "unknown"),
        (grub_cfg("$nothing"), "no"),
    ],
    ids=["one entry", "several", "none", "different ones", "Xen's line", "handed on", "variable", "variables", "empty"],
)
def test_entries_for_xen_are_read_as_grub_does(root: Root, text: str, kept: str) -> None:
    root.write("boot/grub2/grub.cfg", text)
    assert root.kept() == kept


def test_an_entry_of_ones_own_beside_grubs(root: Root) -> None:
    root.write("boot/grub/grub.cfg", grub_cfg("quiet"))
    root.write("boot/grub/custom.cfg", f"menuentry 'Mine' {{\n{entry(HIDE_A, '')}}}\n")
    assert root.kept() == "unknown"
    assert "custom.cfg" in root.facts().why_unknown(A)


def test_what_grub_makes_of_our_file_is_ours(root: Root) -> None:
    ours = f'{MARK}\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {HIDE_A}"\n'
    root.write(DEFAULTS, "")
    root.write(GRUB, ours)
    root.write("boot/grub/grub.cfg", grub_cfg(HIDE_A))
    facts = root.facts()
    assert [setting.ours for setting in facts.hide] == [True]
    assert facts.declared_by_us == {A}


# ---- other boot loaders

OTHERS = {
    "xen.efi": (
        "boot/efi/EFI/qubes/xen.cfg",
        "[global]\ndefault=a\n[a]\noptions=loglvl=all\nkernel=vmlinuz root=/dev/vda ro %s\n[b]\nkernel=vmlinuz ro\n",
    ),
    "syslinux": (
        "boot/extlinux/extlinux.conf",
        "LABEL xen\n  KERNEL mboot.c32\n  APPEND xen.gz dom0_mem=1G --- vmlinuz root=/dev/vda ro %s --- initrd.img\n",
    ),
    "boot loader entries": ("boot/loader/entries/x.conf", "title x\nlinux /vmlinuz\noptions root=/dev/vda ro %s\n"),
    "GRUB": (
        "boot/grub/menu.lst",
        "title Xen\nkernel /xen.gz dom0_mem=1G\nmodule /vmlinuz root=/dev/vda ro %s\nmodule /initrd\n",
    ),
}


@pytest.mark.parametrize("loader", OTHERS)
def test_other_boot_loaders_are_read(root: Root, loader: str) -> None:
    path, text = OTHERS[loader]
    root.write(path, text % HIDE_A)
    root.cmdline(HIDE_A)
    facts = root.facts()
    assert facts.loaders == (loader,)
    assert facts.kept(A) is Kept.YES and facts.kept(B) is Kept.NO
    root.write(path, text % "quiet", older=False)
    assert root.kept() == "no"


def test_entries_take_their_options_from_grubs_environment(root: Root) -> None:
    root.write("boot/loader/entries/x.conf", "title x\nlinux /vmlinuz\noptions $kernelopts quiet\n")
    root.write("boot/grub2/grubenv", f"# GRUB Environment Block\nkernelopts=root=/dev/vda {HIDE_A}\n####\n")
    assert root.kept() == "yes"


def test_a_script_of_u_boot_is_not_followed(root: Root) -> None:
    root.write("boot/boot.scr", "bootargs")
    root.cmdline("quiet")
    assert root.kept() == "unknown"


@pytest.mark.parametrize("older", [True, False])
def test_defaults_beside_another_loader_say_nothing(root: Root, older: bool) -> None:
    """The host boots by xen.efi; GRUB was installed once, and its configuration names another device."""
    root.cmdline(HIDE_A)
    root.write("boot/efi/EFI/xen/xen.cfg", f"[global]\ndefault=a\n[a]\nkernel=vmlinuz root=/dev/vda ro {HIDE_A}\n")
    root.write(DEFAULTS, f'GRUB_CMDLINE_LINUX="{HIDE_B}"', older)
    root.write("boot/grub/grub.cfg", grub_cfg(HIDE_B), older)
    facts = root.facts()
    assert (facts.kept(A), facts.kept(B)) == (Kept.YES, Kept.NO)
    assert facts.loaders == ("xen.efi",) and not facts.has_grub and facts.rebuilt is None


# ---- this boot


def test_files_that_are_older_than_a_boot_without_it_are_refuted(root: Root) -> None:
    root.cmdline("quiet")
    root.write(DEFAULTS, f'GRUB_CMDLINE_LINUX="quiet {HIDE_A}"')
    root.write("boot/grub/grub.cfg", grub_cfg(f"quiet {HIDE_A}"))
    facts = root.facts()
    assert facts.kept(A) is Kept.UNKNOWN and not facts.has_grub
    assert any("does not boot as its files say" in complaint for complaint in facts.complaints)


def test_files_that_have_changed_since_are_believed(root: Root) -> None:
    root.cmdline("quiet")
    root.write(DEFAULTS, f'GRUB_CMDLINE_LINUX="quiet {HIDE_A}"', older=False)
    root.write("boot/grub/grub.cfg", grub_cfg(f"quiet {HIDE_A}"), older=False)
    assert root.kept() == "yes"


def test_not_if_they_boot_another_system(root: Root) -> None:
    root.write("proc/cmdline", "root=/dev/nfs ip=dhcp\n")
    root.write(DEFAULTS, "", older=False)
    root.write("boot/grub/grub.cfg", grub_cfg(HIDE_A), older=False)
    facts = root.facts()
    assert facts.kept(A) is Kept.UNKNOWN and not facts.has_grub


def test_other_words_of_the_line_tell_loaders_apart(root: Root) -> None:
    """Nothing is hidden yet, but the host is started over the network: GRUB's files would change nothing."""
    root.write("proc/cmdline", "root=/dev/nfs ip=dhcp\n")
    root.write(DEFAULTS, "")
    root.write("boot/grub/grub.cfg", grub_cfg("quiet"))
    facts = root.facts()
    assert facts.kept(A) is Kept.NO and facts.rebuilt is None


def test_without_any_boot_loader_the_next_boot_is_like_this_one(root: Root) -> None:
    root.cmdline(HIDE_A)
    facts = root.facts()
    assert (facts.kept(A), facts.kept(B), facts.loaders) == (Kept.YES, Kept.NO, ())


@pytest.mark.parametrize("older", [True, False])
def test_defaults_without_a_configuration_do_not_deny_what_this_boot_hides(root: Root, older: bool) -> None:
    root.cmdline(f"quiet {HIDE_A}")
    root.write(DEFAULTS, "GRUB_CMDLINE_LINUX=quiet", older)
    assert (root.kept(A), root.kept(B)) == ("unknown", "no")


def test_words_that_xen_and_the_kernel_add_refute_nothing(root: Root) -> None:
    root.cmdline(f"quiet {HIDE_A} acpi=off bootconfig")
    root.write("boot/grub/grub.cfg", grub_cfg(f"quiet {HIDE_A}"))
    assert root.kept() == "yes"


# ---- other ways to hide


def test_qubes_hides_by_a_parameter_of_its_own(root: Root) -> None:
    root.write(DEFAULTS, 'GRUB_CMDLINE_LINUX="rd.qubes.hide_pci=01:00.0,0000:02:00.0"')
    assert (root.kept(A), root.kept(B), root.kept(C)) == ("yes", "yes", "no")


@pytest.mark.parametrize(
    ("more", "usb"), [("", "no"), ("rd.qubes.hide_all_usb", "yes"), ("rd.qubes.hide_all_usb=0", "no")]
)
def test_qubes_hides_all_network_devices_and_usb_if_it_says_so(root: Root, more: str, usb: str) -> None:
    root.write("etc/qubes-release", "Qubes release 4.2")
    root.write("boot/grub2/grub.cfg", grub_cfg(f"quiet {more}"))
    facts = root.facts(d01="020000", d02="0c0330", d03="010802")
    assert [facts.kept(sbdf).value for sbdf in (A, B, C)] == ["yes", usb, "no"]


def test_beside_qubes_parameter_a_hide_counts_too(root: Root) -> None:
    root.write(DEFAULTS, f'GRUB_CMDLINE_LINUX="{HIDE_A} rd.qubes.hide_pci=02:00.0"')
    assert (root.kept(A), root.kept(B)) == ("yes", "yes")


def test_a_device_that_its_driver_had_first_is_not_known_to_be_kept(root: Root) -> None:
    root.write("etc/modprobe.d/x.conf", "options xen-pciback hide=(01:00.0)(02:00.0)\n")
    listed = {
        A: device(A, "e1000e", pciback_slots=1),
        B: device(B, "pciback", pciback_slots=1),
    }
    facts = BootConfig(root.path, "6.1").facts(PcibackKind.MODULE, listed)
    assert (facts.kept(A), facts.kept(B)) == (Kept.UNKNOWN, Kept.YES)
    assert "e1000e" in facts.why_unknown(A)


@pytest.mark.parametrize(
    ("had", "older", "kept"),
    [("(01:00.0)", True, "yes"), ("(null)", True, "unknown"), ("(02:00.0)", True, "unknown"), ("(null)", False, "yes")],
)
def test_what_pciback_was_loaded_with_refutes_files_that_are_older(
    root: Root, had: str, older: bool, kept: str
) -> None:
    root.cmdline("quiet")
    root.write("etc/modprobe.d/x.conf", "options xen-pciback hide=(01:00.0)\n", older)
    root.write("sys/module/xen_pciback/parameters/hide", f"{had}\n")
    facts = root.facts(PcibackKind.MODULE)
    assert facts.kept(A).value == kept
    assert facts.kept(C) is Kept.NO
    if had == "(02:00.0)":
        assert facts.kept(B) is Kept.UNKNOWN


def test_an_initramfs_that_was_made_since_may_have_what_the_files_say(root: Root) -> None:
    root.cmdline("quiet")
    root.write("etc/modprobe.d/x.conf", "options xen-pciback hide=(01:00.0)\n")
    root.write("sys/module/xen_pciback/parameters/hide", "(null)\n")
    root.write("boot/initrd.img-6.1", "", older=False)
    assert root.facts(PcibackKind.MODULE).kept(A) is Kept.YES


TAKERS = {
    "etc/rc.local": "#!/bin/sh\nfor one in 01:00.0; do\n  xl pci-assignable-add $one\ndone\n",
    "etc/systemd/system/mine.service": "[Service]\nExecStart=/usr/sbin/xl pci-assignable-add 0000:01:00.0\n",
    "etc/udev/rules.d/10-x.rules": 'KERNEL=="0000:01:00.0", ATTR{driver_override}="pciback"\n',
    "etc/initramfs-tools/scripts/init-top/x": "echo 0000:01:00.0 > /sys/bus/pci/drivers/pciback/new_slot\n",
}


@pytest.mark.parametrize(("path", "text"), TAKERS.items(), ids=TAKERS)
def test_what_others_give_to_pciback_while_the_host_boots_is_unknown(root: Root, path: str, text: str) -> None:
    root.write(path, text)
    facts = root.facts()
    assert (facts.kept(A), facts.kept(B)) == (Kept.UNKNOWN, Kept.NO)
    assert f"/{path}" in facts.why_unknown(A)
    assert codes(plan_boot(facts, (), {A}).refusals) == [("foreign-hide", str(A))]
    assert plan_boot(replace(facts, has_systemd=True), {A}).refusals == ()
    root.write(path, "".join(f"# {line}\n" for line in text.splitlines()))
    assert root.kept() == "no"


def test_our_own_unit_is_none_of_others(root: Root) -> None:
    root.write(UNIT, f"{MARK}\nExecStart=-/usr/sbin/xl pci-assignable-add {A}\n")
    facts = root.facts()
    assert facts.others == {} and facts.kept(A) is Kept.YES
