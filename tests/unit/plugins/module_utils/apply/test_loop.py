# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event loop, driven with a store that is nothing but its queue of events."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.loop import (
    NEXT_EVENT,
    Again,
    Clock,
    DeadlinePassed,
    Flow,
    Join,
    Outcome,
    Start,
    Until,
    Work,
    at_once,
    run,
)
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import WatchEvent, XenStoreGone

AMPLE = 60.0


class QueueStore:
    """As much of XenStore as the loop uses."""

    def __init__(self, *events: WatchEvent) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.waits = 0
        for event in events:
            self.events.put(event)

    def next_event(self, timeout: float) -> Any | None:
        self.waits += 1
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            return None


def ample() -> Clock:
    return Clock(time.monotonic() + AMPLE)


def soon() -> Clock:
    return Clock(time.monotonic() + 0.05)


def run_all(store: QueueStore, **flows: tuple[Flow, Clock]) -> dict[str, Outcome]:
    return run(store, flows)  # type: ignore[arg-type]


def value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def collects(count: int) -> Flow:
    paths = []
    for _turn in range(count):
        event = yield NEXT_EVENT
        paths.append(event.path)
    return paths


def test_a_flow_that_waits_for_nothing_is_done_at_once() -> None:
    def flow() -> Flow:
        return "done"
        yield

    assert run_all(QueueStore(), only=(flow(), ample())) == {"only": Outcome(value="done")}


def test_each_flow_gets_the_last_event_of_its_own_token() -> None:
    store = QueueStore(
        WatchEvent("/1", "red"),
        WatchEvent("/2", "green"),
        WatchEvent("/3", "nobody's"),
        WatchEvent("/4", "red"),
        WatchEvent("/5", "green"),
    )
    outcomes = run_all(store, red=(collects(1), ample()), green=(collects(1), ample()))
    assert (value(outcomes["red"]), value(outcomes["green"])) == (["/4"], ["/5"])


def test_of_the_events_that_come_during_a_call_one_is_kept() -> None:
    store = QueueStore(WatchEvent("/1", "busy"), WatchEvent("/2", "busy"))

    def flow() -> Flow:
        yield Work(lambda: wait_until(store.events.empty))
        return (yield from collects(1))

    assert value(run_all(store, busy=(flow(), ample()))["busy"]) == ["/2"]


def test_a_call_during_which_a_guest_goes_wild_is_followed_by_one_look() -> None:
    store = QueueStore(*[WatchEvent(f"/{number}", "busy") for number in range(5000)])
    looks: list[int] = []

    def flow() -> Flow:
        yield Work(lambda: wait_until(store.events.empty))
        while True:
            yield NEXT_EVENT
            looks.append(1)

    run_all(store, busy=(flow(), Clock(time.monotonic() + 1)))
    assert looks == [1]


def test_a_guest_that_never_stops_writing_cannot_keep_the_flow_from_its_deadline() -> None:
    class Flood(QueueStore):
        def next_event(self, timeout: float) -> Any | None:
            return WatchEvent("/1", "flooded")

    def flow() -> Flow:
        while True:
            yield NEXT_EVENT

    outcome = run_all(Flood(), flooded=(flow(), soon()))["flooded"]
    assert isinstance(outcome.error, DeadlinePassed)


def wait_until(check: Any) -> None:
    deadline = time.monotonic() + AMPLE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_call_runs_beside_the_loop_and_other_calls() -> None:
    meeting = threading.Barrier(3, timeout=AMPLE)
    main = threading.get_ident()

    def calls(name: str) -> Flow:
        def call() -> str:
            assert threading.get_ident() != main
            meeting.wait()
            return name

        return (yield Work(call))

    def meets() -> Flow:
        yield Again(0.01)
        meeting.wait()
        return "loop"

    outcomes = run_all(QueueStore(), a=(calls("a"), ample()), b=(calls("b"), ample()), c=(meets(), ample()))
    assert [value(outcomes[name]) for name in "abc"] == ["a", "b", "loop"]


def test_what_a_call_raises_is_raised_in_its_flow_which_may_go_on() -> None:
    def fails() -> None:
        raise OSError("disk")

    def flow() -> Flow:
        try:
            yield Work(fails)
        except OSError as error:
            return f"met {error}" + (yield Work(lambda: " twice"))

    assert value(run_all(QueueStore(), only=(flow(), ample()))["only"]) == "met disk twice"


def test_a_flow_goes_on_beside_a_call_that_it_has_started_and_joins_it_later() -> None:
    order = []

    def flow() -> Flow:
        passed = threading.Event()
        future = yield Start(lambda: (passed.wait(AMPLE), order.append("call"), "result")[2])
        yield Work(lambda: order.append("flow"))
        passed.set()
        return (yield Join(future))

    flows = {f"flow{number}": (flow(), ample()) for number in range(3)}
    outcomes = run_all(QueueStore(), **flows)
    assert [value(outcome) for outcome in outcomes.values()] == ["result"] * 3
    assert sorted(order) == ["call"] * 3 + ["flow"] * 3
    assert order[0] == "flow"


