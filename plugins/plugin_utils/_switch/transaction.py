# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make one decision for several hosts that are deployed together: confirm all or roll back all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action

from .outcome import Outcome
from .steps import DEFERRED, Begun

SETTLED = (Outcome.UNCHANGED, Outcome.COMMITTED, Outcome.TESTED, Outcome.DRY_ACTIVATED)
# Strategies under which hosts do not wait for each other.
WITHOUT_BARRIER = ("free", "host_pinned")
LOST_PEERS = "lost_peers"
"""The key in the result of a host that activated nothing because other hosts had been lost."""
HOSTS_NAMED = 3
STEP = Step.TRANSACTION


@dataclass(frozen=True)
class Decision:
    """The decision for all hosts."""

    failures: tuple[tuple[str, str], ...]
    """The hosts that make it fail, each with the cause in one line."""
    settled: bool
    """Whether no host waits for a decision any more and none has failed."""

    @property
    def word(self) -> str:
        """The step of nix_switch that comes next."""
        return "abort" if self.failures else "confirm"

    @property
    def reason(self) -> str:
        """One sentence without its full stop that names the failed hosts; empty if none failed."""
        named = "; ".join(f"{host}: {why}" for host, why in self.failures[:HOSTS_NAMED])
        more = len(self.failures) - HOSTS_NAMED
        if more > 0:
            named += f"; and {more} more"
        return named and f"these hosts of the transaction failed ({named})"

    def result(self) -> dict[str, Any]:
        """The task's result."""
        return {
            "changed": False,
            "failed": False,
            "decision": self.word,
            "settled": self.settled,
            "failed_hosts": dict(self.failures),
            "reason": self.reason,
        }


def decide(
    hosts: Sequence[str],
    results: Mapping[str, Mapping[str, Any]],
    present: Collection[str],
    *,
    now: datetime | None = None,
) -> Decision:
    """Decide for ``hosts`` by the results of their last steps. Hosts not in ``present`` have been lost."""
    now = now or datetime.now(UTC)
    failures: dict[str, str] = {}
    because_of_others: dict[str, str] = {}
    settled = True
    for host in hosts:
        result = results.get(host, {})
        why = _trouble(result, now) if host in present else _loss(result)
        settled = settled and (result.get("outcome") in SETTLED or bool(result.get("skipped")))
        if why:
            (because_of_others if result.get(LOST_PEERS) and host in present else failures)[host] = why
    return Decision(tuple((failures or because_of_others).items()), settled and not failures)


def _trouble(result: Mapping[str, Any], now: datetime) -> str:
    if result.get("skipped"):
        return ""
    outcome = result.get("outcome")
    if result.get("failed") or result.get(DEFERRED):
        return _first_line(result) or f"it ended {outcome or 'with an error'}"
    if outcome == Outcome.AWAITING_CONFIRMATION:
        if "deadline" in result and Begun("", result).seconds_left(now) == 0:
            return "the others took longer than it waits for them (timeout_hold)"
        return ""
    return "" if outcome in SETTLED else "it has not been activated"


def _loss(result: Mapping[str, Any]) -> str:
    if result.get("unreachable") or result.get("failed"):
        return _first_line(result) or "lost on the way"
    return "lost before it was activated"


def _first_line(result: Mapping[str, Any]) -> str:
    lines = str(result.get("msg", "")).strip().splitlines()
    return lines[0].partition(": ")[2] or lines[0] if lines else ""


def lost_before(
    peers: Sequence[str], steps: Sequence[str], variables: Mapping[str, Mapping[str, Any]]
) -> frozenset[str]:
    """Return the ``peers`` that have failed, or were unreachable, in an earlier step of the deploy.

    With ``ignore_unreachable``, and in a block with ``rescue``, Ansible keeps them in the play. ``steps`` name the
    variables in which these steps are registered, and ``variables`` are those of each host.
    """
    return frozenset(
        peer
        for peer in peers
        if peer in variables and any(_is_lost(variables[peer].get(step)) for step in steps)
    )


def _is_lost(result: object) -> bool:
    return isinstance(result, Mapping) and bool(result.get("unreachable") or result.get("failed"))


def lost_peers(
    peers: Sequence[str], present: Collection[str], lost_earlier: Collection[str] = ()
) -> NixferryError | None:
    """Return the error of a host that must not begin because some ``peers`` are lost, or ``None``.

    Lost are those that are not in ``present``, or in ``lost_earlier``.
    """
    lost = [peer for peer in peers if peer not in present or peer in lost_earlier]
    if not lost:
        return None
    named = ", ".join(lost[:HOSTS_NAMED]) + (
        f" and {len(lost) - HOSTS_NAMED} more" if len(lost) > HOSTS_NAMED else ""
    )
    return NixferryError(
        f"nothing was activated here, since the transaction has lost {named}",
        step=STEP,
        remedy=f"Fix the fault of {named}, reported above, and run the deploy again.",
    )


def refuse_unsuitable(strategy: str, action: str, *, rolls_back: bool) -> None:
    """Raise ``NixferryError`` for what cannot be part of a transaction."""
    name = strategy.rpartition(".")[2]
    if name.endswith(WITHOUT_BARRIER):
        raise NixferryError(
            f"strategy {strategy} lets every host run ahead, and a transaction needs hosts that wait for each other",
            step=STEP,
            remedy="Use strategy linear, or do without the transaction (role nixos: nixos_transaction).",
        )
    if action == Action.BOOT:
        raise NixferryError(
            "action boot activates nothing that could be confirmed by all hosts together",
            step=STEP,
            remedy="Use action switch, or do without the transaction.",
        )
    if not rolls_back:
        raise NixferryError(
            "a transaction has to be able to roll back",
            step=STEP,
            remedy="Do without `rollback: false`, or without the transaction.",
        )


def strategy_of(task: object) -> str:
    """Return the strategy of the play that ``task`` belongs to; empty if unknown."""
    parent = getattr(task, "_parent", None)
    while parent is not None:
        play = getattr(parent, "_play", None)
        if play is not None:
            return str(getattr(play, "strategy", "") or "")
        parent = getattr(parent, "_parent", None)
    return ""
