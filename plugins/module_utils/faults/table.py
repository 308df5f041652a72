# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of faults: each with its name, what it means, and what mends it."""

from __future__ import annotations

from enum import Enum


class Recipe(Enum):
    """What mends a fault, in words."""

    WITHDRAW = "withdraw the cycle while the guest has not moved: adds vanish, removals stay attached"
    RESTART = "drop the entries that pciback refused and have both ends finish the cycle"
    SKIP_STALE = "drop the stale entries one by one and have pciback walk the rest again"
    NUDGE = "write the guest's state again, so that pciback looks once more"
    REOPEN = "take the request to close back, which the guest has not answered"
    DISSOLVE = "remove the connection from xenstore and wait until dom0's kernel has let go"
    RECREATE = "remove the closed connection and create it anew with the same devices"
    CLOSE = "close the empty connection with the guest, then remove it"
    FORGET_ENTRIES = "drop the entries that nobody uses and close the gaps"
    PUT_IN_ORDER = "number the entries that the guest has without gaps, and drop what belongs to none"
    UNPLUG = "have the guest eject the device, and libxl (xl) forget it; then take all its rights"
    DROP_RECORD = "have libxl (xl pci-detach -f) drop its record of the device; then take all its rights"
    DETACH = "have the guest let the device go in a cycle of its own"
    GRANT = "give the guest the device's rights back"
    TAKE_RIGHTS = "reset the device, take all its rights from the domain, remove the marker"
    TAKE_FROM_ANY = "take the device from whichever domain Xen says owns it"
    MARK = "write libxl's marker"
    UNMARK = "remove libxl's marker"
    END_UNSEEN = "write the lost connection again as an empty one, close that with the guest, then remove it"
    QUARANTINE = "have Xen quarantine the device, and note it"
    CONFIGURE = "have libxl's stored configuration list what the connection has"
    REBIND = "take the device from pciback and give it back, which clears the setting"


