# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`persistent` on hosts whose boot files are not what they seem: no ok is false, and what is unknown is said to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from described_host import DescribedHost, booted, codes

NIC, DISK, SMBUS = "0000:01:00.0", "0000:02:00.0", "0000:00:1f.3"
HIDE = "xen-pciback.hide=(01:00.0)"
DEFAULTS, ZZ, CONFIGURATION = "etc/default/grub", "etc/default/grub.d/zz-xen-pci.cfg", "boot/grub/grub.cfg"
LINE = "root=/dev/vda ro"
#: What grub-mkconfig and 20_linux_xen do, in short.
UPDATE_GRUB = """#!/bin/sh
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/etc/default/grub"
for file in "$root"/etc/default/grub.d/*.cfg; do
    [ ! -e "$file" ] || . "$file"
done
[ -z "$GRUB_CMDLINE_LINUX_XEN_REPLACE" ] || GRUB_CMDLINE_LINUX=$GRUB_CMDLINE_LINUX_XEN_REPLACE
[ -z "$GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT" ] || GRUB_CMDLINE_LINUX_DEFAULT=$GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" << EOF
menuentry 'Debian, with Xen' {
\tmultiboot2 /boot/xen.gz placeholder $GRUB_CMDLINE_XEN $GRUB_CMDLINE_XEN_DEFAULT
\tmodule2 /boot/vmlinuz placeholder root=/dev/vda ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT
}
EOF
"""
GRUB = {"bin/update-grub": UPDATE_GRUB, DEFAULTS: "GRUB_CMDLINE_LINUX=quiet\n"}
SYSTEMD = {"run/systemd/system/": ""}


def configuration(dom0: str) -> str:
    return (
        "menuentry 'Xen' {\n\tmultiboot2 /boot/xen.gz placeholder\n"
        f"\tmodule2 /boot/vmlinuz placeholder {LINE} {dom0}\n}}\n"
    )


def machine(files: Mapping[str, str], **more: Any) -> dict[str, Any]:
    return {
        "devices": [
            {"at": "00:00.0", "model": "host-bridge"},
            {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
            {"at": "00:1f.3", "model": "smbus"},
            {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0"},
            {"at": "02:00.0", "model": "nvme"},
        ],
        "files": dict(files),
        **more,
    }


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[DescribedHost]:
    with booted(machine(request.param)) as made:
        yield made


def held(result: Mapping[str, Any]) -> list[str]:
    assert not result.get("failed"), result["msg"]
    return [one["held"] for one in result["devices"]]


def written(host: DescribedHost, path: str) -> str:
    file = host.directory / path
    return file.read_text() if file.exists() else ""


def dom0s_line(host: DescribedHost) -> str:
    return next(line for line in written(host, CONFIGURATION).splitlines() if "vmlinuz" in line)


#: Files that name the device, and where dom0's kernel does not get that.
UNHEARD: dict[str, Mapping[str, str]] = {
    "replaced": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE}"\n',
        "etc/default/grub.d/xen.cfg": 'GRUB_CMDLINE_LINUX_XEN_REPLACE="console=hvc0"\n',
    },
    "default replaced": {
        DEFAULTS: f'GRUB_CMDLINE_LINUX_DEFAULT="{HIDE}"\nGRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT="quiet"\n'
    },
    "the line of Xen": {DEFAULTS: f'GRUB_CMDLINE_XEN_DEFAULT="dom0_mem=4G {HIDE}"\n'},
    "set again": {DEFAULTS: f'GRUB_CMDLINE_LINUX="{HIDE}"\nGRUB_CMDLINE_LINUX=quiet\n'},
    "an old spelling": {DEFAULTS: 'GRUB_CMDLINE_LINUX="pciback.hide=(01:00.0)"\n'},
    "other order": {
        DEFAULTS: "",
        "etc/default/grub.d/a.cfg": f'GRUB_CMDLINE_LINUX="{HIDE}"\n',
        "etc/default/grub.d/b.cfg": "GRUB_CMDLINE_LINUX=quiet\n",
    },
}


