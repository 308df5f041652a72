# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One event loop for many domains: each domain's handshake is a generator that yields what it waits for.

A flow yields
  `NEXT_EVENT`   and receives a watch event of its own token, the last one if several have come,
  `Work(call)`   and receives what the call returns; it runs in a thread, the loop goes on,
  `Start(call)`  and receives a future of the call at once; it runs in a thread, the flow goes on as well,
  `Join(future)` and receives what the started call returns,
  `Until(check)` and goes on once the check is true; it is asked whenever another flow has moved,
  `Again(delay)` and goes on after that many seconds.
Its deadline passes as `DeadlinePassed`, thrown into the generator; it may then extend the deadline to tidy up.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Callable, Union

from ..host.xenstore import WatchEvent, XenStore, XenStoreGone

#: Seconds; a queue cannot wait for ever and for an event at the same time.
_LONGEST_IDLE = 3600.0


class DeadlinePassed(Exception):
    """The time of a flow is over."""


class _NextEvent:
    pass


NEXT_EVENT = _NextEvent()


@dataclass(frozen=True)
class Work:
    """A blocking call (a reset may take seconds) that must not hold up the other flows."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Start:
    """A blocking call beside which its own flow has something else to do."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Join:
    """The end of a call that was started."""

    future: Future[Any]


@dataclass(frozen=True)
class Until:
    """A condition that other flows bring about."""

    check: Callable[[], bool]


@dataclass(frozen=True)
class Again:
    """Come back after `delay` seconds, to read what raises no event, such as a configuration register."""

    delay: float


#: An event only says that it is time to look again, and a guest can cause as many as it likes.
_MOST_AT_ONCE = 100

Request = Union[_NextEvent, Work, Start, Join, Until, Again]
#: While a flow waits for one of these, it cannot be woken: a call under way cannot be abandoned.
_CALLS = (Work, Join)
Flow = Generator[Request, Any, Any]


@dataclass
class Clock:
    """A flow's deadline, in seconds of time.monotonic(); shared by the loop and the flow."""

    deadline: float

    def extend(self, seconds: float) -> None:
        """Give the flow this much time from now on."""
        self.deadline = time.monotonic() + seconds


@dataclass
class _Running:
    flow: Flow
    clock: Clock
    request: Request | None = None
    wake_at: float = float("inf")
    #: The last one that has come since the flow looked; one look serves all before it.
    event: WatchEvent | None = None

    def take_event(self) -> WatchEvent | None:
        """Return the event that has come, which is looked at by that."""
        taken, self.event = self.event, None
        return taken


@dataclass(frozen=True)
class _Done:
    token: str
    future: Future[Any]


@dataclass(frozen=True)
class Outcome:
    """How a flow ended: its return value, or the exception that it raised."""

    value: Any = None
    error: Exception | None = None


def run(store: XenStore, flows: Mapping[str, tuple[Flow, Clock]]) -> dict[str, Outcome]:
    """Run all flows to their ends; keys are the tokens of their watches."""
    # None waits for the call of another one, nor for the one that it has started itself.
    with ThreadPoolExecutor(max_workers=max(1, 2 * len(flows))) as pool:
        return _Loop(store, flows, pool).run()


def at_once(flow: Flow) -> Any:
    """Run a flow that only makes calls, outside of a loop and without a deadline; returns its value."""
    try:
        request = next(flow)
        while isinstance(request, (*_CALLS, Start)):
            future = request.future if isinstance(request, Join) else _called(request.call)
            if isinstance(request, Start):
                request = flow.send(future)
                continue
            error = future.exception()
            request = flow.send(future.result()) if error is None else flow.throw(error)
    except StopIteration as stop:
        return stop.value
    raise TypeError(f"nothing can be waited for here: {request}")


def _called(call: Callable[[], Any]) -> Future[Any]:
    """Make the call now; whatever it raises is its flow's."""
    future: Future[Any] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - as above
        future.set_exception(error)
    return future


