# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the declaration of virtual functions, and make one plan for all physical ones, or every refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..model.host import Host
from ..model.physical_function import VfSettings
from ..values.address import Sbdf
from ..values.catalog import Catalog, normal_mac
from ..values.function_keys import FUNCTION_KEYS, SETTING_KEYS
from ..values.keys import Key, WrongValue, read_keys
from ..values.plain import plain
from ..values.refusal import Refusal
from ..values.words import listed
from .function_plan import DesiredFunctions, FunctionPlan, plan_functions, wrong_settings
from .names import Lookup, resolve
from .plan_document import Document, identities, plan_document


@dataclass(frozen=True)
class WantedFunction:
    """What is declared of one physical function, by its name or address; settings are pairs of index and settings."""

    name: str
    count: int
    drivers_autoprobe: bool | None = None
    settings: tuple[tuple[int, VfSettings], ...] = ()


@dataclass(frozen=True)
class WantedFunctions:
    """What a task declares of virtual functions; `refusals` say what could not be read of it."""

    functions: tuple[WantedFunction, ...]
    catalog: Catalog = field(default_factory=Catalog)
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class DeclaredFunctions:
    """A declaration with all names looked up on one host; `refusals` say which names or entries are wrong."""

    by_name: Mapping[str, DesiredFunctions]
    refusals: tuple[Refusal, ...] = ()

    @property
    def desired(self) -> Sequence[DesiredFunctions]:
        """What is desired of each physical function."""
        return list(self.by_name.values())

    @property
    def physical(self) -> list[Sbdf]:
        """Addresses of the physical functions."""
        return [desired.pf for desired in self.by_name.values()]

    @property
    def with_settings(self) -> frozenset[Sbdf]:
        """Addresses of the physical functions whose settings have to be read; none of a declaration that is refused."""
        if self.refusals:
            return frozenset()
        return frozenset(desired.pf for desired in self.by_name.values() if desired.settings)


def read_functions(declared: Iterable[Any], catalog: Catalog | None = None) -> WantedFunctions:
    """Read `physical_functions` or `xen_pci_virtual_functions`, strictly. Everything wrong is in `refusals`."""
    functions: list[WantedFunction] = []
    refusals: list[Refusal] = []
    for one in declared:
        values, wrong = _keys_of(one, FUNCTION_KEYS, "a physical function")
        name = str(values.get("pf", one))
        settings, wrong_settings = _settings_of(values.get("vfs", ()))
        refusals += [
            Refusal("function-options", name, f"{name}: {error}", error.advice) for error in [*wrong, *wrong_settings]
        ]
        if "pf" in values and "count" in values:
            functions.append(WantedFunction(name, values["count"], values.get("drivers_autoprobe"), settings))
    return WantedFunctions(tuple(functions), catalog or Catalog(), tuple(refusals))


def _settings_of(vfs: Iterable[Any]) -> tuple[tuple[tuple[int, VfSettings], ...], list[WrongValue]]:
    settings, wrong = [], []
    for at, one in enumerate(vfs):
        values, wrong_here = _keys_of(one, SETTING_KEYS, "a virtual function")
        wrong += [WrongValue(f"vfs[{at}]: {error}", error.advice) for error in wrong_here]
        if not wrong_here:
            settings.append((values.pop("index"), VfSettings(**values)))
    return tuple(settings), wrong


def _keys_of(declared: Any, keys: Mapping[str, Key], kind: str) -> tuple[dict[str, Any], list[WrongValue]]:
    if not isinstance(declared, Mapping):
        return {}, [WrongValue(f"{declared!r} is not {kind}", f"write a dictionary with some of {listed(keys)}")]
    values, wrong = read_keys(keys, kind, declared)
    if "mac" in values:
        values["mac"] = normal_mac(values["mac"])
    return values, wrong


def resolve_functions(host: Host, wanted: WantedFunctions) -> DeclaredFunctions:
    """Look up the names of all physical functions."""
    names = [function.name for function in wanted.functions]
    known = [name for name in dict.fromkeys(names) if name not in wanted.catalog.unreadable]
    leaving = [function.name for function in wanted.functions if not function.count]
    resolution = resolve(wanted.catalog.entries, Lookup(host.devices, host.remembered, gone=host.gone), known, leaving)
    refusals = [*wanted.catalog.refusals, *wanted.refusals, *resolution.refusals]
    refusals += [
        Refusal("absent", name, f"{name!r} is not on this host", "correct it, or remove it")
        for name in resolution.missing
        if name not in leaving
    ]
    refusals += [
        Refusal("pool-for-device", name, f"{name!r} is a whole card, but a single device is needed", "name a device")
        for name in resolution.pools
    ]
    refusals += [
        Refusal("listed-twice", name, f"{name!r} is listed more than once", "list it once")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    for function in wanted.functions:
        indices = [index for index, _settings in function.settings]
        refusals += [
            Refusal(
                "listed-twice",
                function.name,
                f"{function.name!r}: virtual function {index} is listed twice",
                "list it once",
            )
            for index in dict.fromkeys(indices)
            if indices.count(index) > 1
        ]
    desired = {
        function.name: DesiredFunctions(
            resolution.found[function.name], function.count, function.drivers_autoprobe, dict(function.settings)
        )
        for function in wanted.functions
        if function.name in resolution.found
    }
    refusals += [refusal for one in desired.values() for refusal in wrong_settings(one)]
    return DeclaredFunctions(desired, tuple(refusals))


def complete_function_plan(host: Host, declared: DeclaredFunctions) -> FunctionPlan:
    """Plan all physical functions, and collect all refusals."""
    plan = plan_functions(host, declared.desired)
    refusals = tuple(dict.fromkeys([*declared.refusals, *plan.refusals]))
    return FunctionPlan(() if refusals else plan.steps, refusals)


def functions_document(host: Host, declared: DeclaredFunctions, plan: FunctionPlan) -> Document:
    """Write the plan as a document."""
    return plan_document(
        "functions",
        steps=[{"action": step.action, **plain(step)} for step in plan.steps],
        basis={"declared": declared.by_name, "devices": identities(host, declared.physical)},
        changes=bool(plan.steps),
        refusals=plan.refusals,
    )


def in_the_way(host: Host, wanted: WantedFunctions) -> list[Sbdf]:
    """Find what pciback has to give back before the number of virtual functions can change.

    These are physical functions, which only a driver of the host can divide, and virtual functions, since Linux removes
    all of them first. What a domain has is not among them: the change is refused then.
    """
    declared = resolve_functions(host, wanted)
    found = []
    for desired in declared.desired:
        device = host.devices[desired.pf]
        if desired.count != len(device.virtfns):
            found += [sbdf for sbdf in (desired.pf, *device.virtfns) if sbdf in host.in_pciback]
    return sorted(sbdf for sbdf in found if sbdf not in host.holders)
