# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that changes nothing costs against ansible.builtin.ping, through Ansible, on simulated hosts.

One run of each module on one host, then the playbook xen.pci.apply on one and on several hosts against a playbook of
one ping. With --before PATH the modules of another checkout take turns with those of this one. Prints tables and
asserts nothing: on one machine only the ratios mean something.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in ("benchmarks/helpers", "tests/support", "roles/simulated_host/files")]

import rounds  # noqa: E402  (the path comes first)
from ansible_runs import NO_OPS, PING, Fleet, fleet  # noqa: E402

APPLY = "xen.pci.apply"
Timed = Callable[..., float]


def main() -> None:
    """Start all hosts, measure in turns, print the tables."""
    options = rounds.options(__doc__, 10)
    options.add_argument("--hosts", type=int, nargs="+", default=[1, 10], help="for the playbook (default: 1 10)")
    chosen = options.parse_args()
    with ExitStack() as stack:
        fleets = {
            name: stack.enter_context(fleet(checkout, max(chosen.hosts)))
            for name, checkout in rounds.checkouts(chosen.before).items()
        }
        timed = functools.partial(rounds.measured, clock=rounds.stopwatch(chosen.processor))
        _modules(fleets, chosen.rounds, timed)
        for hosts in chosen.hosts:
            _playbook(fleets, chosen.rounds, hosts, timed)


def _modules(fleets: Mapping[str, Fleet], count: int, timed: Timed) -> None:
    last = list(fleets.values())[-1]
    subjects: dict[str, Callable[[], float]] = {PING: functools.partial(timed, last.module, PING, {})}
    modules = {
        module: arguments for module, arguments in NO_OPS.items() if all(made.has(module) for made in fleets.values())
    }
    for module, arguments in modules.items():
        for name, made in fleets.items():
            subjects[f"{module} {name}"] = functools.partial(timed, made.module, module, arguments)
    print(f"ansible HOST -m MODULE, one simulated host, {count} rounds: seconds, median (least)\n")
    _compare(rounds.alternate(subjects, count), PING, list(modules), list(fleets))


def _playbook(fleets: Mapping[str, Fleet], count: int, hosts: int, timed: Timed) -> None:
    last = list(fleets.values())[-1]
    subjects: dict[str, Callable[[], float]] = {
        PING: functools.partial(timed, last.playbook, last.ping_playbook, hosts)
    }
    for name, made in fleets.items():
        subjects[f"{APPLY} {name}"] = functools.partial(timed, made.playbook, APPLY, hosts)
    print(f"ansible-playbook, {hosts} simulated host{'s' * (hosts > 1)}, {count} rounds: seconds, median (least)\n")
    _compare(rounds.alternate(subjects, count), PING, [APPLY], list(fleets))


def _compare(seconds: Mapping[str, list[float]], base: str, subjects: list[str], names: list[str]) -> None:
    rows = [[base, *([_shown(seconds[base]), "1.00"] * len(names)), *([""] * (len(names) - 1))]]
    for subject in subjects:
        row = [subject]
        for name in names:
            taken = seconds[f"{subject} {name}"]
            row += [_shown(taken), rounds.ratio(taken, seconds[base])]
        if len(names) > 1:
            row.append(rounds.ratio(seconds[f"{subject} {names[1]}"], seconds[f"{subject} {names[0]}"]))
        rows.append(row)
    heads = [head for name in names for head in (name, f"{name} / ping")]
    rounds.table(["", *heads, *(["after / before"] * (len(names) - 1))], rows)


def _shown(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f})"


if __name__ == "__main__":
    main()
