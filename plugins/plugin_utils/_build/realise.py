# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Realise evaluated derivations: all hosts in one Nix call, with an outcome for each host."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    is_store_path,
    parse_store_path,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import remedy_for
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.failures import (
    Failure,
    failures_within,
    own_failures,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import LOG_TAIL_LINES, BuildLogs
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan, parse_plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    QUERY_TIMEOUT_SECONDS,
    invalid_paths,
)

STEP = Step.BUILD
# Before the last line of a failed builder's log, which ends the message.
LOG_END = "; its log ends with: "
TIMEOUT_NAME = "the timeout for the build"


@dataclass(frozen=True)
class Target:
    """The target of a host: ``realisable`` is a .drv path, or a store path that must exist.

    The store paths of a content-addressed derivation, and of one that needs such a one, are known after the build only:
    until then ``outputs`` and ``toplevel`` are empty. ``output`` names the output that is the toplevel.
    """

    realisable: str
    outputs: Mapping[str, str]
    toplevel: str
    output: str = "out"

    @property
    def known(self) -> bool:
        """Return True if the store paths are known."""
        return bool(self.toplevel)

    @property
    def derivation(self) -> str | None:
        return self.realisable if self.realisable.endswith(".drv") else None


def target_of(drv_path: str, outputs: Mapping[str, str], output: str) -> Target:
    """Return the target for a derivation whose output named ``output`` is the toplevel.

    ``outputs`` without any, or with other values than store paths, are those of a content-addressed derivation.
    Raises ``NixferryError`` if the output does not exist.
    """
    if not all(is_store_path(path) for path in outputs.values()) or not outputs:
        return Target(drv_path, {}, "", output)
    if output not in outputs:
        raise NixferryError(
            f"{drv_path} has no output {output!r}", step=STEP, remedy=f"It has: {', '.join(sorted(outputs))}."
        )
    return Target(drv_path, dict(outputs), outputs[output], output)


def target_of_store_path(text: str) -> Target:
    """Return the target for a ready store path. Raises ``NixferryError`` if ``text`` is not a store path."""
    path = parse_store_path(text, step=STEP).path
    if path.endswith(".drv"):
        raise NixferryError(
            f"{path} is a derivation, not a built store path",
            step=STEP,
            remedy="Give it as `drv_path`.",
        )
    return Target(path, {"out": path}, path)


def missing(nix: Nix, targets: Mapping[str, Target]) -> dict[str, Target]:
    """Return the targets that are not in the store with all their outputs."""
    unknown = {name: target for name, target in targets.items() if not target.known}
    deadline = time.monotonic() + QUERY_TIMEOUT_SECONDS
    plans = plan(nix, unknown, parallel=1, deadline=deadline) if unknown else {}
    invalid = invalid_paths(
        nix, (path for target in targets.values() for path in target.outputs.values()), step=STEP
    )
    return {
        name: target
        for name, target in targets.items()
        if invalid & set(target.outputs.values()) or (name in plans and not plans[name].empty)
    }


def plan(
    nix: Nix, targets: Mapping[str, Target], *, parallel: int, deadline: float | None
) -> dict[str, Plan]:
    """Return what realising each target alone would do. Raises ``NixferryError`` if Nix cannot tell."""
    distinct = list(dict.fromkeys(target.realisable for target in targets.values()))
    requests = [
        NixRequest(("nix-store", "--realise", "--dry-run", each), deadline=deadline, keep_messages=True)
        for each in distinct
    ]
    plans = {}
    for realisable, result in zip(
        distinct, nix.run_many(requests, step=STEP, parallel=parallel), strict=True
    ):
        if result.return_code != 0:
            raise result.error(step=STEP, deadline_name=TIMEOUT_NAME)
        plans[realisable] = parse_plan(result.messages)
    return {name: plans[target.realisable] for name, target in targets.items()}


