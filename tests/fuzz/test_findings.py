# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What random testing has found once is not to come back."""

from __future__ import annotations

import pytest
from episode import Episode
from findings import FINDINGS, OPEN, Finding
from machines import MACHINES
from step import parse
from world import World


def marked(name: str, finding: Finding) -> object:
    code = name.split(maxsplit=1)[0]
    # Not strict: a fix may come before its entry goes.
    marks = [pytest.mark.xfail(reason=f"{code} is not corrected yet", strict=False)] if code in OPEN else []
    return pytest.param(finding, id=name, marks=marks)


@pytest.mark.parametrize("finding", [marked(name, finding) for name, finding in FINDINGS.items()])
def test_finding(world: World, finding: Finding) -> None:
    episode = Episode(world, MACHINES[finding.machine])
    failure = episode.play(parse(finding.steps))
    assert failure is None, "\n".join([*map(str, failure.steps), str(failure.violation), *episode.results])
