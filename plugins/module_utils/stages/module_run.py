# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules that change a host do alike: open it, refuse or go on with a plan, and say what went wrong."""

from __future__ import annotations

from typing import Any, Callable, Protocol

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..host.access import HostAccess, open_host
from ..host.run_lock import check_timeout
from ..host.xenstore_connection import PYXS_IMPORT_ERROR
from ..plan.plan_document import Document, against_fingerprint
from ..plan.pools import JMESPATH_IMPORT_ERROR, NeedsJmespath
from ..results.common import failure, refusal_result
from ..results.device_labels import DeviceLabels
from ..values.errors import XenPciError
from ..values.refusal import Refusal
from .stage import Outcome


class Plan(Protocol):
    """What a run needs of a plan, of one stage or of several."""

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All reasons for which it cannot be carried out."""

    @property
    def document(self) -> Document:
        """The plan as data, with a fingerprint."""

    @property
    def labels(self) -> DeviceLabels | None:
        """What devices are called."""

    def expect(self) -> Outcome:
        """Say what would be done."""


def on_host(module: AnsibleModule, run: Callable[[AnsibleModule, HostAccess], Any], patience: int = 0) -> None:
    """Open the host and run the module on it; a failure of the host, or a missing library, ends it.

    For another run, and for each write to the kernel, its option timeout is waited, but at least `patience` seconds.
    """
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    timeout = module.params["timeout"]
    try:
        check_timeout(timeout)
        with open_host() as access, access.run_lock(max(patience, timeout), only_looks=module.check_mode):
            run(module, access)
    except NeedsJmespath:
        module.fail_json(msg=missing_required_lib("jmespath"), exception=JMESPATH_IMPORT_ERROR)
    except XenPciError as error:
        module.fail_json(**failure(error))


def plan_or_run(module: AnsibleModule, plan: Plan, carry_out: Callable[[], Outcome]) -> None:
    """Refuse the plan, or end with what it would do in check mode, or carry it out."""
    document = plan.document
    refusals = plan.refusals or against_fingerprint(document, module.params["fingerprint"])
    if refusals:
        module.fail_json(**refusal_result(refusals, labels=plan.labels))
    outcome = plan.expect() if module.check_mode else carry_out()
    outcome.end(module, fingerprint=document["fingerprint"])
