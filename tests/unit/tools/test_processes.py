# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the tests with real hosts run."""

from __future__ import annotations

import subprocess

import processes
import pytest


def test_a_program_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nsenter` is when the host that it works on shuts down."""
    monkeypatch.setattr(processes, "WAKE_SECONDS", 0.1)
    done = processes.run(["sh", "-c", "cat; kill -STOP $$; echo woken"], input="given ", timeout=20)
    assert (done.returncode, done.stdout) == (0, "given woken\n")


def test_a_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sleep", "60"], timeout=0.2)
