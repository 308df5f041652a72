# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why something is not done, as data, and the one way to show it to a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .errors import XenPciError


@dataclass(frozen=True)
class Refusal:
    """One reason why nothing is touched.

    `reason` says what is wrong, and where; it begins a sentence, without a full stop. `advice` says what to do.
    """

    #: Name of the reason, stable over versions; of a check, the name under which `waive` sets it aside.
    code: str
    #: What it is about: the address of a device, the name of a domain, a catalog entry or an option.
    subject: str
    reason: str
    advice: str = ""
    #: The declaration may set it aside, with a reason.
    waivable: bool = False

    def __str__(self) -> str:
        advice = f" {self.advice[:1].upper()}{self.advice[1:]}." if self.advice else ""
        waiver = f" (Check {self.code}: can be waived.)" if self.waivable else ""
        return f"{self.reason}.{advice}{waiver}"

    def as_result(self) -> dict[str, Any]:
        """The refusal as modules return it."""
        return asdict(self)


class Refused(XenPciError):
    """Nothing was touched; `refusals` has every reason that was found."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(dict.fromkeys(refusals))
        super().__init__(shown(self.refusals))


def refused(code: str, subject: object, reason: str, advice: str = "") -> Refused:
    """An exception with a single refusal."""
    return Refused([Refusal(code, str(subject), reason, advice)])


def shown(refusals: Sequence[Refusal], lead: str = "Nothing was changed") -> str:
    """All refusals for a person: one as a sentence, several as a list; `lead` is what became of the host."""
    if len(refusals) == 1:
        return f"{lead}: {refusals[0]}"
    return f"{lead}, for {len(refusals)} reasons:" + "".join(f"\n- {refusal}" for refusal in refusals)
