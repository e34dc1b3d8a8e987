# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run one program on the controller to its end, for those that need no events while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .process import Command, run_all


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``return_code`` is negative for a signal; ``errors`` are the lines of standard error."""

    return_code: int
    stdout: bytes
    errors: tuple[str, ...]
    timed_out: bool

    @property
    def succeeded(self) -> bool:
        """Whether it ended in time and with exit code 0."""
        return self.return_code == 0 and not self.timed_out

    @property
    def text(self) -> str:
        """Standard output as text; what is not UTF-8 is replaced."""
        return self.stdout.decode("utf-8", errors="replace")


def run_one(
    argv: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    working_directory: str | None = None,
    input: bytes | None = None,
) -> Ended:
    """Run ``argv`` for ``timeout`` seconds at most, and end it with all that it started.

    Standard input is ``input``, or empty. ``environment`` replaces that of this process. Raises ``OSError`` when the
    program cannot be started, and ``NixferryError`` when ansible-playbook has gone meanwhile.
    """
    errors: list[str] = []
    command = Command(
        argv=tuple(argv),
        environment=os.environ if environment is None else environment,
        input=input,
        deadline=time.monotonic() + timeout,
        working_directory=working_directory,
    )
    outcome = run_all([command], on_line=lambda _index, line: errors.append(line))[0]
    return Ended(outcome.return_code, outcome.stdout, tuple(errors), outcome.timed_out)
