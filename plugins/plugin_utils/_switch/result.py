# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Build the result of an Ansible task from an activation, or from a preview of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import (
    Action,
    Phase,
    RebootProgress,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import ClosureDiff

from .follow import (
    Followed,
)
from .outcome import Outcome
from .reboot import lost_text

# The outcome of each action on success.
NOT_COMPARED = (
    "the new system is not built yet, so it cannot be compared: build it before (--tags build), or have check mode "
    "build (nixos_build_in_check_mode: true)"
)
WOULD: dict[str, Outcome] = {
    Action.SWITCH: Outcome.COMMITTED,
    Action.BOOT: Outcome.COMMITTED,
    Action.TEST: Outcome.TESTED,
    Action.DRY_ACTIVATE: Outcome.DRY_ACTIVATED,
}

# The failed step by the guard's reason.
_STEPS = {
    "not_confirmed": Step.CONFIRM,
    "aborted": Step.HEALTH_CHECK,
    "commit_failed": Step.COMMIT,
    "commit_timeout": Step.COMMIT,
    "other_system": Step.COMMIT,
}


def outcome_of(followed: Followed) -> Outcome:
    """Return the word that says how an activation ended."""
    status = followed.status
    if followed.lost is not None:
        return Outcome.UNKNOWN
    if status.unchanged:
        return Outcome.UNCHANGED
    if status.action == Action.DRY_ACTIVATE:
        return Outcome.DRY_ACTIVATED
    if status.phase == Phase.COMMITTED and status.action == Action.TEST:
        return Outcome.TESTED
    return Outcome(status.phase)


def switch_result(host: str, followed: Followed) -> dict[str, Any]:
    """Return the task's result. That of a failure has ``msg`` with host, step, cause and remedy."""
    status = followed.status
    outcome = outcome_of(followed)
    result: dict[str, Any] = {
        "failed": outcome.is_failure or (outcome == Outcome.DRY_ACTIVATED and bool(status.exit_code)),
        "changed": followed.acted
        and outcome in (Outcome.COMMITTED, Outcome.TESTED, Outcome.AWAITING_CONFIRMATION),
        "outcome": str(outcome),
        "old": status.old_system,
        "old_generation": status.old_generation or 0,
        "new": status.system,
        "generation": status.new_generation or status.old_generation or 0,
        "phases": _phases(status),
        "failed_units": list(status.failed_units),
        "health_checks": [health.result() for health in followed.health],
        "log": status.log.splitlines(),
        "rebooted": status.reboot == RebootProgress.DONE,
        "reboot_required": status.reboot_required,
        "reboot_reasons": list(status.reboot_reasons),
    }
    if outcome not in (Outcome.UNCHANGED, Outcome.DRY_ACTIVATED):
        result["activation"] = status.activation_id
    if outcome == Outcome.AWAITING_CONFIRMATION:
        left = status.seconds_left or 0
        result["seconds_left"] = left
        result["deadline"] = (datetime.now(UTC) + timedelta(seconds=left)).isoformat(timespec="seconds")
    if status.other_system:
        result["other_system"] = status.other_system
    if status.notes:
        result["notes"] = list(status.notes)
    if outcome == Outcome.DRY_ACTIVATED and result["failed"]:
        error = NixferryError(
            f"the dry activation failed with exit code {status.exit_code}; nothing was changed",
            step=Step.FORECAST,
            remedy="See in `log` what the program said.",
        )
        result.update(error.told(host))
    elif result["failed"]:
        result.update(_error(followed, outcome).told(host))
    return result


def summary_line(result: dict[str, Any]) -> str:
    """Return the result as one line for the progress display."""
    words = {
        Outcome.UNCHANGED: "runs and boots it already",
        Outcome.COMMITTED: "committed as generation {generation}",
        Outcome.TESTED: "runs the new system; the boot default is the old one",
        Outcome.DRY_ACTIVATED: "dry activation only",
        Outcome.AWAITING_CONFIRMATION: "healthy, waits {seconds_left} s for the confirmation",
        Outcome.ROLLED_BACK: "rolled back to {old}",
        Outcome.FAILED: "FAILED and not rolled back",
        Outcome.UNKNOWN: "state UNKNOWN: the host could not be reached again",
    }
    line = words[result["outcome"]].format(**result)
    if result.get("other_system"):
        line = f"FAILED: it runs {result['other_system']}, to which a third party has switched it"
    if result.get("rebooted"):
        line += " after a reboot"
    if result["reboot_required"]:
        line += f"; a reboot is due ({', '.join(result['reboot_reasons'])})"
    return line


def _phases(status: GuardStatus) -> list[dict[str, Any]]:
    begins = [moment for _phase, moment in status.phase_times]
    ends = [*begins[1:], *begins[-1:]]
    return [
        {"name": phase, "seconds": max(0, end - begin)}
        for (phase, begin), end in zip(status.phase_times, ends, strict=True)
    ]