class _Loop:
    def __init__(self, store: XenStore, flows: Mapping[str, tuple[Flow, Clock]], pool: ThreadPoolExecutor) -> None:
        self._store = store
        self._pool = pool
        self._running = {token: _Running(flow, clock) for token, (flow, clock) in flows.items()}
        self._outcomes: dict[str, Outcome] = {}

    def run(self) -> dict[str, Outcome]:
        for token in list(self._running):
            self._resume(token, None)
        while self._running:
            self._wake_waiting()
            if not self._running:
                break
            try:
                items = self._arrived()
            except XenStoreGone as error:
                self._end_all(error)
                continue
            for item in items:
                if isinstance(item, WatchEvent):
                    self._keep(item)
                elif isinstance(item, _Done):
                    self._finish_work(item)
            self._deliver()
            self._check_times()
        return self._outcomes

    def _arrived(self) -> list[Any]:
        """Wait until something comes, and take what else has come by then."""
        items = [self._store.next_event(self._idle_seconds())]
        with suppress(XenStoreGone):  # the next wait finds that as well
            while items[-1] is not None and len(items) < _MOST_AT_ONCE:
                items.append(self._store.next_event(0))
        return items

    def _idle_seconds(self) -> float:
        """Time until some flow's deadline or waking; a flow in a call is woken by the end of that."""
        waiting = [running for running in self._running.values() if not isinstance(running.request, _CALLS)]
        next_time = min((min(running.clock.deadline, running.wake_at) for running in waiting), default=float("inf"))
        return max(0.0, min(next_time - time.monotonic(), _LONGEST_IDLE))

    def _keep(self, event: WatchEvent) -> None:
        running = self._running.get(event.token)
        if running is not None:
            running.event = event

    def _deliver(self) -> None:
        """Have those look again that wait for an event: once, however many have come."""
        for token, running in list(self._running.items()):
            if isinstance(running.request, _NextEvent) and running.event is not None:
                self._resume(token, running.take_event())

    def _finish_work(self, done: _Done) -> None:
        error = done.future.exception()
        if isinstance(error, Exception):
            self._throw(done.token, error)
        else:
            self._resume(done.token, done.future.result())

    def _end_all(self, error: XenStoreGone) -> None:
        """No event will come any more; each flow ends by that itself, one in a call after it."""
        for token, running in list(self._running.items()):
            if not isinstance(running.request, _CALLS):
                self._throw(token, error)

    def _check_times(self) -> None:
        now = time.monotonic()
        for token, running in list(self._running.items()):
            if isinstance(running.request, _CALLS):
                continue  # its end comes first
            if now >= running.clock.deadline:
                self._throw(token, DeadlinePassed())
            elif now >= running.wake_at:
                self._resume(token, None)

    def _wake_waiting(self) -> None:
        moved = True
        while moved:
            moved = False
            for token, running in list(self._running.items()):
                if isinstance(running.request, Until):
                    moved = self._ask(token, running.request) or moved

    def _ask(self, token: str, until: Until) -> bool:
        """Let a flow go on if its condition holds; whether it moved."""
        try:
            if not until.check():
                return False
        except Exception as error:  # noqa: BLE001 - a failing condition is the failure of its own flow
            self._throw(token, error)
        else:
            self._resume(token, None)
        return True

    def _resume(self, token: str, value: Any) -> None:
        self._step(token, lambda flow: flow.send(value))

    def _throw(self, token: str, error: Exception) -> None:
        self._step(token, lambda flow: flow.throw(error))

    def _step(self, token: str, advance: Callable[[Flow], Request]) -> None:
        running = self._running[token]
        running.wake_at = float("inf")
        try:
            request = self._answer(running, advance(running.flow))
        except StopIteration as stop:
            self._end(token, Outcome(value=stop.value))
            return
        except Exception as error:  # noqa: BLE001 - one domain's failure must not stop the others
            self._end(token, Outcome(error=error))
            return
        running.request = request
        if isinstance(request, Again):
            running.wake_at = time.monotonic() + request.delay
        elif isinstance(request, _CALLS):
            future = request.future if isinstance(request, Join) else self._pool.submit(request.call)
            future.add_done_callback(lambda done: self._store.events.put(_Done(token, done)))

    def _answer(self, running: _Running, request: Request) -> Request:
        """Answer the requests of a flow that need no waiting; returns the first that does."""
        while True:
            if isinstance(request, _NextEvent) and running.event is not None:
                request = running.flow.send(running.take_event())
            elif isinstance(request, Start):
                request = running.flow.send(self._pool.submit(request.call))
            else:
                return request

    def _end(self, token: str, outcome: Outcome) -> None:
        del self._running[token]
        self._outcomes[token] = outcome
