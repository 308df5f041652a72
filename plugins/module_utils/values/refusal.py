# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals: the reasons why nothing is changed, as data, and the one way to show them to a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .alike import alike
from .errors import XenPciError
from .words import itemized, shortened

#: How many subjects of one refusal are named; the data has all.
_MOST = 16


@dataclass(frozen=True)
class Refusal:
    """One reason why nothing is changed.

    `reason` says what is wrong and where. It begins a sentence and has no full stop. `advice` says what to do.
    """

    #: Name of the reason, which does not change between versions; of a check, the name that `waive` uses.
    code: str
    #: What it is about: the address of a device, the name of a domain, a catalog entry or an option.
    subject: str
    reason: str
    advice: str = ""
    #: Whether the declaration may overrule it, with a reason.
    waivable: bool = False

    def __str__(self) -> str:
        return self.with_others(())

    def with_others(self, subjects: Sequence[str]) -> str:
        """Write the refusal in sentences; `subjects` are what the same is refused of."""
        others = f" The same goes for {shortened(subjects, _MOST)}." if subjects else ""
        advice = f" {self.advice[:1].upper()}{self.advice[1:]}." if self.advice else ""
        waiver = f" (Check {self.code}: can be waived.)" if self.waivable else ""
        return f"{self.reason}.{others}{advice}{waiver}"

    def as_result(self) -> dict[str, Any]:
        """Return the refusal in the form in which modules return it."""
        return asdict(self)


class Refused(XenPciError):
    """Raised when nothing was changed; `refusals` has every reason that was found."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(dict.fromkeys(refusals))
        super().__init__(shown(self.refusals))


def refused(code: str, subject: object, reason: str, advice: str = "") -> Refused:
    """Make an exception with a single refusal."""
    return Refused([Refusal(code, str(subject), reason, advice)])


def shown(refusals: Sequence[Refusal], lead: str = "Nothing was changed") -> str:
    """Write all refusals for a person: one as a sentence, several as a list; `lead` says what was changed.

    Those that differ only in what they are about are one, and those of one code stand together.
    """
    once = list({str(refusal): refusal for refusal in refusals}.values())
    keys = [(refusal.code, refusal.waivable, refusal.subject, refusal.reason, refusal.advice) for refusal in once]
    groups = [[once[at] for at in group] for group in alike([(key[:2], *key[2:]) for key in keys])]
    codes = [group[0].code for group in groups]
    groups.sort(key=lambda group: codes.index(group[0].code))
    texts = [first.with_others([other.subject for other in others]) for first, *others in groups]
    lines = itemized(texts)
    return f"{lead}:{lines}" if len(texts) == 1 else f"{lead}, for {len(texts)} reasons:{lines}"
