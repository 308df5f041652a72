# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which PCI devices a domain's xl.cfg has, and change them.

Sources: Xen's tools/xl/xl_parse.c and tools/libs/util/libxlu_pci.c; xl.cfg(5), xl-pci-configuration(5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import Enum

from ..values.address import AddressError, Sbdf
from ..values.device_options import DEFAULTS, NO_OPTIONS, DeviceOptions
from ..values.xl_config import (
    Setting,
    Value,
    XlConfigError,
    parse,
    string_of,
    with_item,
    with_other_item,
    with_setting,
    with_value,
    without_item,
)

_DEVICES = "pci"
_PASSTHROUGH = "passthrough"
_E820 = "e820_host"
#: Options that can be set for all devices at once, as pci_NAME (xl_parse.c).
_FOR_ALL = ("permissive", "msitranslate", "power_mgmt")
#: libxl_passthrough: with any of these but the first, a domain can be given devices later on.
_MODES = ("disabled", "enabled", "sync_pt", "share_pt")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*", re.ASCII)


class _Type(Enum):
    """The words for the type of a domain in `type` and, before Xen 4.10, in `builder`."""

    PV = ("pv", "generic")
    PVH = ("pvh",)
    HVM = ("hvm",)


def devices_of(text: str) -> tuple[Sbdf, ...]:
    """Read which devices the configuration gives a domain at its creation. Raises XlConfigError."""
    listed = _list_of(text)
    return () if listed is None else tuple(map(_device_of, listed.items))


def name_of(text: str) -> str | None:
    """Read whose configuration it is; None if it has no name. Raises XlConfigError."""
    setting = _setting(text, "name")
    return None if setting is None else _atom(setting)


def is_for_pv_guest(text: str) -> bool:
    """Whether the configuration makes a PV guest. Raises XlConfigError."""
    return _type_of(text) is _Type.PV


def options_of(text: str) -> dict[Sbdf, DeviceOptions]:
    """Read with which options the configuration gives a domain its devices. Raises XlConfigError."""
    listed = _list_of(text)
    for_all = {option: _atom(setting) for option in _FOR_ALL if (setting := _setting(text, f"pci_{option}"))}
    return {
        _device_of(item): DeviceOptions.from_words({**for_all, **_words_of(item)})
        for item in (listed.items if listed is not None else ())
    }


def updated(
    text: str,
    name: str,
    add: Collection[Sbdf] = (),
    remove: Collection[Sbdf] = (),
    *,
    only: bool = False,
    options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS,
) -> str:
    """Return the configuration of domain `name` with the devices `add` and without `remove`; with `only`, no others.

    An entry that stays keeps its options, but for those that `options` has for its device. A domain with devices also
    gets the settings that it needs to take more of them while it runs: use of the IOMMU and, if it is a PV guest, the
    host's memory map. Raises XlConfigError if the text is not understood or is that of another domain.
    """
    quote = _check_name(text, name)
    present = devices_of(text)
    for device in dict.fromkeys(add):
        if device not in present:
            text = _with_device(text, f"{quote}{device}{quote}")
    unwanted = {
        device for device in present if (only and device not in add) or (device in remove and device not in add)
    }
    for device in unwanted:
        text = _without_device(text, device)
    text = _with_options(text, options)
    listed = devices_of(text)
    for device in listed:
        if listed.count(device) > 1:  # libxl has given it away already when it comes to the second entry
            raise XlConfigError(f"pci lists {device} more than once, so xl cannot create the domain; keep one of them")
    if listed:
        text = _with_iommu(text, quote)
        if is_for_pv_guest(text):
            text = _with_memory_map(text)
    return text


def _with_device(text: str, written: str) -> str:
    listed = _list_of(text)
    if listed is None:
        return with_setting(text, _DEVICES, f"[{written}]")
    own = next((item.atom for item in listed.items if item.atom), "")
    quote = own[:1] or written[:1]
    return with_item(text, listed, f"{quote}{written[1:-1]}{quote}")


def _without_device(text: str, device: Sbdf) -> str:
    while (listed := _list_of(text)) is not None and device in (present := list(map(_device_of, listed.items))):
        text = without_item(text, listed, present.index(device))
    return text


def _with_options(text: str, options: Mapping[Sbdf, DeviceOptions]) -> str:
    for device, wanted in options.items():
        now = options_of(text).get(device)
        if now is None or not wanted.differences(now):
            continue
        listed = _list_of(text)
        items = listed.items if listed is not None else ()
        item = next(item for item in items if _device_of(item) == device)
        atom = item.atom or ""
        quote = atom[:1] if atom[:1] in ("'", '"') else '"'
        text = with_other_item(text, item, f"{quote}{_spec_with(string_of(atom), wanted, now)}{quote}")
    return text


