# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xenstore and libxl's stored configuration change together, in libxl's order, or both stay as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.commit import Listed, commit, forget
from ansible_collections.xen.pci.plugins.module_utils.apply.loop import at_once
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.contract import ConfigError
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl import Libxl
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl_files import LibxlFiles
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError, XenStoreGone
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import configured
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

OLD, NEW = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)
GUEST = Domain(7, "web", "3c4ba7f4-7a9b-4d40-b8a9-3d3a1f0e6a11")
BEFORE = {"name": "web", "pcidevs": [{"bus": 1, "seize": True}]}


def fail(error: Exception) -> None:
    raise error


class Store:
    """Commits with these results, one after the other: None for success, else what is raised; EAGAIN: once more."""

    def __init__(self, file: Path, results: Sequence[Exception | str | None] = (None,)) -> None:
        self.file = file
        self._results = results
        self.seen_at_commit: list[tuple[Sbdf, ...]] = []
        self.locks: list[str] = []

    def transaction(self, body: Callable[[Any], Any]) -> Any:
        for result in self._results:
            value = body(None)
            self.locks = [path.name for path in self.file.parent.iterdir() if "userdata-l." in path.name]
            self.seen_at_commit.append(configured(json.loads(self.file.read_text().rstrip("\0"))))
            if isinstance(result, Exception):
                fail(result)
            if result is None:
                return value
        raise AssertionError("more tries than results")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / f"userdata-d.7.{GUEST.uuid}.libxl-json"
    file.write_text(json.dumps(BEFORE) + "\0")
    return file


def stored(file: Path) -> Any:
    return json.loads(file.read_text().rstrip("\0"))


def access_to(store: Store) -> HostAccess:
    nothing: Any = None
    access = HostAccess(store, nothing, nothing)  # type: ignore[arg-type]
    access.toolstack = Libxl(access.store, files=store.file.parent)
    return access


def run(store: Store, *, add: Collection[Sbdf] = (), remove: Collection[Sbdf] = ()) -> Any:
    return at_once(commit(access_to(store), GUEST, lambda _transaction: Listed(add, remove, "done")))


def test_the_configuration_is_on_disk_before_the_commit_and_both_under_the_locks(file: Path) -> None:
    store = Store(file)
    assert run(store, add=[NEW]) == "done"
    assert store.seen_at_commit == [(OLD, NEW)]
    assert len(store.locks) == 2
    assert list(file.parent.iterdir()) == [file]
    run(Store(file), remove=[OLD])
    assert configured(stored(file)) == (NEW,)


def test_a_conflict_changes_it_no_second_time(file: Path) -> None:
    store = Store(file, ["EAGAIN", "EAGAIN", None])
    run(store, add=[NEW])
    assert store.seen_at_commit == [(OLD, NEW)] * 3


def test_what_is_not_committed_is_not_stored(file: Path) -> None:
    with pytest.raises(XenStoreError):
        run(Store(file, [XenStoreError("no")]), add=[NEW], remove=[OLD])
    assert stored(file) == BEFORE


def test_a_check_that_fails_at_the_second_try_takes_the_first_ones_change_back(file: Path) -> None:
    tries: list[int] = []

    def body(_transaction: Any) -> Listed:
        tries.append(1)
        if len(tries) == 2:
            raise KeyError
        return Listed([NEW])

    with pytest.raises(KeyError):
        at_once(commit(access_to(Store(file, ["EAGAIN", None])), GUEST, body))
    assert stored(file) == BEFORE


def test_after_a_conflict_what_the_last_try_has_done_counts(file: Path) -> None:
    tries = iter([Listed([NEW], [OLD]), Listed([NEW])])
    store = Store(file, ["EAGAIN", None])
    at_once(commit(access_to(store), GUEST, lambda _transaction: next(tries)))
    assert store.seen_at_commit == [(NEW,), (OLD, NEW)]


def test_if_the_answer_to_the_commit_is_lost_an_entry_too_many_is_the_lesser_evil(file: Path) -> None:
    with pytest.raises(XenStoreGone):
        run(Store(file, [XenStoreGone("gone")]), add=[NEW])
    assert configured(stored(file)) == (OLD, NEW)


def test_a_device_is_not_added_without_the_configuration_but_removed_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_config(*_arguments: Any) -> None:
        raise ConfigError("disk full")

    monkeypatch.setattr(LibxlFiles, "write_config", write_config)
    store = Store(file)
    with pytest.raises(ConfigError):
        run(store, add=[NEW])
    assert store.seen_at_commit == []
    run(store, remove=[OLD])
    assert len(store.seen_at_commit) == 1


def test_an_addition_taken_back_is_forgotten(file: Path) -> None:
    store = Store(file)
    run(store, add=[NEW])
    at_once(forget(access_to(store), GUEST, [NEW]))
    assert stored(file) == BEFORE
    file.write_text("{")
    at_once(forget(access_to(store), GUEST, [NEW]))
    assert file.read_text() == "{"