class Place(Protocol):
    """A machine whose Nix realises what the controller has evaluated."""

    def realise(self, realisables: Sequence[str], deadline: float | None) -> NixResult:
        """Build or fetch in one Nix call that keeps going after failures."""

    def missing(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        """Return the targets that are not there with all their outputs."""

    def log_tail(self, derivation: str) -> list[str]:
        """Return the end of a build's log, one string per line."""


class Controller:
    """The controller as a place. ``logs`` must have seen the events of ``nix``."""

    def __init__(self, nix: Nix, logs: BuildLogs) -> None:
        self._nix = nix
        self._logs = logs

    def realise(self, realisables: Sequence[str], deadline: float | None) -> NixResult:
        request = NixRequest(("nix-store", "--realise", "--keep-going", *realisables), deadline=deadline)
        return self._nix.run_many([request], step=STEP, parallel=1)[0]

    def missing(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        return missing(self._nix, targets)

    def log_tail(self, derivation: str) -> list[str]:
        return _log_tail(self._nix, derivation, self._logs)


def realise(
    nix: Nix, targets: Mapping[str, Target], place: Place, *, deadline: float | None
) -> dict[str, NixferryError]:
    """Build or fetch all targets at ``place``; return the errors of failed ones, by name.

    Nix 2.8 and 2.26 stop at once, even with --keep-going, at a derivation for a system that no builder has; the others
    are then tried again without the failed ones. ``nix`` is that of the controller, whose store has the derivations.
    """
    errors: dict[str, NixferryError] = {}
    rest = dict(targets)
    while rest:
        blamed, unexplained = _realise_once(nix, rest, place, deadline)
        errors.update(blamed)
        rest = {name: targets[name] for name in unexplained}
        if not blamed:
            return {**errors, **unexplained}
    return errors


def _realise_once(
    nix: Nix, targets: Mapping[str, Target], place: Place, deadline: float | None
) -> tuple[dict[str, NixferryError], dict[str, NixferryError]]:
    """Return the errors of the targets with a failed derivation, and the other targets that are still missing."""
    realisables = list(dict.fromkeys(target.realisable for target in targets.values()))
    result = place.realise(realisables, deadline)
    if result.return_code == 0:
        return {}, {}
    failed = place.missing(targets)
    failures = own_failures(result.errors)
    closures = _closures(nix, [target.derivation for target in failed.values()] if failures else [])
    blamed: dict[str, NixferryError] = {}
    unexplained: dict[str, NixferryError] = {}
    for name, target in failed.items():
        own = failures_within(failures, closures.get(target.realisable, ()))
        tail = place.log_tail(own[0].derivation) if own else []
        (blamed if own else unexplained)[name] = failure_of(target, result, own, tail)
    return blamed, unexplained


def without_log(value: Any) -> Any:
    """Return a result, or a text in it, without what a builder has printed: Ansible shows ``msg`` even with no_log."""
    if isinstance(value, str):
        return "\n".join(line.partition(LOG_END)[0] for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {key: [] if key == "output" else without_log(each) for key, each in value.items()}
    return value


def failure_of(
    target: Target, result: NixResult, own: Sequence[Failure], log_tail: Sequence[str]
) -> NixferryError:
    """Return why the Nix call with ``result`` did not realise ``target``.

    ``own`` are the failed derivations that the target needs, ``log_tail`` is the log of the first of them.
    """
    if target.derivation is None and not result.timed_out:
        return not_available(target, result.stderr.splitlines())
    if not own:
        return result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    first = own[0]
    message = first.reason if first.derivation in first.reason else f"{first.derivation}: {first.reason}"
    if first.derivation != target.derivation:
        message += f"; {target.derivation} needs it"
    if len(own) > 1:
        message += f"; and {len(own) - 1} more failed: " + ", ".join(each.derivation for each in own[1:])
    last = next((line.strip() for line in reversed(log_tail) if line.strip()), "")
    if last and last not in message:
        message += f"{LOG_END}{last}"
    return NixferryError(
        message,
        step=STEP,
        remedy=remedy_for(first.reason)
        or f"See in `output` why, and correct that. The whole log: `nix-store --read-log {first.derivation}`.",
        output=log_tail,
        where=result.where,
    )


def not_available(target: Target, output: Sequence[str] = ()) -> NixferryError:
    """Return the error for a store path that is not available anywhere."""
    return NixferryError(
        f"{target.realisable} is not in the store, and no substituter has it",
        step=STEP,
        remedy="Build it here, copy it here, or name a binary cache that has it in `substituters`.",
        output=output,
    )


def _log_tail(nix: Nix, derivation: str, logs: BuildLogs) -> list[str]:
    """Return the end of a build's log, from the stream, or from the store if the stream had none."""
    tail = logs.tail(derivation)
    if tail:
        return tail
    result = nix.run(
        ["nix-store", "--read-log", derivation],
        step=STEP,
        timeout=QUERY_TIMEOUT_SECONDS,
        deadline_name="the wait for the build's log",
        check=False,
    )
    return result.stdout.splitlines()[-LOG_TAIL_LINES:] if result.return_code == 0 else []


def _closures(nix: Nix, derivations: Sequence[str | None]) -> dict[str, list[str]]:
    """Return the build requisites of each derivation: paths by .drv path."""
    distinct = list(dict.fromkeys(each for each in derivations if each is not None))
    deadline = time.monotonic() + QUERY_TIMEOUT_SECONDS
    requests = [
        NixRequest(("nix-store", "--query", "--requisites", each), deadline=deadline) for each in distinct
    ]
    results = nix.run_many(requests, step=STEP, parallel=1)
    return {each: result.stdout.split() for each, result in zip(distinct, results, strict=True)}
