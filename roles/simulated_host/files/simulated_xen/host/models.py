# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices that a machine description can name, with the numbers of the real ones."""

from __future__ import annotations

from dataclasses import dataclass

from .config_space import Bar, Identity


@dataclass(frozen=True)
class Model:
    """One kind of function. `driver` is what dom0 binds; `child` what that driver creates below it
    (net, nvme, ata or nothing); `resets` the kernel's reset methods, best first; `msi`: its drivers use MSI."""

    identity: Identity
    driver: str | None = None
    child: str = ""
    bars: tuple[Bar, ...] = ()
    msix_vectors: int = 0
    resets: tuple[str, ...] = ("flr", "bus")
    total_vfs: int = 0
    vf_model: str = ""
    bridge: bool = False
    acs: bool = False
    port_type: int = 0
    msi: bool = False

    @property
    def alias(self) -> str:
        """The line of modules.alias by which the kernel finds its driver, empty if there is none."""
        if self.driver is None:
            return ""
        numbers = f"v{self.identity.vendor:08X}d{self.identity.device:08X}"
        return f"alias pci:{numbers}sv*sd*bc*sc*i* {self.driver.replace('-', '_')}"


K = 1024
M = 1024 * K
_NIC = Bar(128 * K)
_MSIX = Bar(16 * K)

MODELS: dict[str, Model] = {
    "host-bridge": Model(Identity(0x8086, 0x29C0, 0x060000), resets=()),
    "isa-bridge": Model(Identity(0x8086, 0x2918, 0x060100), "lpc_ich", resets=()),
    "smbus": Model(Identity(0x8086, 0x2930, 0x0C0500), "i801_smbus", bars=(Bar(64, "io"),), resets=()),
    "root-port": Model(
        Identity(0x8086, 0x3420, 0x060400, 2), "pcieport", resets=(), bridge=True, acs=True, port_type=4
    ),
    "switch-up": Model(Identity(0x10B5, 0x8747, 0x060400, 1), "pcieport", resets=(), bridge=True, port_type=5),
    "switch-down": Model(Identity(0x10B5, 0x8747, 0x060400, 1), "pcieport", resets=(), bridge=True, port_type=6),
    "pci-bridge": Model(Identity(0x1B36, 0x0001, 0x060400), None, resets=(), bridge=True, port_type=7),
    "vga": Model(Identity(0x1A03, 0x2000, 0x030000, 0x41), "ast", bars=(Bar(16 * M), Bar(128 * K)), resets=()),
    "igd": Model(
        Identity(0x8086, 0xA788, 0x030000, 4),
        "i915",
        bars=(Bar(16 * M, "mem64"), Bar(256 * M, "prefetch64")),
        resets=("flr",),
        msi=True,
    ),
    "ehci": Model(Identity(0x8086, 0x293A, 0x0C0320, 3), "ehci-pci", bars=(Bar(1 * K),), resets=("pm",)),
    "xhci": Model(Identity(0x1B36, 0x000D, 0x0C0330, 1), "xhci_hcd", bars=(Bar(16 * K, "mem64"),), msix_vectors=16),
    "ahci": Model(Identity(0x8086, 0x2922, 0x010601, 2), "ahci", "ata", (Bar(32, "io"), Bar(4 * K)), resets=("pm",)),
    "e1000e": Model(
        Identity(0x8086, 0x10D3, 0x020000, 0, 0x8086, 0),
        "e1000e",
        "net",
        (_NIC, _NIC, Bar(32, "io"), _MSIX),
        5,
    ),
    "igb": Model(
        Identity(0x8086, 0x10C9, 0x020000, 1, 0x8086, 0xA03C),
        "igb",
        "net",
        (_NIC, Bar(4 * M), Bar(32, "io"), _MSIX),
        10,
        total_vfs=7,
        vf_model="igbvf",
    ),
    "igbvf": Model(
        Identity(0x8086, 0x10CA, 0x020000, 1, 0x8086, 0xA03C),
        "igbvf",
        "net",
        (Bar(16 * K, "prefetch64"), Bar(16 * K, "prefetch64")),
        3,
        ("flr",),
    ),
    "i40e": Model(
        Identity(0x8086, 0x1572, 0x020000, 2, 0x8086, 0x0007),
        "i40e",
        "net",
        (Bar(8 * M, "prefetch64"), Bar(32 * K, "prefetch64")),
        129,
        total_vfs=64,
        vf_model="iavf",
    ),
    "iavf": Model(
        Identity(0x8086, 0x154C, 0x020000, 2, 0x8086, 0),
        "iavf",
        "net",
        (Bar(64 * K, "prefetch64"), Bar(16 * K, "prefetch64")),
        17,
        ("flr",),
    ),
    "nvme": Model(Identity(0x1B36, 0x0010, 0x010802, 2, 0x1AF4, 0x1100), "nvme", "nvme", (Bar(16 * K, "mem64"),), 65),
    "nvme-sriov": Model(
        Identity(0x1B36, 0x0010, 0x010802, 2, 0x1AF4, 0x1100),
        "nvme",
        "nvme",
        (Bar(16 * K, "mem64"),),
        65,
        total_vfs=4,
        vf_model="nvme-vf",
    ),
    "nvme-vf": Model(
        Identity(0x1B36, 0x0010, 0x010802, 2, 0x1AF4, 0x1100), "nvme", "", (Bar(16 * K, "mem64"),), 3, ("flr",)
    ),
    "edu": Model(Identity(0x1234, 0x11E8, 0x00FF00, 0x10, 0x1AF4, 0x1100), None, bars=(Bar(1 * M),), resets=("pm",)),
    "hd-audio": Model(
        Identity(0x8086, 0x293E, 0x040300, 3), "snd_hda_intel", bars=(Bar(16 * K, "mem64"),), resets=("flr",), msi=True
    ),
    "gpu": Model(
        Identity(0x10DE, 0x1EB8, 0x030200, 0xA1, 0x10DE, 0x12A2),
        "nouveau",
        bars=(Bar(16 * M), Bar(256 * M, "prefetch64"), Bar(32 * M, "prefetch64")),
        msix_vectors=6,
        resets=("flr", "bus"),
    ),
    "no-reset": Model(
        Identity(0x1B21, 0x2142, 0x0C0330, 0, 0x1043, 0x8756), "xhci_hcd", bars=(Bar(32 * K, "mem64"),), resets=()
    ),
}
