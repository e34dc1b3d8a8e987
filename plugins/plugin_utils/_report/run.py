# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Collect the outcome of every host in a run from task results, and report it at the end.

Only fields that this collection itself returns are used, by name; nothing else of a result can get into a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .facts import (
    FAILED,
    HIDDEN,
    NOT_ATTEMPTED,
    OUTCOMES,
    UNREACHABLE,
    VALIDATION,
    invalid_variables,
    message_of,
    moment,
    overall,
    plain,
    totals,
)
from .steps import COLLECTION, items_of, log_of, step_of

SCHEMA = 1

DEPLOY = f"{COLLECTION}nix_deploy"
SWITCHES = (f"{COLLECTION}nix_switch", f"{COLLECTION}nix_rollback", DEPLOY)
BUILD = f"{COLLECTION}nix_build"
COPY = f"{COLLECTION}nix_copy"
DEPLOYS = (*SWITCHES, BUILD, COPY)

# The fields of a switch's result to keep, with their defaults.
_FIELDS: dict[str, Any] = {
    "kind": "",
    "profile": "",
    "old": "",
    "new": "",
    "generation": 0,
    "revision": "",
    "deploy": "",
    "failed_units": [],
    "health_checks": [],
    "activation": "",
    "rebooted": False,
    "reboot_required": False,
    "reboot_reasons": [],
    "notes": [],
    "phases": [],
}


