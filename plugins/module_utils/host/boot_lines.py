# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the files of boot loaders with which command lines they start dom0's kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable

from ..model.boot_line import BootLine, BootSource, HideSetting
from ..values.command_line import own_words, settings_of, split_hypervisors, words
from .kernel_files import read_text

GRUB, XEN_EFI, ENTRIES, SYSLINUX, U_BOOT = "GRUB", "xen.efi", "boot loader entries", "syslinux", "U-Boot"
GRUB_FILES = (
    "boot/grub/grub.cfg",
    "boot/grub2/grub.cfg",
    "boot/efi/EFI/*/grub.cfg",
    "boot/EFI/*/grub.cfg",
    "efi/EFI/*/grub.cfg",
    "boot/grub/custom.cfg",
    "boot/grub2/custom.cfg",
    "boot/grub/menu.lst",
    "boot/grub/grub.conf",
)
_XEN_CFG = ("boot/efi/EFI/*/xen*.cfg", "boot/EFI/*/xen*.cfg", "efi/EFI/*/xen*.cfg", "boot/efi/xen*.cfg")
_ENTRIES = ("boot/loader/entries/*.conf", "efi/loader/entries/*.conf", "boot/efi/loader/entries/*.conf")
_SYSLINUX = ("boot/extlinux/extlinux.conf", "boot/extlinux.conf", "boot/syslinux/syslinux.cfg", "boot/syslinux.cfg")
_U_BOOT = ("boot/boot.scr", "boot/boot.scr.uimg", "boot/uEnv.txt")
_HYPERVISOR = ("multiboot", "multiboot2", "xen_hypervisor", "kernel")
_MODULE = ("module", "module2", "xen_module")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_NAMES = ("xen-pciback.hide", "rd.qubes.hide_pci")
#: All network devices are hidden in Qubes, and all USB controllers if its parameter says so (its dracut module).
_QUBES = ("etc/qubes-release", "usr/lib/dracut/modules.d/90qubes-pciback")


#: Reads the lines of one file, which it gets by its name and its text.
_Reader = Callable[[str, str], Iterable[BootLine]]


