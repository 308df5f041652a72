# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults: everything that depends on which fault it is, a row for each and a column for each question.

How a fault is recognized is in `diagnose.py`. Texts are sentences without their last full stop, as in `Refusal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .recipes import Recipe


class RepairedBy(Enum):
    """Which run repairs a fault."""

    #: What a killed run of ours leaves: a later run finishes it without being asked to repair. A marker is written
    #: before the first right is given and removed after the last is taken. A cycle that was withdrawn may be answered
    #: late, by a guest that had read it already: that comes after any run of ours has ended. So does the late ejection
    #: of a device by an HVM guest.
    ANY_RUN = "any run"
    #: A run that is to repair: the module repair, or a task with `repair: first`.
    REPAIR = "a repair"
    #: A repair in which it is named, since it may be as it was wanted.
    NAMED_REPAIR = "a repair that names it"
    #: No recipe is known; a repair fails and says what to do.
    PERSON = "a person"
    #: It is a suspicion, or may be as it was wanted: reported and no more.
    NOTHING = "nothing"


class Blocks(Enum):
    """What a fault of a domain means for a plan to change its devices."""

    #: The devices would not be as declared: the plan is refused.
    PLANS = "plans"
    #: A cycle that goes on looks like it; the change waits for its end.
    PLANS_UNLESS_IT_PASSES = "plans, unless it passes"
    #: The devices can be as declared in spite of it.
    NOTHING = "nothing"


class Removal(Enum):
    """What happens to a fault if a plan removes all devices that it is about."""

    ENDS_IT = "ends it"
    #: pciback does not have the device that it would take from the guest, so a cycle gets stuck.
    ENDS_IT_WITH_CONNECTION = "ends it only if the whole connection is closed"
    LEAVES_IT = "leaves it"


class Looks(Enum):
    """Whether a cycle that goes on can look like the fault, so that it must be watched for a while."""

    AT_REST = "at rest"
    UNDER_WAY = "under way"


class Turn(Enum):
    """When a repair deals with a fault."""

    ANY = "any"
    #: A connection that is to be repaired may explain it, and its guest may still use the device.
    AFTER_CONNECTIONS = "after all connections"


@dataclass(frozen=True, eq=False, repr=False)
class _Row:
    """The columns of the table."""

    #: What repairs it, None if nothing is known to.
    recipe: Recipe | None
    repaired_by: RepairedBy
    blocks: Blocks
    removal: Removal
    looks: Looks
    turn: Turn
    #: What it is, and what it does to the guest, the host or the toolstack.
    meaning: str
    #: What to do next.
    advice: str


class Fault(_Row, Enum):
    """A known bad state of a connection, a domain or a device."""

    # fmt: off
    # ---- cycles of a connection
    REFUSED_CYCLE = (
        Recipe.RESTART, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "pciback refused a change and gave the cycle up. The guest waits for an answer that does not come",
        "Repair it. The log of dom0's kernel says why pciback refused",
    )
    STUCK_CYCLE = (
        Recipe.SKIP_STALE, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "pciback was asked to remove a device that it does not have, and stopped. The guest waits for an answer that "
        "does not come",
        "Repair it",
    )
    SILENT_GUEST = (
        Recipe.WITHDRAW, RepairedBy.REPAIR, Blocks.PLANS_UNLESS_IT_PASSES, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "The guest has not answered a change of its devices",
        "Check whether the guest is paused or hung. A repair withdraws the change",
    )
    LATE_ANSWER = (
        Recipe.RESTART, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The guest answered a change after it had been withdrawn, and waits for dom0",
        "Repair it",
    )
    MISSED_CONNECT = (
        Recipe.WITHDRAW, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The guest has not noticed that dom0 connected, and answers no change (Linux before 6.1)",
        "Repair it",
    )
    LOST_EVENT = (
        Recipe.NUDGE, RepairedBy.REPAIR, Blocks.PLANS_UNLESS_IT_PASSES, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "One end of the connection waits for the other, which does not move",
        "Check whether the guest is paused. A repair has both ends look at each other once more",
    )
    ALTERED_STATE = (
        Recipe.CONNECT_AGAIN, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "The guest is connected and uses its devices, but the state of one end does not say so: another program has "
        "written it",
        "Repair it. The guest keeps its devices",
    )
    # ---- the beginning and the end of a connection
    NEVER_CONNECTED = (
        Recipe.DISSOLVE, RepairedBy.NAMED_REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "The guest has never answered its first connection",
        "A guest that is still booting connects by itself once xen-pcifront is loaded in it. To give the connection "
        "up, name this fault in the option faults",
    )
    UNFINISHED_CLOSE = (
        Recipe.DISSOLVE, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The connection was closed but not removed from xenstore",
        "Repair it",
    )
    UNANSWERED_CLOSE = (
        Recipe.REOPEN, RepairedBy.REPAIR, Blocks.PLANS_UNLESS_IT_PASSES, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "The guest has not answered the request to close its connection",
        "Check whether the guest is paused or hung. A repair withdraws the request",
    )
    CLOSED_CONNECTION = (
        Recipe.RECREATE, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.UNDER_WAY, Turn.ANY,
        "The guest or pciback has closed the connection. A guest also does that when it shuts down",
        "If the guest shuts down, wait for it. A repair creates the connection again with the same devices",
    )
    UNFINISHED_REPAIR = (
        Recipe.RECREATE, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "A repair removed a closed connection and was stopped before it created it again",
        "Repair it",
    )
    ORPHANED_CONNECTION = (
        Recipe.DISSOLVE, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "xenstore keeps a connection of a domain that does not exist any more",
        "Repair it",
    )
    STUCK_KERNEL_DEVICE = (
        Recipe.END_LOST, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "dom0's kernel still has a connection that is gone from xenstore. As long as it has it, it ignores a new one",
        "Repair it. The guest loses the devices of that connection",
    )
    LOST_BACKEND = (
        Recipe.END_LOST, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "dom0's end of the connection is gone. The guest still uses devices that dom0 has taken back, and it would not "
        "notice a new connection",
        "Repair it. The guest loses the devices of that connection",
    )
    # ---- the entries of a connection
    UNFINISHED_REMOVAL = (
        Recipe.FORGET_ENTRIES, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The guest has given the device back, but its entry is still in the connection",
        "Repair it",
    )
    UNEXPORTED_ENTRY = (
        Recipe.FORGET_ENTRIES, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The connection has an entry that pciback has never seen, so the guest does not have the device",
        "Repair it, then attach the device",
    )
    ALTERED_ENTRY = (
        Recipe.KEEP_ENTRIES, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The entry's sub-state says that the device is to be added or removed, but the guest has and uses it: another "
        "program has written it",
        "Repair it. The guest keeps the device",
    )
    LOST_PLACE = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.ENDS_IT_WITH_CONNECTION, Looks.AT_REST, Turn.ANY,
        "The guest uses the device, but its entry does not say where the guest's bus has it (vdev-N), so neither "
        "kernel can remove it alone",
        "Restart the guest when that suits, or take all of its devices from it at once. Until then it can use the "
        "device",
    )
    FOREIGN_ENTRY = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "The connection lists a device that nothing else says the domain has: no marker, no right, no driver, and not "
        "its stored configuration. So it is given no rights over it",
        "Declare the domain without the device, or restart the guest",
    )
    DISORDERED_ENTRIES = (
        Recipe.PUT_IN_ORDER, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The entries of the connection are incomplete, duplicate or not numbered without gaps. xl crashes on that, and "
        "pciback fails",
        "Repair it before the devices of the domain are changed",
    )
    EMPTY_CONNECTION = (
        Recipe.CLOSE, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The connection has no devices. xl takes it for one that is starting",
        "Repair it",
    )
    AER_FAILURE = (
        None, RepairedBy.PERSON, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "A device of the guest reported a PCI error that the guest cannot handle",
        "Detach the devices or restart the guest. The log of dom0's kernel says which device it was",
    )
    # ---- devices of a domain
    NOT_IN_PCIBACK = (
        Recipe.DETACH, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT_WITH_CONNECTION, Looks.AT_REST, Turn.ANY,
        "The domain's connection lists the device, but pciback does not hold it. Host and guest may both use it",
        "Repair it. The guest loses the device",
    )
    DEVICE_GONE = (
        Recipe.DETACH, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT_WITH_CONNECTION, Looks.AT_REST, Turn.ANY,
        "The domain's connection lists a device that the host does not have any more",
        "Repair it. The guest loses the device",
    )
    RIGHTS_MISSING = (
        Recipe.GRANT, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "The guest has the device but no rights over it. It crashes or hangs when it uses the device",
        "Repair it",
    )
    SHARED_DEVICE = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "Several domains list the device, and only one of them really has it",
        "Detach it from all but one of them, at once. A domain that does not have it gets stuck in that "
        "(stuck_cycle), which a repair ends",
    )
    LOST_ENTRY = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "No connection lists the device, but a driver in a guest still runs it, so its rights must stay",
        "Restart the guest, then repair it",
    )
    LEFT_RIGHTS = (
        Recipe.TAKE_RIGHTS, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.AFTER_CONNECTIONS,
        "An attach or a detach was not finished: libxl's marker says that the domain has the device, but the domain "
        "does not list it",
        "Repair it",
    )
    UNEXPLAINED_OWNER = (
        Recipe.TAKE_FROM_ANY, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.AFTER_CONNECTIONS,
        "An attach or a detach was not finished: Xen says that a guest owns the device, but no domain lists it",
        "Repair it",
    )
    STALE_RECORD = (
        Recipe.DROP_RECORD, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libxl lists a device that the guest has given back after libxl had stopped waiting for that. xl cannot detach "
        "it any more",
        "Repair it",
    )
    UNLISTED_DEVICE = (
        Recipe.UNPLUG, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "An attach or a detach was not finished: the guest has a device that libxl does not list. libxl refuses to "
        "attach it again (duplicate ID)",
        "Repair it. The guest loses the device",
    )
    SILENT_DEVICE_MODEL = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The guest's device model (QEMU) does not answer, so the guest's devices can be neither seen nor changed",
        "Check whether its QEMU runs and whether another program talks to it, or restart the guest",
    )
    HANGING_WRITE = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "A write to the device's files in sysfs was given up, and goes on in the kernel. Until it ends, the device can "
        "neither be read nor be moved",
        "Find what uses the device (open files of its nodes in /dev, the log of dom0's kernel) and end that. If the "
        "write does not return then, only a restart of dom0 ends it",
    )
    LOST_LINE = (
        Recipe.GRANT_LINE, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "Another tool detached a device that was on the same interrupt line. libxl takes the line then, though the "
        "domain needs it for this device",
        "Repair it. If the device uses the line, start its driver in the guest again",
    )
    # ---- libxl's records
    DEAD_MARKER = (
        Recipe.UNMARK, RepairedBy.ANY_RUN, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libxl's marker names a domain that does not exist any more, so xl gives the device to no domain",
        "Repair it",
    )
    WRONG_MARKER = (
        Recipe.TAKE_RIGHTS, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "libxl's marker names another domain than the one that has the device. The named domain may have rights over "
        "it",
        "Repair it",
    )
    MISSING_MARKER = (
        Recipe.MARK, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "The domain has the device, but libxl's marker does not say so. xl would give it to another domain as well",
        "Repair it",
    )
    UNREADABLE_MARKER = (
        Recipe.DROP_MARKER, RepairedBy.REPAIR, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libxl's marker names no domain but is there, so xl gives the device to no domain",
        "Repair it",
    )
    UNREADABLE_CONFIGURATION = (
        None, RepairedBy.PERSON, Blocks.PLANS, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libxl's stored configuration of the domain cannot be read. The domain does not come back from its next "
        "reboot, and a change of its devices cannot be stored",
        "Shut the domain down and create it again from its file (xl create), which stores the configuration again",
    )
    NOT_CONFIGURED = (
        Recipe.CONFIGURE, RepairedBy.REPAIR, Blocks.PLANS, Removal.ENDS_IT, Looks.AT_REST, Turn.ANY,
        "libxl's stored configuration does not list the device, so the guest would lose it at its next reboot",
        "Repair it",
    )
    STALE_CONFIGURATION = (
        Recipe.CONFIGURE, RepairedBy.NAMED_REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libxl's stored configuration lists a device that the domain does not have. xl pci-detach leaves it so, and "
        "libxl ignores it",
        "Nothing needs to be done. To have the device removed there, name this fault in the option faults",
    )
    # ---- libvirt beside xl
    CLAIMED_DEVICE = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The domain has the device, and a definition of libvirt names it for another domain. libvirt does not know that"
        " it is in use: it resets it, or takes it, when it starts that domain",
        "Remove it from that definition (`virsh edit`), or detach it from the domain",
    )
    OTHER_DEFINITION = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "libvirt would start the domain with other devices than it has now",
        "If it is to keep them, bring its definition in step (`virsh attach-device` and `virsh detach-device` with"
        " --config)",
    )
    # ---- names of domains
    STALE_NAME = (
        Recipe.FORGET_NAME, RepairedBy.REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "xenstore has a name for a domain that Xen does not have. Programs that look for the name find the dead domain",
        "Repair it",
    )
    LOST_NAME = (
        Recipe.NAME_AGAIN, RepairedBy.REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The domain lives, but xenstore has no name for it, so no program finds it by its name",
        "Repair it, or give it a name (`xl rename NUMBER NAME`)",
    )
    UNNAMED_DOMAIN = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The domain lives, but xenstore has no name for it, and libxl has stored none that is free",
        "If a name is wanted, give it one (`xl rename NUMBER NAME`). Its devices can be declared with its UUID",
    )
    SHARED_NAME = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "Several domains that live have this name, as after a failed migration. A task that names it is refused",
        "End the one that is not wanted, give it another name (`xl rename NUMBER NAME`), or declare the domain with its"
        " UUID (key uuid)",
    )
    # ---- devices that no domain has
    UNQUARANTINED = (
        Recipe.QUARANTINE, RepairedBy.REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "The device is not known to be in Xen's quarantine, so its DMA may not be confined while no guest has it",
        "Repair it",
    )
    STICKY_PERMISSIVE = (
        Recipe.REBIND, RepairedBy.NAMED_REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "pciback still lets the next user of the device write all of its configuration space",
        "If that is not wanted, name this fault in the option faults to clear the setting",
    )
    STRAY_SLOT = (
        Recipe.CORRECT_SLOT, RepairedBy.NAMED_REPAIR, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "pciback's list (slots) names the device though pciback does not hold it, or more than once. pciback takes a "
        "listed device as soon as it has no driver and the kernel looks for one",
        "If pciback is not to have the device, name this fault in the option faults. Else declare it assignable",
    )
    KEPT_HOLD = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "pciback refused the device to a guest, because it keeps it for the HVM guest that had it as its first one, "
        "until that guest has no device",
        "Detach all devices from the HVM guest. The others can be attached to it again afterwards",
    )
    LEAKED_HOLD = (
        None, RepairedBy.NOTHING, Blocks.NOTHING, Removal.LEAVES_IT, Looks.AT_REST, Turn.ANY,
        "No guest has the device, but pciback may still hold it for a connection that failed, and refuses it then",
        "Do not unbind it, and give it to no guest before dom0 has been restarted. If pciback only said that it may be "
        "in use, that message vanishes with the next change that succeeds",
    )
    # fmt: on

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def code(self) -> str:
        """Its name for users and programs."""
        return self.name.lower()
