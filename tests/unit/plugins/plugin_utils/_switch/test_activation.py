# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of an activation, against a host that answers from a list."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_host import LOST, NEW, OLD, Clock, Host, Lines, answer, command_check, guard_of

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import DeployRecord
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import kind_named
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.activation import Switch
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import (
    summary_line,
    switch_result,
)


def switch(host: Host, *checks: HealthCheck, **request: Any) -> dict[str, Any]:
    clock = Clock()
    order = StartRequest(activation_id="1", kind=kind_named("nixos"), toplevel=NEW, **request)
    followed = Switch(guard_of(host), order, checks, Lines(), clock=clock, sleep=clock.sleep).run()
    result = switch_result("web1", followed)
    assert not host.play, "the host was asked less than expected"
    assert summary_line(result)
    return result


def test_nothing_to_do_takes_one_round_trip() -> None:
    host = Host(answer("start", "none", unchanged="1"))
    result = switch(host)
    assert (result["outcome"], result["changed"], result["failed"]) == ("unchanged", False, False)
    assert host.log == [("start", False)]


OTHER = "12 {} 1790000000 id switch {} ann@laptop"


def refusal(revision: str) -> tuple[str, str]:
    record = OTHER.format(OLD, revision)
    return answer("start", "none", deployed=record, error="other_revision", message="another")


def test_a_revision_that_may_be_replaced_costs_one_more_question() -> None:
    host = Host(refusal("aaa"), refusal("bbb"), answer("start", "none", unchanged="1"))
    asked: list[DeployRecord] = []
    order = StartRequest("1", kind_named("nixos"), NEW, revision="ccc")
    flow = Switch(guard_of(host), order, [], Lines(), allow=asked.append)
    assert flow.run().status.unchanged
    assert [(record.revision, record.deployer) for record in asked] == [
        ("aaa", "ann@laptop"),
        ("bbb", "ann@laptop"),
    ]
    assert flow.request.known_revision == "bbb"


def test_a_revision_that_must_not_be_replaced_ends_the_deploy() -> None:
    def refuse(_record: DeployRecord) -> None:
        raise NixferryError("no", step="compare revisions")

    host = Host(refusal("aaa"))
    order = StartRequest("1", kind_named("nixos"), NEW, revision="ccc")
    with pytest.raises(NixferryError, match="no"):
        Switch(guard_of(host), order, [], Lines(), allow=refuse).run()


def test_the_confirmation_comes_over_a_fresh_login() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation"),
        answer("confirm", "committed"),
    )
    result = switch(host)
    assert (result["outcome"], result["changed"], result["failed"]) == ("committed", True, False)
    # Only the confirmation needs a login that is younger than the activation.
    assert host.log[1:] == [("status", False), ("confirm", True)]
    assert host.logins == [0, 0, 1]


def test_a_slow_activation_is_waited_for_over_a_fresh_login() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "activating"),
        answer("status", "awaiting-confirmation"),
        answer("confirm", "committed"),
    )
    assert switch(host)["outcome"] == "committed"
    # That wait may have begun before the new system was active: another login than that confirms.
    assert host.log[1:] == [("status", False), ("status", True), ("confirm", True)]
    assert host.logins == [0, 0, 1, 2]


def test_a_connection_that_the_activation_cuts_costs_a_small_part_of_the_time_to_confirm() -> None:
    host = Host(
        answer("start", "activating"),
        ("status", LOST),
        answer("status", "awaiting-confirmation"),
        answer("confirm", "committed"),
    )
    limits: list[int] = []
    run = host.run

    def noted(script: str, *, seconds: int, **others: Any) -> RemoteResult:
        limits.append(seconds)
        return run(script, **others)

    host.run = noted  # type: ignore[method-assign,assignment]
    assert switch(host, timeout_confirm=30)["outcome"] == "committed"
    assert limits[1] == 10
    assert host.log[1:] == [("status", False), ("status", True), ("confirm", True)]


@pytest.mark.parametrize("reason", ["little time", "reboot", "a library in C"])
def test_where_a_cut_connection_would_cost_too_much_only_fresh_logins_wait(reason: str) -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation"),
        answer("confirm", "committed"),
    )
    host.keeps_bounds = reason != "a library in C"
    request = {"little time": {"timeout_confirm": 5}, "reboot": {"reboot": "if-required"}}.get(reason, {})
    assert switch(host, **request)["outcome"] == "committed"
    assert host.logins == [0, 1, 2]


def test_an_interrupted_activation_is_recovered_and_not_confirmed() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation", interrupted="1"),
        answer("status", "awaiting-confirmation", interrupted="1"),
        answer("recover", "rolled-back", reason="guard_killed", message="the guard was killed"),
    )
    assert switch(host)["outcome"] == "rolled-back"


def test_checks_that_fail_abort_and_name_themselves() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation"),
        ("checks", "check=0 3 1 not yet"),
        answer("abort", "rolled-back", reason="aborted", message="the web server is ill"),
    )
    result = switch(host, command_check())
    assert (result["outcome"], result["failed"]) == ("rolled-back", True)
    assert "web1: health check failed: the web server is ill" in result["msg"]
    assert result["health_checks"][0]["detail"] == "exit code 3: not yet"


def test_a_check_whose_time_was_over_says_how_to_give_it_more() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation"),
        ("checks", "check=0 timeout 1 "),
        answer("abort", "rolled-back", reason="aborted", message="ill"),
    )
    result = switch(host, command_check())
    assert "did not end within its timeout of" in result["health_checks"][0]["detail"]
    assert "hangs, or raise its timeout" in result["remedy"]
    assert f"rolled back to {OLD}" in result["msg"]


