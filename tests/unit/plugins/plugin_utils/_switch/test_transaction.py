# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One decision for all hosts, from what each of them has returned."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.transaction import (
    decide,
    lost_before,
    lost_peers,
    refuse_unsuitable,
    strategy_of,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AWAITING = {"outcome": "awaiting-confirmation", "activation": "1", "deadline": "2026-01-01T12:05:00+00:00"}
COMMITTED = {"outcome": "committed"}
UNCHANGED = {"outcome": "unchanged"}
ROLLED_BACK = {
    "outcome": "rolled-back",
    "failed": False,
    "deferred_failure": True,
    "msg": "web2: health check failed: port 80\nmore",
}


def decided(*results: dict[str, Any] | None, present: int = 9) -> tuple[str, bool, str]:
    hosts = [f"web{number}" for number in range(1, len(results) + 1)]
    known = {host: result for host, result in zip(hosts, results, strict=True) if result is not None}
    decision = decide(hosts, known, hosts[:present], now=NOW)
    result = decision.result()
    assert result["reason"] == decision.reason
    return result["decision"], result["settled"], result["reason"]


@pytest.mark.parametrize(
    ("results", "settled"),
    [
        ([AWAITING, AWAITING], False),
        ([AWAITING, UNCHANGED], False),
        ([AWAITING, COMMITTED], False),
        ([UNCHANGED, UNCHANGED], True),
        ([COMMITTED, UNCHANGED, {"outcome": "tested"}, {"skipped": True}], True),
        # In check mode no host waits and there is no deadline.
        ([{"outcome": "awaiting-confirmation"}], False),
    ],
)
def test_all_is_well(results: list[dict[str, Any]], settled: bool) -> None:
    assert decided(*results) == ("confirm", settled, "")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (ROLLED_BACK, "health check failed: port 80"),
        ({"failed": True, "msg": "web2: start failed: locked"}, "start failed: locked"),
        ({"outcome": "unknown", "failed": True}, "it ended unknown"),
        ({"failed": True}, "it ended with an error"),
        ({}, "it has not been activated"),
        (None, "it has not been activated"),
        ({**AWAITING, "deadline": "2026-01-01T12:00:00+00:00"}, "the others took longer than it waits"),
    ],
)
@pytest.mark.parametrize("others", [AWAITING, COMMITTED, UNCHANGED])
def test_one_that_is_not_well_spoils_it_for_all(
    bad: dict[str, Any] | None, why: str, others: dict[str, Any]
) -> None:
    word, settled, reason = decided(others, bad)
    assert (word, settled) == ("abort", False)
    assert reason.startswith(f"these hosts of the transaction failed (web2: {why}")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "lost before it was activated"),
        # What it returned in an earlier play says nothing.
        (COMMITTED, "lost before it was activated"),
        ({"unreachable": True}, "lost on the way"),
        ({"unreachable": True, "msg": "web2: copy failed: no route"}, "copy failed: no route"),
    ],
)
def test_a_lost_host_spoils_it_whatever_it_said(result: dict[str, Any] | None, why: str) -> None:
    assert decided(AWAITING, result, present=1)[2] == f"these hosts of the transaction failed (web2: {why})"


def test_who_did_not_begin_because_of_others_is_not_to_blame() -> None:
    held_back = {
        "deferred_failure": True,
        "lost_peers": True,
        "msg": "web1: deploy together failed: lost web2",
    }
    assert "(web2: lost before it was activated)" in decided(held_back, None, present=1)[2]
    # When no other host is to blame, all the same nothing is confirmed.
    assert decided(held_back, AWAITING)[0] == "abort"


def test_many_failures_are_counted() -> None:
    reason = decided(*[ROLLED_BACK] * 5)[2]
    assert reason.count("health check failed") == 3
    assert reason.endswith("and 2 more)")


def test_lost_peers() -> None:
    assert lost_peers(["web1", "web2"], ("web2", "web1", "web3")) is None
    error = lost_peers(["web1", "web2"], ("web1",))
    assert error is not None
    assert "nothing was activated here, since the transaction has lost web2" in error.text("web1")


def test_peers_that_ansible_keeps_in_the_play_may_be_lost() -> None:
    variables = {
        "web1": {"copied": {"failed": False}, "checked": {"unreachable": False}},
        "web2": {"copied": {"failed": False}, "checked": {"unreachable": True}},
        "web3": {"copied": {"failed": True, "msg": "no space"}},
        "web4": {"copied": "a word", "other": {"failed": True}},
    }
    hosts = [*variables, "web5"]
    lost = lost_before(hosts, ["copied", "checked"], variables)
    assert lost == {"web2", "web3"}
    error = lost_peers(hosts, hosts, lost)
    assert error is not None
    assert "the transaction has lost web2, web3" in error.text("web1")


def test_a_transaction_needs_hosts_that_wait_and_can_go_back() -> None:
    for good in ("linear", "ansible.builtin.linear", "debug", ""):
        refuse_unsuitable(good, "switch", rolls_back=True)
    for strategy, action, rolls_back in (
        ("free", "switch", True),
        ("ansible.builtin.free", "switch", True),
        ("ansible.builtin.host_pinned", "test", True),
        ("linear", "boot", True),
        ("linear", "switch", False),
    ):
        with pytest.raises(NixferryError):
            refuse_unsuitable(strategy, action, rolls_back=rolls_back)


def test_the_strategy_is_that_of_the_play() -> None:
    block = SimpleNamespace(_parent=None, _play=SimpleNamespace(strategy="free"))
    task = SimpleNamespace(_parent=SimpleNamespace(_parent=block))
    assert strategy_of(task) == "free"
    assert strategy_of(object()) == ""