class Fault(Enum):
    """A known bad state: its name; its recipe, if there is one; what a person should know or do."""

    REFUSED_CYCLE = "refused_cycle", Recipe.RESTART, "pciback gave a change up, and the guest waits for ever"
    STUCK_CYCLE = "stuck_cycle", Recipe.SKIP_STALE, "pciback met an entry to remove that it does not have"
    SILENT_GUEST = "silent_guest", Recipe.WITHDRAW, "the guest does not answer; see whether it is paused or hung"
    LATE_ANSWER = "late_answer", Recipe.RESTART, "the guest answered a cycle after it had been withdrawn"
    MISSED_CONNECT = "missed_connect", Recipe.WITHDRAW, "the guest missed that dom0 was connected (Linux before 6.1)"
    LOST_EVENT = "lost_event", Recipe.NUDGE, "one end waits for the other; see whether the guest is paused"
    NEVER_CONNECTED = (
        "never_connected",
        Recipe.DISSOLVE,
        "a guest that still boots will connect by itself; name this fault in `faults` to give the connection up",
    )
    UNFINISHED_CLOSE = "unfinished_close", Recipe.DISSOLVE, "a closed connection was never removed"
    UNANSWERED_CLOSE = "unanswered_close", Recipe.REOPEN, "the guest does not answer; see whether it is paused or hung"
    CLOSED_CONNECTION = (
        "closed_connection",
        Recipe.RECREATE,
        "the guest or pciback has closed the connection; a guest does so when it shuts down, too",
    )
    UNFINISHED_REPAIR = (
        "unfinished_repair",
        Recipe.RECREATE,
        "a repair has removed a closed connection and was ended before it made it anew",
    )
    UNFINISHED_REMOVAL = "unfinished_removal", Recipe.FORGET_ENTRIES, "the guest has let go, the entries were left"
    UNEXPORTED_ENTRY = "unexported_entry", Recipe.FORGET_ENTRIES, "pciback never saw the entry"
    DISORDERED_ENTRIES = "disordered_entries", Recipe.PUT_IN_ORDER, "xl crashes on holes, pciback fails on them"
    EMPTY_CONNECTION = "empty_connection", Recipe.CLOSE, "xl mistakes it for one that is starting"
    ORPHANED_CONNECTION = "ghost_connection", Recipe.DISSOLVE, "its domain is gone"
    STUCK_KERNEL_DEVICE = (
        "stuck_kernel_device",
        Recipe.END_UNSEEN,
        "while it is there, dom0 ignores a new connection",
    )
    LOST_BACKEND = (
        "lost_backend",
        Recipe.END_UNSEEN,
        "the guest goes on with devices that dom0 has taken back, and would not see a new connection",
    )
    DEAD_MARKER = "dead_marker", Recipe.UNMARK, "xl will never hand the device out again"
    WRONG_MARKER = "wrong_marker", Recipe.TAKE_RIGHTS, "the domain may have rights over another one's device"
    MISSING_MARKER = "missing_marker", Recipe.MARK, "xl would hand the device out again"
    NOT_CONFIGURED = "not_configured", Recipe.CONFIGURE, "the guest would lose the device at its next reboot"
    STALE_CONFIGURATION = (
        "stale_configuration",
        Recipe.CONFIGURE,
        "xl pci-detach leaves it so, and libxl passes over it; name this fault in `faults` to have it tidied up",
    )
    LEFT_RIGHTS = "left_rights", Recipe.TAKE_RIGHTS, "an attach or a detach was not finished"
    LOST_ENTRY = (
        "lost_entry",
        None,
        "a driver in the guest still runs the device, so its rights must stay; restart the guest, then repair",
    )
    UNEXPLAINED_OWNER = "unexplained_owner", Recipe.TAKE_FROM_ANY, "an attach or a detach was not finished"
    RIGHTS_MISSING = "rights_missing", Recipe.GRANT, "the guest crashes or hangs when it uses the device"
    NOT_IN_PCIBACK = "not_in_pciback", Recipe.DETACH, "host and guest both believe that they have the device"
    DEVICE_GONE = "device_gone", Recipe.DETACH, "a guest cannot use what the host does not have"
    STALE_RECORD = (
        "stale_record",
        Recipe.DROP_RECORD,
        "the guest let the device go after libxl had stopped waiting for that, and xl cannot detach it any more",
    )
    UNLISTED_DEVICE = (
        "unlisted_device",
        Recipe.UNPLUG,
        "an attach or a detach was not finished; libxl refuses to attach the device again (duplicate ID)",
    )
    SILENT_DEVICE_MODEL = (
        "silent_device_model",
        None,
        "its devices can neither be seen nor changed; see whether its QEMU runs and who else talks to it, or restart "
        "the guest",
    )
    SHARED_DEVICE = (
        "shared_device",
        None,
        "detach it from all but one of the domains, at once; only one really has it, and a detach from another gets "
        "stuck (stuck_cycle), so repair then",
    )
    UNQUARANTINED = "unquarantined", Recipe.QUARANTINE, "its DMA is not confined while nobody has it"
    STICKY_PERMISSIVE = (
        "sticky_permissive",
        Recipe.REBIND,
        "name this fault in `faults` to clear it, unless the setting is wanted",
    )
    LEAKED_HOLD = (
        "leaked_hold",
        None,
        "pciback may hold it for a connection that failed; do not unbind it, and give it out again only after dom0 has "
        "been restarted; a complaint of a device in use vanishes with the next change that succeeds",
    )
    AER_FAILURE = (
        "aer_failure",
        None,
        "a PCI error that the guest cannot handle; detach the devices or restart the guest, then see dom0's log",
    )

    def __init__(self, code: str, recipe: Recipe | None, advice: str) -> None:
        self.code = code
        self.recipe = recipe
        self.advice = advice

    @property
    def on_request(self) -> bool:
        """May be as somebody wants it, so it is mended only when it is asked for by name."""
        return self in (Fault.NEVER_CONNECTED, Fault.STICKY_PERMISSIVE, Fault.STALE_CONFIGURATION)

    @property
    def is_suspicion(self) -> bool:
        """Told and no more: what shows it may as well be an old complaint."""
        return self is Fault.LEAKED_HOLD