@pytest.mark.parametrize("host", [{**GRUB, **files} for files in UNHEARD.values()], ids=list(UNHEARD), indirect=True)
def test_what_dom0s_kernel_does_not_get_is_no_persistence(host: DescribedHost) -> None:
    assert host.facts(NIC)["held"] == "neither"
    assert any("hide=" in problem for problem in host.info()["boot_problems"])
    planned = host.assign(NIC, persistent=True, check=True)
    done = host.assign(NIC, persistent=True)
    assert done["changed"] and held(planned) == held(done) == ["both"]
    assert f"xen-pciback.hide=({NIC})" in dom0s_line(host), "as the real shell has it"
    assert not host.assign(NIC, persistent=True)["changed"]
    assert held(host.assign(NIC, state="absent")) == ["neither"]
    assert f"({NIC})" not in dom0s_line(host)


@pytest.mark.parametrize(
    "host",
    [{**GRUB, DEFAULTS: f'GRUB_CMDLINE_LINUX="quiet {HIDE}"\n', CONFIGURATION: configuration("quiet")}],
    indirect=True,
)
def test_defaults_that_wait_for_a_rebuild_get_it(host: DescribedHost) -> None:
    assert host.facts(NIC)["held"] == "neither"
    assert any("Run update-grub" in problem for problem in host.info()["boot_problems"])
    assert host.assign(DISK)["changed"]
    assert "hide=" not in dom0s_line(host), "a run that is not about it leaves it to the user"
    done = host.assign(NIC, persistent=True)
    assert held(done) == ["both"] and HIDE in dom0s_line(host) and not written(host, ZZ)


@pytest.mark.parametrize("host", [{**GRUB, CONFIGURATION: configuration(HIDE)}], indirect=True)
def test_a_release_rebuilds_what_still_hides_the_device(host: DescribedHost) -> None:
    assert host.facts(NIC)["held"] == "after_reboot"
    host.assign(NIC)
    assert held(host.assign(NIC, state="absent")) == ["neither"]
    assert "hide=" not in dom0s_line(host)


#: Files that do not show how the host boots, or not with what.
UNKNOWN: dict[str, Mapping[str, str]] = {
    "a command": {**GRUB, DEFAULTS: "GRUB_CMDLINE_LINUX=$(cat /nothing)\n"},
    "a condition": {**GRUB, DEFAULTS: f'if true; then GRUB_CMDLINE_LINUX="{HIDE}"; fi\n'},
    "a script": {**GRUB, "etc/grub.d/40_custom": f"#!/bin/sh\necho 'module2 /vmlinuz {HIDE}'\n"},
    "two loaders": {
        CONFIGURATION: configuration("quiet"),
        "boot/efi/EFI/xen/xen.cfg": f"[global]\ndefault=a\n[a]\nkernel=vmlinuz {LINE} {HIDE}\n",
    },
    "U-Boot": {"boot/boot.scr": "x", "proc/cmdline": LINE},
}


@pytest.mark.parametrize("host", UNKNOWN.values(), ids=list(UNKNOWN), indirect=True)
def test_what_cannot_be_derived_is_unknown_and_no_promise(host: DescribedHost) -> None:
    facts = host.facts(NIC)
    assert facts["held"] == "unknown" and facts["held_unknown"]
    assert (
        any("not certain" in problem for problem in host.info()["boot_problems"]) or "as well" in facts["held_unknown"]
    )
    refused = host.assign(NIC, persistent=True)
    assert codes(refused) == [("not-persistent", NIC)] and facts["held_unknown"].split(":")[0][:20] in refused["msg"]
    assert host.driver(NIC) == "e1000e"


@pytest.mark.parametrize(
    "host",
    [
        {
            **GRUB,
            CONFIGURATION: configuration("quiet"),
            "boot/efi/EFI/xen/xen.cfg": f"[global]\ndefault=a\n[a]\nkernel=vmlinuz {LINE} quiet\n",
            "proc/cmdline": f"{LINE} quiet",
        }
    ],
    indirect=True,
)
def test_with_two_loaders_a_rebuild_of_one_promises_nothing(host: DescribedHost) -> None:
    assert host.facts(NIC)["held"] == "neither"
    refused = host.assign(NIC, persistent=True)
    assert codes(refused) == [("not-persistent", NIC)] and "xen.efi" in refused["msg"]
    assert not written(host, ZZ)