def _spec_with(spec: str, wanted: DeviceOptions, now: DeviceOptions) -> str:
    """Return a PCI_SPEC_STRING with other options; the rest stays as it is."""
    different = dict(wanted.words())
    for name, value in now.over(DEFAULTS).words():
        if different.get(name) == value:
            del different[name]
    words = spec.split(",")
    if "vslot" in different and "=" not in words[0] and not any(word.startswith("vslot=") for word in words):
        words[0] = f"{words[0].partition('@')[0]}@{different.pop('vslot')}"
    for name, value in different.items():
        words = [word for word in words if not word.startswith(f"{name}=")] + [f"{name}={value}"]
    return ",".join(words)


def _words_of(item: Value) -> dict[str, str]:
    """Read the options of an entry; of several of one name, the last one counts."""
    first, *others = string_of(item.atom or "").split(",")
    slot = {"vslot": first.partition("@")[2]} if "=" not in first else {}
    return {**slot, **dict(word.partition("=")[::2] for word in (first, *others) if "=" in word)}


def _with_iommu(text: str, quote: str) -> str:
    setting = _setting(text, _PASSTHROUGH)
    enabled = f"{quote}enabled{quote}"
    if setting is None:
        return with_setting(text, _PASSTHROUGH, enabled)
    mode = _atom(setting)
    if mode not in _MODES:
        raise XlConfigError(f"line {setting.line}: passthrough is {mode!r}, which is not one of {', '.join(_MODES)}")
    return with_value(text, setting, enabled) if mode == _MODES[0] else text


def _with_memory_map(text: str) -> str:
    setting = _setting(text, _E820)
    if setting is None:
        return with_setting(text, _E820, "1")
    number = _atom(setting)
    if not _NUMBER.fullmatch(number):
        raise XlConfigError(f"line {setting.line}: e820_host is {number!r}, but it must be 0 or 1")
    return with_value(text, setting, "1") if not number.strip("0xX") else text


def _check_name(text: str, name: str) -> str:
    """Check whose configuration it is, and return the quotation mark that it uses.

    Raises XlConfigError if it is another domain's.
    """
    setting = _setting(text, "name")
    if setting is None:
        raise XlConfigError(f'it has no name, so it may be the configuration of another domain; add name = "{name}"')
    if _atom(setting) != name:
        raise XlConfigError(f"line {setting.line}: it is the configuration of {_atom(setting)!r}, not of {name}")
    written = setting.value.atom or ""
    return written[:1] if written[:1] in ("'", '"') else '"'


def _type_of(text: str) -> _Type:
    """Read the type of the domain; `builder` overrides `type`, as in xl, and the default is a PV guest."""
    found = _Type.PV
    for key in ("type", "builder"):
        setting = _setting(text, key)
        if setting is not None:
            word = _atom(setting)
            match = next((kind for kind in _Type if word in kind.value), None)
            if match is None:
                raise XlConfigError(f"line {setting.line}: {key} is {word!r}, which is not a type of domain")
            found = match
    return found


def _list_of(text: str) -> Value | None:
    setting = _setting(text, _DEVICES)
    if setting is not None and not setting.value.is_list:
        raise XlConfigError(f"line {setting.line}: pci is not a list, so xl ignores it; write it as pci = [...]")
    return None if setting is None else setting.value


def _setting(text: str, name: str) -> Setting | None:
    """Find the setting of a name. Raises XlConfigError if there are several.

    Of several, the last one counts or they are combined, which is too easily misread to be changed.
    """
    found = [setting for setting in parse(text) if setting.name == name]
    if len(found) > 1:
        lines = " and ".join(str(setting.line) for setting in found)
        raise XlConfigError(f"{name} is set more than once (lines {lines}); keep one of them")
    return found[0] if found else None


def _atom(setting: Setting) -> str:
    if setting.value.atom is None:
        raise XlConfigError(f"line {setting.line}: {setting.name} is a list, but it must be a single value")
    return string_of(setting.value.atom)


def _device_of(item: Value) -> Sbdf:
    """Read the device of a PCI_SPEC_STRING: `[DDDD:]BB:SS.F[@vslot][,key=value]...`, or `bdf=` among the keys."""
    if item.atom is None:
        raise XlConfigError("pci contains a list, but its entries must be strings")
    spec = string_of(item.atom)
    first, *others = spec.split(",")
    words = [first.partition("@")[0]] if "=" not in first else []
    words += [word[len("bdf=") :] for word in (first, *others) if word.startswith("bdf=")]
    try:
        if "-" in words[-1]:
            raise AddressError
        return Sbdf.parse(words[-1])
    except (AddressError, IndexError):
        raise XlConfigError(
            f"the entry {spec!r} of pci does not name a single function; write it as DDDD:BB:SS.F"
        ) from None
