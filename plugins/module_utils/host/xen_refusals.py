# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Xen's refusals mean, in words that an administrator can act on."""

from __future__ import annotations

import errno
import os

from ..model.domain import DOMID_IO
from ..model.xen import ENABLE_IOMMU, NO_IOMMU, Xen

#: Those of any call.
_OF_ANY = {
    errno.EPERM: "dom0 may not do that: it has no access to it itself, or Xen's security policy (XSM/Flask) forbids it",
    errno.EACCES: "Xen's tools do not fit the running Xen; install those of its version",
    errno.ESRCH: "the domain does not exist any more",
    errno.ENOMEM: "Xen has too little free memory",
    errno.EINVAL: "Xen does not know that number",
    errno.ENOSYS: "this Xen does not have that call",
    errno.EEXIST: "the domain has it under another number already",
}
#: Those of an assignment (assign_device and iommu_do_pci_domctl in xen/drivers/passthrough/pci.c).
_OF_ASSIGNMENT = {
    errno.EPERM: "Xen's security policy (XSM/Flask), or memory that the firmware reserves for the device, forbids it;"
    " `xl dmesg` says which",
    errno.EBUSY: "another domain owns the device",
    errno.ENODEV: "the domain does not own the device, or Xen does not know it",
    errno.EBADF: "Xen has marked the device as broken; restart the host",
    errno.EXDEV: "the domain's memory is shared, paged out or being migrated",
    errno.EINVAL: "Xen's Python binding does not say why; another domain may have the device, or Xen may not know it;"
    " see `xl dmesg`",
}
_RESERVED = (
    "`xl dmesg` says more; where it mentions RMRR, firmware has reserved memory for this device and others, and it is"
    " given to a guest only with rdm_policy: relaxed in the catalog"
)


def why_refused(code: int) -> str:
    """Say what an errno of Xen means."""
    return _with_errno(_OF_ANY.get(code, ""), code)


def why_not_assigned(code: int, domid: int, xen: Xen, relaxed: bool = True) -> str:
    """Say why Xen refuses to assign or to take a device, as far as the errno and what else is known show it.

    The binding hides the errno behind EINVAL, and only Xen's log has the reason of EPERM. `relaxed` says that reserved
    memory cannot be the reason.
    """
    no_iommu = f"{NO_IOMMU}; {ENABLE_IOMMU}"
    if xen.iommu is False:
        return no_iommu
    meaning = _OF_ASSIGNMENT.get(code) or _OF_ANY.get(code, "")
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        meaning = no_iommu if domid == DOMID_IO else "the domain was created without IOMMU use"
    if not relaxed and code in (errno.EPERM, errno.EINVAL):
        meaning = _RESERVED
    return _with_errno(meaning, code)


def _with_errno(meaning: str, code: int) -> str:
    return f"{meaning} ({os.strerror(code)})" if meaning else f"{os.strerror(code)}; `xl dmesg` may say more"