@pytest.mark.parametrize("host", [{**files, **SYSTEMD} for files in UNKNOWN.values()], ids=list(UNKNOWN), indirect=True)
def test_the_unit_keeps_what_no_line_can(host: DescribedHost) -> None:
    done = host.assign(NIC, persistent=True)
    assert held(done) == ["both"]
    assert f"pci-assignable-add {NIC}" in written(host, "etc/systemd/system/xen-pci-assignable.service")
    assert not host.assign(NIC, persistent=True)["changed"]


#: This boot had the device hidden, by something else than these files.
HIDDEN_NOW: dict[str, Mapping[str, str]] = {
    "defaults that are not used": {**GRUB, "proc/cmdline": f"{LINE} quiet {HIDE}"},
    "a script": {**GRUB, "proc/cmdline": f"{LINE} {HIDE}", "etc/grub.d/40_custom": f"echo 'module2 {HIDE}'\n"},
    "no boot loader": {"proc/cmdline": f"{LINE} {HIDE}"},
    "xen.cfg": {
        **GRUB,
        "proc/cmdline": f"{LINE} {HIDE}",
        "boot/efi/EFI/xen/xen.cfg": f"[global]\ndefault=a\n[a]\nkernel=vmlinuz {LINE} {HIDE}\n",
    },
}


@pytest.mark.parametrize("files", HIDDEN_NOW.values(), ids=list(HIDDEN_NOW))
def test_a_release_promises_nothing_that_this_boot_speaks_against(files: Mapping[str, str]) -> None:
    with booted(machine(files, hidden=["01:00.0"])) as host:
        assert host.facts(NIC)["held"] in ("both", "unknown")
        assert codes(host.assign(NIC, state="absent")) == [("foreign-hide", NIC)]
        assert host.driver(NIC) == "pciback"


@pytest.mark.parametrize(
    "files",
    [{DEFAULTS: 'GRUB_CMDLINE_LINUX="rd.qubes.hide_pci=01:00.0,02:00.0"\n', "bin/update-grub": UPDATE_GRUB}],
)
def test_qubes_own_way_is_respected(files: Mapping[str, str]) -> None:
    with booted(machine(files, hidden=["01:00.0", "02:00.0"])) as host:
        assert [host.facts(one)["held"] for one in (NIC, DISK)] == ["both", "both"]
        assert held(host.assign(NIC, persistent=True)) == ["both"] and not written(host, ZZ)
        assert codes(host.assign(NIC, state="absent")) == [("foreign-hide", NIC)]


@pytest.mark.parametrize(
    ("token", "files"),
    [
        ("(00:1f.3)", {"proc/cmdline": f"{LINE} xen-pciback.hide=(00:1f.3)"}),
        ("(00:1f.*)", {"proc/cmdline": f"{LINE} xen-pciback.hide=(01:00.0)(00:1f.*)"}),
        ("(0000:00:*.*)", {DEFAULTS: "GRUB_CMDLINE_LINUX='xen-pciback.hide=(0000:00:*.*)'\n"}),
    ],
    ids=["address", "slot", "bus"],
)
def test_a_mistake_of_hide_is_named_and_can_be_undone(token: str, files: Mapping[str, str]) -> None:
    with booted(machine(files, hidden=["00:1f.3"])) as host:
        assert any(SMBUS in problem and token in problem for problem in host.info()["boot_problems"])
        done = host.assign(SMBUS, state="absent")
        assert not done.get("failed"), done["msg"]
        assert host.driver(SMBUS) == "i801_smbus" and held(done) == ["after_reboot"]
        assert any(SMBUS in str(warning) for warning in done["warnings"]), done["warnings"]


def test_what_a_hand_gave_to_pciback_is_named_too() -> None:
    with booted(machine({}, hidden=["00:1f.3"])) as host:
        assert any(SMBUS in problem for problem in host.info()["boot_problems"])