def test_what_a_started_call_raises_is_raised_where_it_is_joined() -> None:
    def flow() -> Flow:
        future = yield Start(lambda: 1 // 0)
        yield Again(0.01)
        with pytest.raises(ZeroDivisionError):
            yield Join(future)
        return "met"

    assert value(run_all(QueueStore(), only=(flow(), ample()))["only"]) == "met"
    assert at_once_without_waiting() == "met"


def at_once_without_waiting() -> Any:
    def flow() -> Flow:
        future = yield Start(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            yield Join(future)
        assert (yield Join((yield Start(lambda: 2)))) == 2
        return "met"

    return at_once(flow())


def test_a_call_that_is_joined_outlasts_the_deadline() -> None:
    def flow() -> Flow:
        future = yield Start(lambda: (time.sleep(0.3), "result")[1])
        result = yield Join(future)
        with pytest.raises(DeadlinePassed):
            yield NEXT_EVENT
        return result

    assert value(run_all(QueueStore(), only=(flow(), soon()))["only"]) == "result"


def test_the_deadline_is_thrown_into_whatever_a_flow_waits_for() -> None:
    def waits(request: Any) -> Flow:
        try:
            yield request
        except DeadlinePassed:
            return "late"

    outcomes = run_all(
        QueueStore(),
        event=(waits(NEXT_EVENT), soon()),
        until=(waits(Until(lambda: False)), soon()),
        again=(waits(Again(AMPLE)), soon()),
    )
    assert {token: value(outcome) for token, outcome in outcomes.items()} == dict.fromkeys(outcomes, "late")
    assert len(outcomes) == 3


def test_a_flow_that_does_not_catch_its_deadline_ends_with_it() -> None:
    outcome = run_all(QueueStore(), only=(collects(1), soon()))["only"]
    assert isinstance(outcome.error, DeadlinePassed)


def test_a_flow_may_extend_its_deadline_to_tidy_up() -> None:
    clock = soon()
    passed = []

    def flow() -> Flow:
        try:
            yield NEXT_EVENT
        except DeadlinePassed:
            passed.append(1)
            clock.extend(AMPLE)
            store.events.put(WatchEvent("/tidy", "only"))
            return (yield NEXT_EVENT).path

    store = QueueStore()
    assert value(run_all(store, only=(flow(), clock))["only"]) == "/tidy"
    assert passed == [1]


@pytest.mark.parametrize("others", [0, 1])
def test_a_call_is_not_interrupted_by_the_deadline_which_comes_after_it(others: int) -> None:
    ended = threading.Event()

    def flow() -> Flow:
        result = yield Work(lambda: (time.sleep(0.3), ended.set(), "result")[2])
        assert ended.is_set()
        try:
            yield NEXT_EVENT
        except DeadlinePassed:
            return result

    def wakes_the_loop() -> Flow:
        while not ended.is_set():
            yield Again(0.01)

    store = QueueStore()
    beside = {f"other{number}": (wakes_the_loop(), ample()) for number in range(others)}
    assert value(run_all(store, only=(flow(), soon()), **beside)["only"]) == "result"
    assert others or store.waits < 20, "the loop spins while a call outlasts the deadline"


def test_a_condition_is_met_by_another_flow() -> None:
    released: list[str] = []

    def waits() -> Flow:
        yield Until(lambda: bool(released))
        released.append("seen")

    def moves() -> Flow:
        yield NEXT_EVENT
        released.append("released")

    store = QueueStore(WatchEvent("/1", "moves"))
    outcomes = run_all(store, waits=(waits(), ample()), moves=(moves(), ample()))
    assert all(outcome.error is None for outcome in outcomes.values())
    assert released == ["released", "seen"]


def test_conditions_can_wake_each_other_in_a_chain() -> None:
    reached = {3}

    def waits(number: int) -> Flow:
        yield Until(lambda: number + 1 in reached)
        reached.add(number)

    run_all(QueueStore(), **{f"flow{number}": (waits(number), ample()) for number in (0, 1, 2)})
    assert reached == {0, 1, 2, 3}


def test_flows_that_wait_for_each_other_end_by_their_deadlines() -> None:
    done: set[str] = set()

    def waits(own: str, other: str) -> Flow:
        yield Until(lambda: other in done)
        done.add(own)

    outcomes = run_all(QueueStore(), a=(waits("a", "b"), soon()), b=(waits("b", "a"), soon()))
    assert all(isinstance(outcome.error, DeadlinePassed) for outcome in outcomes.values())


def test_again_comes_back_as_often_as_asked() -> None:
    def flow() -> Flow:
        for _turn in range(3):
            assert (yield Again(0.01)) is None
        return "done"

    assert value(run_all(QueueStore(), only=(flow(), ample()))["only"]) == "done"


@pytest.mark.parametrize("when", ["at once", "after an event", "in a condition"])
def test_a_flow_that_fails_stops_no_other(when: str) -> None:
    def fails() -> Flow:
        if when == "after an event":
            yield NEXT_EVENT
        if when == "in a condition":
            yield Until(lambda: 1 // 0 == 0)
        yield from [NEXT_EVENT][1 // 0 :]  # fails before its first wait

    store = QueueStore(WatchEvent("/1", "bad"), WatchEvent("/2", "good"))
    outcomes = run_all(store, bad=(fails(), ample()), good=(collects(1), ample()))
    assert isinstance(outcomes["bad"].error, ZeroDivisionError)
    assert value(outcomes["good"]) == ["/2"]


def test_the_end_of_the_store_is_an_error_of_each_flow_and_a_call_is_waited_for() -> None:
    class Gone(QueueStore):
        def next_event(self, timeout: float) -> Any | None:
            item = super().next_event(0.0)
            if item is None:
                raise XenStoreGone("broke")
            return item

    def works() -> Flow:
        yield Work(lambda: time.sleep(0.1))
        done.append("work")
        yield NEXT_EVENT

    done: list[str] = []
    outcomes = run_all(Gone(), waits=(collects(1), ample()), works=(works(), ample()))
    assert [str(outcomes[name].error) for name in ("waits", "works")] == ["broke", "broke"]
    assert done == ["work"]


def test_no_flows_are_no_work() -> None:
    assert run_all(QueueStore()) == {}
