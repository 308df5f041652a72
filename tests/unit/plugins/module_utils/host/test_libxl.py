# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl as the toolstack: what it says of domains, and its markers where it looks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.toolstack import libxl as libxl_module
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.contract import Toolstack
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl import Libxl
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.live_domain import Label
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Change, Write
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf(0, 3, 0x1F, 7), Sbdf(0, 4, 0, 0)
OF_A, OF_B = "/libxl/pci/0000-03-1f-7", "/libxl/pci/0000-04-00-0"


class Store:
    """As much of xenstore as the toolstack uses."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self.nodes = nodes

    def list(self, path: str) -> list[str]:
        below = [node.removeprefix(f"{path}/") for node in self.nodes if node.startswith(f"{path}/")]
        return sorted({node.partition("/")[0] for node in below})

    def read_all(self, paths: Sequence[str]) -> list[str | None]:
        return [self.nodes.get(path) for path in paths]

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, Write):
                self.nodes[change.path] = change.value
            else:
                self.nodes.pop(change.path, None)

    def transaction(self, body: Callable[[Any], Any]) -> Any:
        return body(self)


def libxl(nodes: dict[str, str], directory: Path = Path("/none")) -> Libxl:
    toolstack = Libxl(Store(nodes), directory, directory)  # type: ignore[arg-type]
    fits: Toolstack = toolstack
    assert fits is toolstack
    return toolstack


def domain(domid: int, kind: str, device_model: str = "qemu_xen") -> dict[str, str]:
    home = f"/local/domain/{domid}"
    return {
        f"{home}/name": f"g{domid}",
        f"{home}/vm": f"/vm/uuid-{domid}",
        f"/libxl/{domid}/type": kind,
        f"/libxl/{domid}/dm-version": device_model,
    }


def test_domains_by_their_nodes() -> None:
    nodes = {"/local/domain/0/name": "Domain-0", "/local/domain/9/device/pci/0/state": "1"}
    toolstack = libxl({**nodes, **domain(1, "pv"), **domain(2, "pvh"), **domain(3, "strange")})
    labels = toolstack.labels()
    assert labels == {n: Label(f"g{n}", f"uuid-{n}") for n in (1, 2, 3)}, "neither dom0 nor a directory without both"
    assert list(toolstack.domains(labels).values()) == [
        Domain(1, "g1", "uuid-1", DomainKind.PV),
        Domain(2, "g2", "uuid-2", DomainKind.PVH),
        Domain(3, "g3", "uuid-3", DomainKind.UNKNOWN),
    ]


def test_a_configuration_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "userdata-d.1.uuid-1.libxl-json").write_text("{")
    (tmp_path / "userdata-d.2.uuid-2.libxl-json").write_text('{"pcidevs": [{"bus": 4}]}\n\0')
    toolstack = libxl({**domain(1, "pv"), **domain(2, "pv")}, tmp_path)
    assert [one.configured for one in toolstack.domains(toolstack.labels()).values()] == [None, (B,)]


def test_device_models_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, those that hang would add their times up. That of domain 5 does not speak QMP."""
    meeting = threading.Barrier(3, timeout=60)

    def ask(_self: Libxl, domain: Domain) -> DeviceModel:
        meeting.wait()
        return DeviceModel(free_slots=domain.domid)

    monkeypatch.setattr(Libxl, "device_model", ask)
    nodes = {**domain(1, "pv"), **domain(5, "hvm", "qemu_xen_traditional")}
    toolstack = libxl({**nodes, **domain(2, "hvm"), **domain(3, "hvm"), **domain(4, "hvm")})
    seen = toolstack.domains(toolstack.labels()).values()
    assert [one.device_model.free_slots if one.device_model else None for one in seen] == [None, 2, 3, 4, None]


def test_the_silence_of_a_device_model_is_a_fact() -> None:
    silent = libxl({}).device_model(Domain(7, "g7"))
    assert silent.plugged is None and "cannot be reached" in silent.problem


def test_stub_domains_by_their_guests() -> None:
    nodes = {**domain(1, "hvm"), **domain(2, "pv"), **domain(3, "hvm")}
    for guest in (1, 2, 3):
        nodes[f"/local/domain/{guest}/image/device-model-domid"] = "8" if guest < 3 else "nonsense"
    toolstack = libxl(nodes)
    assert toolstack.stubs(toolstack.domains(toolstack.labels()).values()) == {1: 8}


def test_markers_are_where_libxl_looks_for_them() -> None:
    nodes: dict[str, str] = {}
    toolstack = libxl(nodes)
    toolstack.mark(5, [A, B])
    toolstack.record_driver(A, "/sys/bus/pci/drivers/nvme")
    assert nodes == {
        f"{OF_A}/domid": "5",
        f"{OF_B}/domid": "5",
        f"{OF_A}/driver_path": "/sys/bus/pci/drivers/nvme",
    }
    nodes["/libxl/pci/nonsense/domid"] = "5"
    assert toolstack.markers() == ({A: 5, B: 5}, {A: "/sys/bus/pci/drivers/nvme"}, {})
    assert toolstack.holders([B]) == {B: 5}
    toolstack.record_driver(A, None)
    assert toolstack.markers().drivers == {}


def test_a_claim_marks_all_or_none() -> None:
    nodes = {f"{OF_B}/domid": "5"}
    toolstack = libxl(nodes)
    assert toolstack.claim(6, [A, B]) == {B: "5"}
    assert nodes == {f"{OF_B}/domid": "5"}
    assert toolstack.claim(5, [A, B]) == {}, "left by a run that was killed"
    assert nodes == {f"{OF_A}/domid": "5", f"{OF_B}/domid": "5"}


def test_what_is_written_along_with_markers_is_written_only_with_them() -> None:
    nodes = {f"{OF_B}/domid": "6"}
    toolstack = libxl(nodes)
    assert toolstack.claim(5, [A, B], [Write("/along", "1")]) == {B: "6"}
    assert "/along" not in nodes
    assert toolstack.claim(5, [A], [Write("/along", "1")]) == {}
    assert nodes.pop("/along") == "1"
    toolstack.unmark(5, [A, B], [Write("/along", "2")])
    assert nodes == {f"{OF_B}/domid": "6"}, "one of them is not free"
    toolstack.claim(5, [A])
    toolstack.unmark(5, [A], [Write("/along", "3")])
    assert nodes == {f"{OF_B}/domid": "6", "/along": "3"}


@pytest.mark.parametrize(
    ("version", "configured", "shows"),
    [("4.15", (), True), ("4.14", (), False), (None, (), False), ("4.17", None, False)],
)
def test_what_libxl_does_shows_in_its_directory_where_it_is_that_of_a_running_domain(
    version: str | None,
    configured: tuple[Sbdf, ...] | None,
    shows: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libxl_module, "running_version", lambda: version)
    seen = libxl({}, tmp_path).trace(Domain(5, "g5", configured=configured))
    assert bool(seen) == shows


def test_only_the_own_marker_is_removed() -> None:
    nodes = {f"{OF_A}/domid": "5", f"{OF_B}/domid": "6"}
    libxl(nodes).unmark(5, [A, B])
    assert nodes == {f"{OF_B}/domid": "6"}
