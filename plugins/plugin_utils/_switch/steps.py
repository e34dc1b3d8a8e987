# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The steps after an activation: read its result, then confirm it or take it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import ProbeRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    parse_health_checks,
    total_budget,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .follow import (
    Follower,
)
from .options import kind_of, start_request
from .outcome import Outcome
from .result import (
    summary_line,
    switch_result,
)
from .rollback import choose_generation
from .settle import Settlement
from .task import switch_host

STEP = Step.SETTLE
DEFERRED = "deferred_failure"
"""The key of a result whose failure a later task reports; its ``failed`` is false."""


@dataclass(frozen=True)
class Begun:
    """An activation that an earlier task has begun. ``result`` is that task's result, or empty."""

    activation_id: str
    result: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """The outcome as far as it is known, else empty."""
        return str(self.result.get("outcome", ""))

    def seconds_left(self, now: datetime | None = None) -> int:
        """Return the seconds until the host rolls back by itself, by the controller's clock; 0 if unknown."""
        try:
            deadline = datetime.fromisoformat(str(self.result.get("deadline", "")))
        except ValueError:
            return 0
        return max(0, int((deadline - (now or datetime.now(UTC))).total_seconds()))


def begun(activation: object) -> Begun:
    """Read the option ``activation``. Raises ``NixferryError`` when it names no activation."""
    if isinstance(activation, str):
        return Begun(activation, {})
    if isinstance(activation, Mapping):
        return Begun(str(activation.get("activation") or ""), activation)
    raise NixferryError(
        "`activation` is missing",
        step=STEP,
        remedy="Give what nix_switch returned with `step: activate`, or its `activation`.",
    )


def deferred(result: Mapping[str, Any]) -> dict[str, Any]:
    """Mark a failed result as deferred: a later task reports it."""
    if not result.get("failed"):
        return dict(result)
    return {**result, "failed": False, DEFERRED: True}


def settle_host(
    guard: Guard,
    options: Mapping[str, Any],
    progress: Progress,
    *,
    check_mode: bool,
) -> dict[str, Any]:
    """Confirm or abort the activation, as the options say, and return the task's result.

    Raises ``NixferryError`` when nothing is known of the activation.
    """
    earlier = begun(options["activation"])
    confirms = options["step"] == "confirm"
    if check_mode and earlier.activation_id:
        outcome = Outcome.COMMITTED if confirms else Outcome.ROLLED_BACK
        return {**earlier.result, "failed": False, "changed": True, "outcome": outcome}
    if earlier.result.get(DEFERRED) and earlier.outcome != Outcome.UNKNOWN:
        return {**earlier.result, DEFERRED: False, "failed": True, "changed": False}
    if not earlier.activation_id:
        # The host ran that system already: nothing has to be confirmed or taken back.
        return {"outcome": str(Outcome.UNCHANGED), **earlier.result, "failed": False, "changed": False}
    if confirms and earlier.outcome in (Outcome.COMMITTED, Outcome.TESTED):
        return {**earlier.result, "failed": False, "changed": False}
    if not confirms and options["take_back"] and earlier.outcome in (Outcome.COMMITTED, Outcome.TESTED):
        return _take_back(guard, options, earlier, progress)
    try:
        result = _settle(guard, options, earlier, progress)
    except NixferryError as error:
        if not earlier.result:
            raise
        result = {**earlier.result, **error.result(guard.shell.host), "outcome": str(Outcome.UNKNOWN)}
        result["msg"] += "\nIts guard rolls back by itself unless it was confirmed before."
        result[DEFERRED] = False
    if result["outcome"] != Outcome.UNCHANGED:
        progress.line(summary_line(result))
    return result


def _settle(guard: Guard, options: Mapping[str, Any], earlier: Begun, progress: Progress) -> dict[str, Any]:
    checks = parse_health_checks(options["health_checks"])
    # Waiting longer than the host waits would change nothing.
    confirms = options["step"] == "confirm"
    patience = int(options["timeout_confirm"])
    settlement = Settlement(
        Follower(guard, earlier.activation_id, progress),
        first_wait=max(patience, earlier.seconds_left() - total_budget(checks)) if confirms else patience,
        timeout_activation=int(options["timeout_activation"]),
        # Going back may take a reboot.
        timeout_roll_back=int(options["timeout_rollback"]) + int(options["timeout_reboot"]),
    )
    reason = str(options["reason"])
    followed = settlement.confirm(checks) if confirms else settlement.abort(reason)
    status = followed.status
    result = switch_result(guard.shell.host, followed)
    told = {name: earlier.result.get(name, "") for name in ("revision", "deploy")}
    result.update(kind=status.kind, profile=status.profile, **told)
    if confirms:
        return result
    if result["outcome"] == Outcome.ROLLED_BACK:
        # The roll back was requested, so it is not a failure.
        result.update(failed=False, changed=followed.acted)
        error = NixferryError(
            f"it was rolled back to {status.old_system}: {reason or status.message}", step=Step.DEPLOY
        )
        result.update(error.told(guard.shell.host))
    elif result["outcome"] in (Outcome.COMMITTED, Outcome.TESTED):
        error = NixferryError(
            f"it had been confirmed before and runs {status.system}",
            step=Step.ABORT,
            remedy="Go back with nix_rollback, or abort with `take_back: true`.",
        )
        result.update(error.result(guard.shell.host))
    return result


def _take_back(
    guard: Guard, options: Mapping[str, Any], earlier: Begun, progress: Progress
) -> dict[str, Any]:
    """Deploy the old generation of a host that was confirmed, through the guard like every manual roll back."""
    result = dict(earlier.result)
    old = str(result.get("old_generation") or result.get("old") or "")
    reason = str(options["reason"])
    try:
        if not old:
            raise NixferryError("there was no system before", step=Step.TAKE_BACK, remedy="Look at the host.")
        probe = ProbeRequest(kind=kind_of(options), profile=str(options["profile"] or ""))
        chosen = choose_generation(guard.probe(probe), old)
        progress.line(f"taking back what was confirmed: to {chosen.text()}")
        request = start_request(options, chosen.path, Action.SWITCH, is_rollback=True)
        taken = switch_host(guard, request, [], progress, check_mode=False, diff_mode=False)
        if taken["failed"]:
            raise NixferryError(str(taken["msg"]), step=Step.TAKE_BACK, remedy="Go back with nix_rollback.")
    except NixferryError as error:
        failure = NixferryError(
            f"it was confirmed and could not be taken back, so it runs {result.get('new')}: {error.cause}. "
            f"It was to be taken back because of {reason}",
            step=Step.TAKE_BACK,
            remedy=error.remedy,
        )
        result.update(failure.result(guard.shell.host))
        return result
    result.update(
        outcome=str(Outcome.ROLLED_BACK),
        failed=False,
        changed=True,
        generation=taken["generation"],
        phases=taken["phases"],
    )
    undone = NixferryError(
        f"it had been confirmed and was taken back to {chosen.text()}: {reason}", step=Step.DEPLOY
    )
    result.update(undone.told(guard.shell.host))
    return result
