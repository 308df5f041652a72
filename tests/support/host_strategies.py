# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any host of the model, for hypothesis: each field has all values of its type, whatever they would mean together.

The strategies follow the types of the model, so a new field is in them from its first day.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any

from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf

#: So few addresses that those of different places are often the same.
USUAL = (Sbdf(0, 3, 0, 0), Sbdf(0, 3, 0, 1), Sbdf(0, 0x10, 0, 0))
#: Members of a collection: what is true of one of two is true of many.
_MOST = 2
_SLOTS = (st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))
#: Text as it comes from a file that is not UTF-8, and text that looks like its written form.
_ODD = st.sampled_from(["caf\udce9", "base64:", "base64:eA==", "\ud800", ""])
#: What these are listed by, wherever there are several.
_KEYS = {PciDevice: "sbdf", Domain: "domid", PciConnection: "domid"}
_SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8) | _ODD,
    int: st.integers(),
    bool: st.booleans(),
    NoneType: st.none(),
    Sbdf: st.sampled_from(USUAL) | st.builds(Sbdf, *_SLOTS),
    GuestAddress: st.builds(GuestAddress, *_SLOTS),
}


@cache
def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """All values of an annotated type of the model."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if typing.get_origin(hint) is not None:
        return _of_generic(typing.get_origin(hint), typing.get_args(hint))
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    assert is_dataclass(hint), hint
    return st.deferred(lambda: _objects(hint))


def _of_generic(origin: Any, inner: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin in (UnionType, typing.Union):
        return st.one_of([values_of(one) for one in sorted(inner, key=lambda one: one is not NoneType)])
    if origin is tuple and inner[-1:] != (...,):
        return st.tuples(*map(values_of, inner))
    parts = list(map(values_of, (one for one in inner if one is not ...)))
    if origin is tuple:
        return st.lists(*parts, max_size=_MOST).map(tuple)
    if origin is frozenset:
        return st.frozensets(*parts, max_size=_MOST)
    assert origin is Mapping, origin
    if inner[1] in _KEYS:
        key = attrgetter(_KEYS[inner[1]])
        return st.lists(parts[1], max_size=_MOST).map(lambda found: {key(one): one for one in found})
    return st.dictionaries(*parts, max_size=_MOST)


@cache
def _objects(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})


def hosts() -> st.SearchStrategy[Host]:
    """Any host."""
    return values_of(Host)