def _error(followed: Followed, outcome: Outcome) -> NixferryError:
    status = followed.status
    if followed.lost is not None:
        return NixferryError(
            f"the host could not be reached again: {followed.lost.cause}. "
            + (lost_text(status) or "Its guard rolls back by itself unless the deploy was confirmed before"),
            step=followed.lost.step,
            remedy=f"When it is back, run the status playbook and read {status.log_path}.",
        )
    message = status.why
    unnamed = [unit for unit in status.failed_units if unit not in message]
    units = f" (failed now: {', '.join(unnamed)})" if unnamed else ""
    if outcome == Outcome.ROLLED_BACK and status.old_system == status.system:
        end = f"The host runs {status.system}, as before"
    elif outcome == Outcome.ROLLED_BACK:
        end = f"The host was rolled back to {status.old_system or 'what it ran before'}"
    elif status.other_system:
        end = f"The host was left with what a third party has switched it to: {status.other_system}"
    elif status.left_running:
        end = f"It is still running: {status.system}"
    else:
        end = "The host was NOT rolled back"
    unhealthy = [health for health in followed.health if not health.healthy]
    # The state of a host that was not rolled back is more urgent than the check.
    of_check = unhealthy[0].remedy if unhealthy and status.reason == "aborted" else ""
    remedy = " ".join(filter(None, (of_check, status.remedy)))
    return NixferryError(
        f"{message.rstrip('.')}{units}. {end}", step=_STEPS.get(status.reason, Step.ACTIVATE), remedy=remedy
    )


def check_result(
    probe: ProbeResult, toplevel: str, action: str, closure: ClosureDiff | None
) -> dict[str, Any]:
    """Return the result in check mode, with the keys of a real one, as of a successful run."""
    would = WOULD[action]
    result: dict[str, Any] = {
        "failed": False,
        "changed": not probe.unchanged and would in (Outcome.COMMITTED, Outcome.TESTED),
        "outcome": str(Outcome.UNCHANGED if probe.unchanged else would),
        "old": probe.current,
        "old_generation": probe.generation or 0,
        "new": probe.toplevel_system or toplevel,
        "generation": probe.generation or 0,
        "phases": [],
        "failed_units": [],
        "health_checks": [],
        "log": [],
        "rebooted": probe.reboot,
        "reboot_required": bool(probe.toplevel_reboot_reasons) and not probe.reboot,
        "reboot_reasons": list(probe.toplevel_reboot_reasons),
    }
    if closure is not None:
        result["closure"] = closure.result()
    return result


def unknown_result(action: str, text: str) -> dict[str, Any]:
    """Return the result in check mode for a system whose store path is not known, which ``text`` says."""
    return {
        "failed": False,
        "changed": WOULD[action] in (Outcome.COMMITTED, Outcome.TESTED),
        "outcome": str(WOULD[action]),
        **dict.fromkeys(("old", "new"), ""),
        **dict.fromkeys(("old_generation", "generation"), 0),
        **{name: [] for name in ("phases", "failed_units", "health_checks", "log", "reboot_reasons")},
        **dict.fromkeys(("rebooted", "reboot_required"), False),
        "msg": text,
    }


def prepared_diff(
    host: str, old: str, new: str, closure: ClosureDiff | None, dry_activate_log: str
) -> dict[str, str]:
    """Return the texts for ``--diff``."""
    if old == new:
        return {"prepared": ""}
    lines = [f"--- {host}: {old or 'no system yet'}", f"+++ {host}: {new}"]
    if closure is None:
        lines.append(NOT_COMPARED)
    else:
        lines += closure.text().splitlines()
    if dry_activate_log:
        lines += ["dry activation:", *dry_activate_log.splitlines()]
    return {"prepared": "\n".join(lines) + "\n"}


def generations_result(probe: ProbeResult) -> dict[str, Any]:
    """Return the result of ``nix_generations``."""
    generations = [
        {
            "number": generation.number,
            "path": generation.path,
            "date": ""
            if generation.date is None
            else datetime.fromtimestamp(generation.date, UTC).isoformat(),
            "current": generation.current,
        }
        for generation in probe.generations
    ]
    holder = "" if probe.lock_holder is None else str(probe.lock_holder)
    number = probe.generation or 0
    summary = [
        f"runs       {probe.current or 'no system of this kind'}",
        f"boots next {probe.profile_target or 'nothing of this kind'}"
        + (f" (generation {number})" if number else ""),
        f"nix        {probe.nix_version or 'not found'} on {probe.system}",
    ]
    if probe.reboot_reasons:
        summary.append(f"reboot due {', '.join(probe.reboot_reasons)}")
    if probe.failed_units:
        summary.append(f"failed     {', '.join(probe.failed_units)}")
    if probe.current != probe.profile_target:
        summary.append(
            "differs    what runs is not what boots next: a test, a specialisation, or a reboot is due"
        )
    if holder:
        summary.append(f"locked by  {holder}")
    return {
        "failed": False,
        "changed": False,
        "current": probe.current,
        "booted": probe.booted,
        "boot_default": probe.profile_target,
        "generation": number,
        "generations": generations,
        "nix_version": probe.nix_version,
        "system": probe.system,
        "reboot_required": bool(probe.reboot_reasons),
        "reboot_reasons": list(probe.reboot_reasons),
        "failed_units": list(probe.failed_units),
        "lock": holder,
        "summary": summary,
    }