class BootFiles:
    """The files of boot loaders below a root, and when this boot began."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.began = self._boot_time()
        self._is_qubes = any((root / path).exists() for path in _QUBES)
        #: What is wrong with the lines for Xen itself, a sentence each.
        self.remarks: list[str] = []

    def this_boot(self) -> BootLine | None:
        """Return the command line of this boot, None if it cannot be read."""
        text = read_text(self._root / "proc/cmdline")
        return None if text is None else self.line("/proc/cmdline", words(text))

    def sources(self) -> list[BootSource]:
        """Read the files of all boot loaders that have lines for dom0."""
        found = [
            self._source(GRUB, GRUB_FILES, self._grub),
            self._source(XEN_EFI, _XEN_CFG, self._xen_cfg),
            self._source(SYSLINUX, _SYSLINUX, self._syslinux),
        ]
        if not any(found):
            found.append(self._source(ENTRIES, _ENTRIES, self._entry))
        if not any(found):
            found.append(self._source(U_BOOT, _U_BOOT, self._cannot_be_read))
        return [source for source in found if source is not None]

    def line(self, source: str, found: Sequence[str], unknown: str = "") -> BootLine:
        """Make a line of its words."""
        if any(True for _value in settings_of(found, "pciback.hide")):
            self._remark(f"pciback.hide= in {source} has no effect: this kernel's name for it is xen-pciback.hide=.")
        settings = tuple(self._settings(source, found))
        others = (word for word in found if word.partition("=")[0].replace("_", "-") not in map(_dashed, _NAMES))
        return BootLine(source, settings, own_words(list(others)), unknown)

    def older(self, paths: Sequence[Path]) -> bool | None:
        """Whether none of the files has changed since this boot began; None if that is not known."""
        if self.began is None or not paths:
            return None
        return all(path.stat().st_mtime < self.began for path in paths)

    def found(self, patterns: Sequence[str]) -> list[Path]:
        """Find the files that are there."""
        return [path for pattern in patterns for path in sorted(self._root.glob(pattern)) if path.is_file()]

    def named(self, path: Path) -> str:
        """Name a file as the host does."""
        return f"/{path.relative_to(self._root)}"

    def _source(self, loader: str, patterns: Sequence[str], read: _Reader) -> BootSource | None:
        paths = self.found(patterns)
        lines = [line for path in paths for line in read(self.named(path), read_text(path) or "")]
        # Entries for other kernels have the same line, so each is listed once.
        return BootSource(loader, tuple(dict.fromkeys(lines)), self.older(paths)) if lines else None

    def _remark(self, remark: str) -> None:
        if remark not in self.remarks:
            self.remarks.append(remark)

    def _settings(self, source: str, found: Sequence[str]) -> Iterator[HideSetting]:
        for value in settings_of(found, "xen-pciback.hide"):
            yield HideSetting(source, value)
        hidden = [address for value in settings_of(found, "rd.qubes.hide_pci") for address in value.split(",")]
        usb = any(value not in ("0", "no") for value in settings_of(found, "rd.qubes.hide_all_usb"))
        classes = (("02", "0c03") if usb or "rd.qubes.hide_all_usb" in found else ("02",)) if self._is_qubes else ()
        if hidden or classes:
            text = "".join(f"({address})" for address in hidden if address)
            yield HideSetting(source, text, adds=True, classes=classes)

    def _grub(self, source: str, text: str) -> Iterator[BootLine]:
        """Yield the lines of grub.cfg, or of the older menu.lst, without those for recovery (20_linux_xen)."""
        text = text.replace("\\\n", " ")
        variables = self._grub_variables(text)
        title, xen = "", None
        for line in text.splitlines():
            first, rest = [*line.split(None, 1), "", ""][:2]
            rest = rest.strip()
            if first in ("menuentry", "title"):
                title, xen = rest, None
            elif first in _HYPERVISOR and "xen" in rest.partition(" ")[0]:
                xen = rest
            elif first in _MODULE and xen is not None:
                found, unknown = _expanded(_arguments(rest), variables)
                own, handed_on = split_hypervisors(xen)
                self._against_hypervisors(source, own)
                found += words(handed_on)
                xen = None
                if "recovery" not in title.lower() and "single" not in found:
                    yield self.line(source, found, unknown)

    def _grub_variables(self, text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in re.findall(r"^\s*set\s+(\w+)=(.*?)\s*$", text, re.MULTILINE | re.ASCII):
            found.setdefault(name, []).append(value.strip("\"'"))
        for path in self.found(("boot/grub/grubenv", "boot/grub2/grubenv", "boot/efi/EFI/*/grubenv")):
            for line in (read_text(path) or "").splitlines():
                name, equals, value = line.partition("=")
                if equals and not line.startswith("#"):
                    found.setdefault(name, []).append(value)
        return found

    def _against_hypervisors(self, source: str, own: str) -> None:
        if any(True for _value in settings_of(words(own), "xen-pciback.hide")):
            self._remark(
                f"hide= in {source} is on the line of Xen, where dom0's kernel does not see it. Put it on the line of"
                " dom0's kernel."
            )

    def _xen_cfg(self, source: str, text: str) -> Iterator[BootLine]:
        """Yield the line of an EFI boot (xen/common/efi/boot.c): of the section that [global] names, or of all."""
        sections: dict[str, dict[str, str]] = {}
        name = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("[") and line.endswith("]"):
                name = line[1:-1]
            elif "=" in line and not line.startswith("#"):
                key, _equals, value = line.partition("=")
                sections.setdefault(name, {})[key.strip()] = value.strip()
        default = sections.get("global", {}).get("default", "")
        for name, section in sections.items():
            if "kernel" in section and (name == default or default not in sections):
                self._against_hypervisors(source, section.get("options", ""))
                yield self.line(source, words(section["kernel"])[1:])

    def _syslinux(self, source: str, text: str) -> Iterator[BootLine]:
        """Yield what mboot.c32 gets: images with their arguments, divided by three dashes."""
        for line in text.splitlines():
            first, _blank, rest = line.strip().partition(" ")
            parts = rest.split("---")
            if first.lower() == "append" and len(parts) > 1 and "xen" in parts[0].partition(" ")[0]:
                self._against_hypervisors(source, parts[0])
                yield self.line(source, words(parts[1])[1:])

    def _entry(self, source: str, text: str) -> Iterator[BootLine]:
        """Yield the line of an entry after the Boot Loader Specification."""
        keys = dict(line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip())
        if "options" in keys and "linux" in keys:
            found, unknown = _expanded(keys["options"], self._grub_variables(""))
            yield self.line(source, found, unknown)

    def _cannot_be_read(self, source: str, _text: str) -> Iterator[BootLine]:
        yield BootLine(source, unknown=f"{source} is a boot loader's script, which is not followed")

    def _boot_time(self) -> float | None:
        match = re.search(r"^btime (\d+)$", read_text(self._root / "proc/stat") or "", re.MULTILINE)
        return float(match[1]) if match is not None else None


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _arguments(rest: str) -> str:
    """Return what follows the image in a line of GRUB, without options before it."""
    while rest.startswith("--"):
        rest = rest.partition(" ")[2].strip()
    return rest.partition(" ")[2]


def _expanded(text: str, variables: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """Put in GRUB's variables, which are empty if nothing sets them; and say why the line is not known then."""
    unknown = ""
    for braced, plain in _VARIABLE.findall(text):
        values = dict.fromkeys(variables.get(braced or plain, ()))
        if len(values) > 1 and any("hide" in value for value in values):
            unknown = f"${braced or plain} has several values"

    def value(match: re.Match[str]) -> str:
        values = list(dict.fromkeys(variables.get(match[1] or match[2], ())))
        return values[0] if len(values) == 1 else "?" if values else ""

    return words(_VARIABLE.sub(value, text).replace("'", "")), unknown
