# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Switch a host in one task, in check mode or for real, with or without a diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import (
    ProbeRequest,
    StartRequest,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import parse_health_checks
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import (
    ClosureDiff,
    diff_closures,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure

from .activation import Switch
from .outcome import Outcome
from .plan import check_expected
from .reboot import check_boot
from .result import (
    check_result,
    prepared_diff,
    summary_line,
    switch_result,
)
from .revision import RevisionCheck


def switch_host(
    guard: Guard,
    request: StartRequest,
    health_checks: Sequence[Mapping[str, Any]],
    progress: Progress,
    *,
    check_mode: bool,
    diff_mode: bool,
    repository: str = "",
    hold: int = 0,
) -> dict[str, Any]:
    """Do what ``request`` says and return the task's result; in check mode, tell what it would do.

    ``repository`` is the checkout on the controller that knows about the revision of ``request``. With ``hold`` a
    healthy host is not confirmed, but waits that many seconds for a later task to do it.

    Raises ``NixferryError`` when it cannot be begun, ``HostUnreachable`` when the host cannot be reached.
    """
    checks = parse_health_checks(health_checks)
    revisions = RevisionCheck(request.revision, repository, force=request.any_revision or request.is_rollback)
    switch = Switch(guard, request, checks, progress, allow=revisions.allow, hold=hold)
    if not (check_mode or diff_mode):
        return _switch(guard, switch, progress)
    probe = probe_host(guard, request, dry_activate=diff_mode)
    difference = compare_closures(probe, request.toplevel) if not probe.unchanged else None
    if check_mode:
        check_boot(probe, request.action)
        check_expected(probe, request)
        if not probe.unchanged and request.action != Action.DRY_ACTIVATE and probe.deployed is not None:
            revisions.allow(probe.deployed)
        result = check_result(probe, request.toplevel, request.action, difference)
        result.update(
            kind=request.kind.name, profile=probe.profile, revision=request.revision, deploy=request.deploy
        )
        if hold and result["changed"]:
            # For the tasks that would follow.
            result.update(
                activation=request.activation_id,
                outcome=str(Outcome.AWAITING_CONFIRMATION),
                seconds_left=hold,
            )
    else:
        result = _switch(guard, switch, progress)
        if difference is not None:
            result["closure"] = difference.result()
    if diff_mode:
        new = probe.toplevel_system or request.toplevel
        old = new if probe.unchanged else probe.current
        result["diff"] = prepared_diff(guard.shell.host, old, new, difference, probe.dry_activate_log)
    return result


def _switch(guard: Guard, switch: Switch, progress: Progress) -> dict[str, Any]:
    followed = switch.run()
    result = switch_result(guard.shell.host, followed)
    request = switch.request
    profile = followed.status.profile or request.profile or request.kind.profile
    result.update(kind=request.kind.name, profile=profile, revision=request.revision, deploy=request.deploy)
    if result["outcome"] != Outcome.UNCHANGED:
        progress.line(summary_line(result))
    return result


def probe_host(guard: Guard, request: StartRequest, *, dry_activate: bool) -> ProbeResult:
    """Ask in one round trip what the host runs, and what the new system would change.

    Raises ``NixferryError`` when the new system is on the host and cannot be activated there.
    """
    probe = guard.probe(
        ProbeRequest(
            kind=request.kind,
            profile=request.profile,
            toplevel=request.toplevel,
            specialisation=request.specialisation,
            reboot=request.reboot,
            closure=True,
            dry_activate=dry_activate,
            environment=request.environment,
            timeout_activation=request.timeout_activation,
        )
    )
    if probe.toplevel_missing:
        raise NixferryError(
            f"{request.toplevel} lacks {', '.join(probe.toplevel_missing)}",
            step=Step.PROBE,
            remedy=f"Check that it is a system of kind {request.kind.name}.",
        )
    return probe


def compare_closures(probe: ProbeResult, toplevel: str) -> ClosureDiff | None:
    """Compare the host's closure with that of ``toplevel``.

    The new closure is read on the host when it is there, else on the controller. ``None`` when it is neither.
    """
    new = dict(probe.closure_toplevel) or closure_on_controller(toplevel)
    return diff_closures(dict(probe.closure_current), new) if new else None


def closure_on_controller(toplevel: str) -> dict[str, int]:
    """Return the closure of ``toplevel`` in the controller's store, with NAR sizes in bytes; empty if absent."""
    try:
        return {item.path: item.nar_size for item in closure(Nix(), [toplevel], step=Step.COMPARE_CLOSURES)}
    except NixferryError:
        # Not built yet, or no Nix on the controller: the diff then says that it cannot compare.
        return {}
