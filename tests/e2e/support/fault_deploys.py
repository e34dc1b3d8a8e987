# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploys that are held in a phase, so that a fault strikes in that phase and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from background import Background, in_background
from fault_rows import TIMEOUTS, Fault
from holds import (
    CHECK,
    CHECKING,
    COPY,
    PREPARED,
    SET_PROFILE,
    START,
    activation_of,
    boot_of,
    hold,
    install_holds,
    patient_system,
    release,
    switch_of,
    wait_reached,
)
from project import PlaybookRun

OLD = "patient-old"
NEW = "patient-new"
FAILING_CHECK = {"command": "false", "retries": 0, "delay": 0}

ROLLING_BACK = switch_of(OLD)
PHASES = {
    "copying": COPY,
    "starting": START,
    "prepared": PREPARED,
    "activating": activation_of(NEW),
    "awaiting confirmation": CHECKING,
    "committing, before the profile": SET_PROFILE,
    "committing, before the boot loader": boot_of(NEW),
    "rolling back": ROLLING_BACK,
}
# Each kind of fault strikes in a part of the phases, and in the others with the next commits.
TURNS = 3
COMMITTING = (SET_PROFILE, boot_of(NEW))


def last_result(run: PlaybookRun) -> dict[str, Any]:
    """What the last task reported that the host got to; raises AssertionError with the output when there is none."""
    assert run.results, str(run)
    last = run.results[-1]
    return {**last.result, "failed": last.status == "failed", "unreachable": last.status == "unreachable"}


class HeldDeploy:
    """A deploy to the host `name`, which `begun` lets come to one of PHASES."""

    def __init__(self, fault: Fault, name: str, phase: str, **options: Any) -> None:
        self.fault = fault
        self.place = PHASES[phase]
        host = fault.use(name)
        install_holds(host)
        if self.place == ROLLING_BACK:
            # Only a system that was made for it can be held.
            host.install_system(fault.project.build(name, patient_system(OLD)))
            fault.remember()
        self.new = fault.project.build(name, patient_system(NEW))
        settings = {"toplevel": self.new, **TIMEOUTS, **options}
        if self.place in (CHECKING, ROLLING_BACK):
            settings["health_checks"] = [CHECK if self.place == CHECKING else FAILING_CHECK]
        tasks: list[Any] = [{"nixferry.deploy.nix_switch": settings}]
        if self.place == COPY:
            tasks.insert(0, {"nixferry.deploy.nix_copy": {"path": self.new}})
        else:
            host.copy_closure(self.new)
        self.play = [{"hosts": name, "gather_facts": False, "tasks": tasks}]

    @property
    def is_committing(self) -> bool:
        return self.place in COMMITTING

    @contextmanager
    def begun(self) -> Iterator[Background]:
        """The controller of the deploy, which is held; nothing of the controller is left at the end of the block."""
        host = self.fault.host
        hold(host, self.place)
        try:
            with in_background(self.fault.project, self.play) as controller:
                wait_reached(host, self.place)
                self.fault.strikes()
                yield controller
        finally:
            if host.boot():
                release(host)
