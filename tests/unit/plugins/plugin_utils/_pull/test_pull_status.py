# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployer learns from the status of a host that pulls."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import PullStatus, parse_status


@dataclass(frozen=True)
class Said:
    stdout: str
    return_code: int = 0
    stderr: str = ""


def status(**values: str) -> PullStatus:
    given = {"now": "1000", "installed": "1", "timer": "active", "serial": "7", "issued": "900", **values}
    lines = "".join(f"{key}={value}\n" for key, value in given.items())
    return parse_status(Said(f"a banner\nnixferry=1\n{lines}end=pull_status\n"))


def test_a_host_without_an_agent() -> None:
    found = parse_status(Said("nixferry=1\nnow=1000\ntimer=inactive\nend=pull_status\n"))
    assert (found.pulls, found.serial, found.result()["pointer_age"]) == (False, None, None)


def test_the_age_of_the_pointer() -> None:
    assert status(outcome="committed").result()["pointer_age"] == 100


@pytest.mark.parametrize("outcome", ["committed", "unchanged"])
def test_a_serial_is_reached_when_its_system_runs(outcome: str) -> None:
    assert status(outcome=outcome).has_reached(7)
    assert status(outcome=outcome).has_reached(6)
    assert not status(outcome=outcome).has_reached(8)
    assert not status(outcome=outcome, under_way="1").has_reached(7)


@pytest.mark.parametrize(
    "outcome", ["held", "waiting", "locked", "interrupted", "unreachable", "expired", ""]
)
def test_what_may_still_come_is_waited_for(outcome: str) -> None:
    assert not status(outcome=outcome).has_reached(7)


@pytest.mark.parametrize(
    "outcome", ["rolled-back", "failed", "quarantined", "not-signed", "refused-by-guard"]
)
def test_what_will_not_come_fails_at_once(outcome: str) -> None:
    with pytest.raises(NixferryError, match=outcome):
        status(outcome=outcome, message="for a reason").has_reached(7)
    # It was about an earlier one.
    assert not status(outcome=outcome).has_reached(8)


def test_a_hostile_host_is_not_believed() -> None:
    with pytest.raises(NixferryError):
        status(serial="lots")
    assert "\x1b" not in str(status(message="%1b[31mred").result())


def test_a_commit_is_waited_for_like_a_serial() -> None:
    wanted, other = "a" * 40, "b" * 40
    assert status(outcome="committed", commit=wanted).has_built(wanted)
    assert not status(outcome="committed", commit=other).has_built(wanted)
    assert not status(outcome="committed", commit=wanted, under_way="1").has_built(wanted)
    assert not status(outcome="build-failed", commit=wanted).has_built(wanted)
    for outcome in ("rolled-back", "quarantined"):
        with pytest.raises(NixferryError, match=f"commit {wanted}: {outcome}"):
            status(outcome=outcome, commit=wanted).has_built(wanted)