@dataclass
class HostRun:
    """The state of one host so far."""

    activations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last result for each profile."""
    progress: str = ""
    """``built`` or ``copied``."""
    changed: bool = False
    failure: dict[str, Any] | None = None
    """The last failed task: its name, whether the host was unreachable, and the message if it is ours."""
    log: list[str] = field(default_factory=list)
    """What the programs of the last failed task of ours said."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """The tasks of ours and those that failed, in their order."""
    closure: dict[str, Any] = field(default_factory=dict)
    """The difference of the closures, as the tasks return it."""
    seconds: float = 0.0
    began: float | None = None
    step_began: float | None = None
    batch: int = -1


@dataclass
class RunReport:
    """Records a run's events. Times are seconds since the epoch."""

    playbook: str = ""
    check_mode: bool = False
    began: float = 0.0
    hosts: dict[str, HostRun] = field(default_factory=dict)
    deploys: bool = False
    """Return True if anything was, or was to be, deployed in this run."""
    planned: bool = False
    """Whether a play was there to deploy."""
    batch: int = -1
    build_failures: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Builds for many hosts that failed as a whole, by batch: the other hosts have no result of their own."""

    @property
    def attempted(self) -> bool:
        """Return True if a host was copied to or switched, or was to be: then the fleet status is not shown."""
        return self.planned or any(run.activations or run.progress == "copied" for run in self.hosts.values())

    def play(self, hosts: Iterable[str], batch: Iterable[str], *, deploys: bool) -> None:
        """Record the start of a batch. ``hosts`` are all of the play; ``deploys`` is whether it deploys to them."""
        self.batch += 1
        if not deploys:
            return
        self.deploys = self.planned = True
        for host in hosts:
            self.host(host)
        for host in batch:
            self.host(host).batch = self.batch

    def host(self, name: str) -> HostRun:
        """Return the state of a host."""
        return self.hosts.setdefault(name, HostRun())

    def task_begins(self, host: str, action: str, now: float) -> None:
        """Record the start of a task on a host."""
        if action in DEPLOYS:
            self.host(host).began = now
        if host in self.hosts:
            self.hosts[host].step_began = now

    def task_ends(
        self, host: str, action: str, task: str, status: str, result: Mapping[str, Any], now: float
    ) -> None:
        """Record the end of a task: ``status`` is ok, failed, ignored or unreachable.

        A build for every host of a fleet file, which need not be in the inventory, is not a deploy.
        """
        if action == BUILD and "left_out" in result:
            return
        if action in DEPLOYS:
            self.deploys = True
            self._time(host, now)
            for item in items_of(result):
                self._deployed(host, action, status, item)
        self._step(host, action, task, status, result, now)
        if status in ("failed", UNREACHABLE) and (action in DEPLOYS or host in self.hosts):
            # Their messages are this collection's own.
            ours = action.startswith(COLLECTION)
            known = self.host(host).failure
            if ours:
                self.host(host).log = log_of(result) or self.host(host).log
            if status == "failed" and not ours and known is not None and not known["task"]:
                # The task that reports a failed build of this host cannot explain it.
                known["task"] = task
                return
            self.host(host).failure = {
                "task": task,
                "unreachable": status == UNREACHABLE,
                "message": invalid_variables(result)
                if action == VALIDATION
                else message_of(result)
                if ours or status == UNREACHABLE
                else "",
                "step": str(result.get("step", "")) if ours else "",
                "ours": ours,
            }

    def _time(self, host: str, now: float) -> None:
        run = self.host(host)
        if run.began is not None:
            run.seconds += max(0.0, now - run.began)
            run.began = None

    def _step(
        self, host: str, action: str, task: str, status: str, result: Mapping[str, Any], now: float
    ) -> None:
        """Record a task for the time line; of a build for several hosts, all of them."""
        parts = result.get("hosts") if action == BUILD else None
        run = self.hosts.get(host)
        began = now if run is None or run.step_began is None else run.step_began
        for name, part in (parts if isinstance(parts, Mapping) else {host: result}).items():
            step = step_of(action, task, status, part, began - self.began, now - began)
            if step and str(name) in self.hosts:
                self.hosts[str(name)].steps.append(step)

    def _deployed(self, host: str, action: str, status: str, result: Mapping[str, Any]) -> None:
        if action == BUILD and "hosts" in result:
            for name, part in result["hosts"].items():
                self._built(str(name), part)
            return
        run = self.host(host)
        run.changed = run.changed or bool(result.get("changed"))
        if isinstance(result.get("closure"), Mapping):
            run.closure = plain(result["closure"])
        if action == BUILD:
            if status == "failed":
                self.build_failures[self.batch] = {"step": result.get("step"), "message": message_of(result)}
            self._built(host, result)
        elif action == COPY or (action == DEPLOY and "outcome" not in result and "transfer" in result):
            if status == "ok":
                run.progress = "copied"
        elif result.get("outcome") in OUTCOMES:
            facts = {name: plain(result.get(name, default)) for name, default in _FIELDS.items()}
            facts["outcome"] = str(result["outcome"])
            failed = status != "ok" or bool(result.get("deferred_failure"))
            facts["message"] = message_of(result) if failed else ""
            # A later result for the same profile replaces the earlier one: it is the current state of the host.
            run.activations[_profile(run, facts)] = facts
        elif status == "ok" and "censored" in result:
            run.activations[""] = {**_FIELDS, "outcome": HIDDEN, "message": ""}

    def _built(self, host: str, result: Mapping[str, Any]) -> None:
        run = self.host(host)
        if result.get("failed"):
            step, message = str(result.get("step", "")), message_of(result)
            run.failure = {"task": "", "unreachable": False, "message": message, "step": step, "ours": True}
            run.log = log_of(result)
        elif not run.progress:
            run.progress = "built"

    # --- the end ----------------------------------------------------------------------------------------------

    def report(self, now: float | None, failed: Iterable[str] = ()) -> dict[str, Any]:
        """Return the report as data. ``now`` is None during the run; ``failed`` are Ansible's failed hosts."""
        failed = set(failed)
        stopped = bool(failed) or any(run.failure for run in self.hosts.values())
        hosts = {name: self._host_report(name, run, failed, stopped) for name, run in self.hosts.items()}
        return {
            "schema": SCHEMA,
            "playbook": self.playbook,
            "check_mode": self.check_mode,
            "started": moment(self.began),
            "finished": None if now is None else moment(now),
            "seconds": None if now is None else round(now - self.began, 1),
            "result": "running" if now is None else overall(hosts.values()),
            "totals": totals(hosts.values()),
            "hosts": hosts,
        }

    def _host_report(self, name: str, run: HostRun, failed: set[str], stopped: bool) -> dict[str, Any]:
        activations = sorted(
            run.activations.values(), key=lambda activation: OUTCOMES.index(activation["outcome"])
        )
        failure = run.failure
        if failure is None and not activations and run.batch in self.build_failures:
            failure = {"task": "", "unreachable": False, "ours": True, **self.build_failures[run.batch]}
        if activations:
            worst = activations[0]
        else:
            outcome, message = _without_activation(run, failure, stopped)
            worst = {**_FIELDS, "outcome": outcome, "message": message}
        report = {"outcome": worst["outcome"], "message": worst["message"], "changed": run.changed, **worst}
        report["step"] = failure["step"] or "" if failure and not activations else ""
        # A rescued task does not make a host failed; a later failed one does, whatever runs now.
        later = failure is not None and bool(activations) and report["outcome"] not in FAILED
        report["failed_task"] = (
            {
                "task": failure["task"],
                "unreachable": failure["unreachable"],
                "message": failure["message"] if failure["ours"] else "",
            }
            if failure and later and (name in failed or failure["unreachable"])
            else None
        )
        report["seconds"] = round(run.seconds, 1)
        report["closure"] = run.closure
        # The words of programs are of use where something failed, and are kept nowhere else.
        bad = report["outcome"] in FAILED or report["failed_task"] is not None
        report["log"] = run.log if bad else []
        report["steps"] = run.steps
        if len(activations) > 1:
            report["activations"] = activations
        return report


def _profile(run: HostRun, facts: Mapping[str, Any]) -> str:
    """Return the profile of a result; a step that confirms or aborts may only name the activation."""
    for profile, earlier in run.activations.items():
        if facts["activation"] and facts["activation"] == earlier["activation"]:
            return profile
    return str(facts["profile"])


def _without_activation(run: HostRun, failure: Mapping[str, Any] | None, stopped: bool) -> tuple[str, str]:
    """Return outcome and message of a host on which nothing was activated."""
    if failure is not None:
        if failure["unreachable"]:
            return UNREACHABLE, failure["message"]
        return "failed", failure["message"] or f"the task {failure['task']!r} failed"
    # A host that the stopped run would have continued with counts as not attempted, however far it came.
    return (NOT_ATTEMPTED if stopped or not run.progress else run.progress), ""