def test_a_host_that_comes_back_is_asked_again() -> None:
    host = Host(
        answer("start", "activating"),
        ("status", LOST),
        ("status", LOST),
        answer("status", "rolled-back", reason="not_confirmed", message="no controller came"),
    )
    result = switch(host)
    assert (result["outcome"], result["failed"]) == ("rolled-back", True)
    assert "web1: confirm failed: no controller came" in result["msg"]
    assert OLD in result["msg"]
    assert "What to do" in result["msg"]


def test_a_host_that_never_comes_back_is_a_failure_with_an_unknown_state() -> None:
    host = Host(answer("start", "activating"))
    host.run = _lost_after_start(host)  # type: ignore[method-assign]
    result = switch(host, timeout_activation=5, timeout_confirm=5, timeout_roll_back=5)
    assert (result["outcome"], result["failed"], result["changed"]) == ("unknown", True, False)
    assert "could not be reached again" in result["msg"]
    assert summary_line(result) == "state UNKNOWN: the host could not be reached again"


def _lost_after_start(host: Host) -> Any:
    original = host.run

    def run(script: str, **step: str) -> RemoteResult:
        if host.play:
            return original(script, **step)
        raise HostUnreachable("no route to host", step="status")

    return run


def test_a_host_that_lets_in_but_not_to_root_is_waited_for() -> None:
    host = Host(
        answer("start", "activating"),
        ("status", "sudo: a password is required"),
        ("status", "sudo: a password is required"),
        answer("status", "rolled-back", reason="not_confirmed", message="no confirmation came"),
    )
    assert switch(host)["outcome"] == "rolled-back"


def test_a_start_whose_answer_was_lost_is_followed() -> None:
    host = Host(
        ("start", LOST),
        answer("status", "activating"),
        answer("status", "awaiting-confirmation"),
        answer("confirm", "committed"),
    )
    assert switch(host)["outcome"] == "committed"


def test_a_start_whose_answer_was_cut_off_is_followed() -> None:
    """What carries the connection may end without a word, such as an ssh that was killed."""
    host = Host(
        ("start", "nixferry=1\nid=1\n"),
        answer("status", "activating"),
        answer("status", "rolled-back"),
    )
    assert switch(host)["outcome"] == "rolled-back"


def test_a_start_whose_answer_was_cut_off_and_did_nothing_is_an_error() -> None:
    host = Host(("start", "nixferry=1\n"), ("status", "nixferry=1\nerror=no_activation\nend=status"))
    with pytest.raises(NixferryError, match="was cut off"):
        switch(host)


def test_a_start_that_never_arrived_is_an_unreachable_host() -> None:
    host = Host(("start", LOST), ("status", "nixferry=1\nerror=no_activation\nend=status"))
    with pytest.raises(HostUnreachable):
        switch(host)


def test_a_confirmation_that_comes_too_late_reports_the_roll_back() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "awaiting-confirmation"),
        ("confirm", "nixferry=1\nerror=not_awaiting\nend=confirm"),
        answer("status", "rolling-back"),
        answer("status", "rolled-back", reason="not_confirmed", message="too late"),
    )
    assert switch(host)["outcome"] == "rolled-back"


def test_an_interrupted_activation_is_recovered() -> None:
    host = Host(
        answer("start", "activating"),
        ("status", LOST),
        answer("status", "activating", interrupted="1"),
        answer("recover", "rolled-back", reason="interrupted", message="power cut"),
    )
    assert switch(host)["outcome"] == "rolled-back"


def test_a_guard_that_refuses_is_an_error_with_a_remedy() -> None:
    refusal = "nixferry=1\nerror=lock_held\nmessage=busy\nlock_id=7\nlock_deployer=ann\nend=start"
    with pytest.raises(NixferryError, match="busy: ann") as caught:
        switch(Host(("start", refusal)))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("action", "outcome"), [("switch", "committed"), ("boot", "committed"), ("test", "tested")]
)
def test_a_tested_system_is_not_called_committed(action: str, outcome: str) -> None:
    result = switch(Host(answer("start", "committed", action=action)), action=action)
    assert (result["outcome"], result["changed"]) == (outcome, True)


def test_failure_to_roll_back_says_so() -> None:
    host = Host(answer("start", "failed", reason="activation_failed", message="exit code 2"))
    result = switch(host)
    assert (result["outcome"], result["failed"]) == ("failed", True)
    assert "NOT rolled back" in result["msg"]
    assert summary_line(result) == "FAILED and not rolled back"


def test_a_system_that_was_to_be_left_running_is_named() -> None:
    host = Host(
        answer("start", "failed", reason="aborted", message="aborted: no", left_running="1", system=NEW)
    )
    result = switch(host)
    assert (result["outcome"], result["failed"], result["changed"]) == ("failed", True, False)
    assert f"It is still running: {NEW}" in result["msg"]
    assert "could not be restored" not in result["msg"]


def test_a_system_that_a_third_party_has_switched_to_is_named() -> None:
    third = "/nix/store/third"
    host = Host(
        answer(
            "start",
            "failed",
            reason="other_system",
            message="the new system was not committed",
            other_system=third,
            system=NEW,
        )
    )
    result = switch(host)
    assert (result["outcome"], result["failed"], result["changed"]) == ("failed", True, False)
    assert result["other_system"] == third
    assert f"The host was left with what a third party has switched it to: {third}" in result["msg"]
    assert "NOT rolled back" not in result["msg"]
    assert "could not be restored" not in result["msg"]
    assert summary_line(result) == f"FAILED: it runs {third}, to which a third party has switched it"


def test_the_host_waits_for_the_checks_too() -> None:
    order = StartRequest(activation_id="1", kind=kind_named("nixos"), toplevel=NEW, timeout_confirm=10)
    check = command_check()
    assert Switch(guard_of(Host()), order, [check], Lines()).request.timeout_confirm == 10 + check.budget
