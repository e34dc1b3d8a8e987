# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboot a machine into a release, and prove that it works. Documented in plugins/modules/nix_netboot_trial.py."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.tree import (
    TreeError,
    checked_release,
    checked_trial,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HEALTH_CHECKS_OPTION,
    parse_health_checks,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.look import STEP, Look, look
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.trial import (
    Outcome,
    Request,
    Trial,
    keep,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

BOOT_IT_ONCE = "Publish a release (netboot_action: publish), switch the machine off and on, and deploy then."


class ActionModule(NixferryAction):
    """``nix_netboot_trial``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "step": {"type": "str", "choices": ["look", "try", "keep"], "required": True},
            "release": {"type": "str"},
            "trial": {"type": "str"},
            "timeout_reboot": {"type": "int", "default": 600},
            "timeout_confirm": {"type": "int", "default": 300},
            "seconds": {"type": "int", "default": 1200},
            "failed_units": {"type": "str", "choices": ["rollback", "ignore"], "default": "rollback"},
            "ignored_units": {"type": "list", "elements": "str", "default": []},
            "health_checks": HEALTH_CHECKS_OPTION,
            "progress": PROGRESS_OPTION,
        },
        "required_if": [("step", "try", ("release", "trial")), ("step", "keep", ("release",))],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Take the step. Once the host may have rebooted, a failure is a result, and not UNREACHABLE."""
        checks = parse_health_checks(options["health_checks"])
        request = Request(
            release=options["release"] or "",
            trial=options["trial"] or "",
            timeout_reboot=options["timeout_reboot"],
            timeout_confirm=options["timeout_confirm"],
            seconds=options["seconds"],
            checks=checks,
            watch_units=options["failed_units"] == "rollback",
            ignored_units=frozenset(options["ignored_units"]),
        )
        if request.problem:
            raise NixferryError(request.problem, step=STEP, remedy="Raise `seconds` (netboot_seconds).")
        if options["step"] == "look":
            return {"failed": False, "changed": False, **told(self._looked(shell))}
        try:
            checked_release(request.release)
            if options["step"] == "try":
                checked_trial(request.trial)
        except TreeError as error:
            raise NixferryError(str(error), step=STEP, remedy=error.remedy) from None
        if options["step"] == "keep":
            return self._keep(shell, request)
        try:
            before = self._looked(shell)
        except NixferryError as error:
            return {**error.result(shell.host), "outcome": ""}
        if self._task.check_mode:
            return {"failed": False, "changed": True, **told(before), "outcome": str(Outcome.PROVED)}
        ended = Trial(shell, request, progress).run(before)
        if ended.outcome != Outcome.UNKNOWN:
            # The connection of the tasks after this one is older than the reboot.
            with suppress(NixferryError):
                shell.reconnect(step=STEP)
        result: dict[str, Any] = {
            "failed": False,
            "changed": True,
            **told(ended.after or Look(boot="")),
            "outcome": str(ended.outcome),
            "armed_by": ended.armed_by,
            "health_checks": [each.result() for each in ended.health],
        }
        if ended.outcome != Outcome.PROVED:
            error = NixferryError(ended.cause, step=STEP, remedy=ended.remedy)
            result = {**result, **error.result(shell.host), "changed": True}
        return result

    def _looked(self, shell: RemoteShell) -> Look:
        seen = look(shell)
        if seen.user != "0":
            raise NixferryError(
                "the login user is not root", step=STEP, remedy="Set `become: true`. Nothing was changed."
            )
        if not seen.release:
            raise NixferryError(
                "the host has not booted a release: its kernel's command line names none",
                step=STEP,
                remedy=BOOT_IT_ONCE,
            )
        return seen

    def _keep(self, shell: RemoteShell, request: Request) -> dict[str, Any]:
        if self._task.check_mode:
            return {"failed": False, "changed": True}
        with shell.fresh() as fresh:
            return {"failed": False, "changed": True, **told(keep(fresh, request.release))}


def told(seen: Look) -> dict[str, Any]:
    """Return what the task says of a machine."""
    return {
        "release": seen.release,
        "trial": seen.trial,
        "booted_system": seen.system,
        "state": seen.state,
        "failed_units_now": list(seen.failed),
        "timer": seen.timer,
    }
