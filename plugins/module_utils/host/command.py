# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host, run without a shell and without input."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

#: How long a program that was killed needs to end.
_ENDS_WITHIN = 1.0


@dataclass(frozen=True)
class Finished:
    """How a program ended and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """The last line that it wrote to say what went wrong: what is before it leads to that."""
        lines = [line.strip() for line in (self.errors.strip() or self.output.strip()).splitlines()]
        return lines[-1] if lines else f"nothing, and ended with status {self.status}"


def run(words: Sequence[str], seconds: float | None = None, keep: Collection[int] = ()) -> Finished:
    """Run a program to its end. Raises OSError if it cannot be started, or was killed because `seconds` were over.

    One that waits in the kernel, where no signal ends it, is left behind. `keep` are descriptors that it has open as
    well, and so the locks on them for as long as it runs.
    """
    # ansible-test wants AnsibleModule.run_command, but the layers below the modules know no AnsibleModule.
    program = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
        words,
        encoding="utf-8",
        errors="replace",  # it may say anything, and in any locale
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=tuple(keep),
    )
    try:
        output, errors = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        program.kill()
        with suppress(subprocess.TimeoutExpired):
            program.communicate(timeout=_ENDS_WITHIN)
        raise TimeoutError(errno.ETIMEDOUT, f"{words[0]} did not end in {seconds} s") from error
    return Finished(program.returncode, output, errors)
