# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Reboots inside an activation and what boots by default, as the controller sees and reports them."""

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.texts import ERRORS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import (
    Action,
    Phase,
    Reboot,
    RebootProgress,
)


def is_away(status: GuardStatus) -> bool:
    """Whether the host may be silent because it reboots, or is about to."""
    return not status.final and status.reboot in (RebootProgress.PLANNED, RebootProgress.UNDER_WAY)


def time_for_reboots(request: StartRequest) -> int:
    """Return the seconds that reboots may add: one into the new system, and one back if it fails."""
    return 0 if request.reboot == Reboot.NEVER else 2 * request.timeout_reboot


def reboot_line(before: str, status: GuardStatus) -> str:
    """Return a line of progress if the reboot has advanced since ``before``; else an empty one."""
    if status.reboot == before:
        return ""
    if status.reboot == RebootProgress.UNDER_WAY:
        return "rebooting"
    return "is back after the reboot" if status.reboot == RebootProgress.DONE else ""


def lost_text(status: GuardStatus) -> str:
    """Return what is known of a host that did not come back from a reboot, and what it does by itself."""
    if status.reboot not in (RebootProgress.PLANNED, RebootProgress.UNDER_WAY, RebootProgress.DONE):
        return ""
    if status.system == status.old_system:
        return "It did not come back within timeout_reboot from its reboot"
    if status.phase == Phase.ROLLING_BACK:
        return (
            "It did not come back within timeout_reboot from its reboot into the old system, the boot default"
        )
    return (
        "It did not come back within timeout_reboot from its reboot into the new system. Its boot default is the old "
        "one: if the new one runs and only cannot be reached, the guard goes back by itself; if the new one hangs, "
        "switching the host off and on brings the old one back"
    )


def check_boot(probe: ProbeResult, action: str) -> None:
    """Raise ``NixferryError`` when a commit would not change what boots, or a reboot is due and not possible."""
    if probe.boot_default_problem and action in (Action.SWITCH, Action.BOOT):
        step, remedy = ERRORS["no_boot_default"]
        raise NixferryError(
            f"the new system would not become the boot default: {probe.boot_default_problem}",
            step=step,
            remedy=remedy,
        )
    if probe.reboot and probe.reboot_problem:
        step, remedy = ERRORS["no_reboot"]
        raise NixferryError(
            f"the host cannot reboot inside the deploy: {probe.reboot_problem}", step=step, remedy=remedy
        )
