# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An activation in steps, against a host that answers from a list."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_host import LOST, NEW, OLD, Clock, Host, Lines, answer, command_check, guard_of

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import kind_named
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.activation import Switch
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.follow import Followed, Follower
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import (
    summary_line,
    switch_result,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.settle import Settlement
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.steps import settle_host

HEALTHY = ("checks", "check=0 0 1 ok")
ILL = ("checks", "check=0 3 1 not yet")
AWAITING = answer("status", "awaiting-confirmation", seconds_left="50")


def activate(host: Host, **request: Any) -> dict[str, Any]:
    clock = Clock()
    order = StartRequest(activation_id="1", kind=kind_named("nixos"), toplevel=NEW, **request)
    checks = [command_check()]
    switch = Switch(guard_of(host), order, checks, Lines(), clock=clock, sleep=clock.sleep, hold=300)
    result = switch_result("web1", switch.run())
    assert not host.play, "the host was asked less than expected"
    assert summary_line(result)
    return result


def settlement(host: Host) -> Settlement:
    clock = Clock()
    follower = Follower(guard_of(host), "1", Lines(), clock=clock, sleep=clock.sleep)
    return Settlement(follower, first_wait=5, timeout_activation=10, timeout_roll_back=10)


def ended(host: Host, followed: Followed) -> tuple[str, bool, bool]:
    assert not host.play, "the host was asked less than expected"
    result = switch_result("web1", followed)
    return result["outcome"], result["changed"], result["failed"]


def test_a_healthy_host_is_held_and_not_confirmed() -> None:
    host = Host(
        answer("start", "activating"),
        AWAITING,
        HEALTHY,
        answer("hold", "awaiting-confirmation", seconds_left="300"),
    )
    result = activate(host)
    assert (result["outcome"], result["changed"], result["failed"]) == ("awaiting-confirmation", True, False)
    assert (result["activation"], result["seconds_left"]) == ("1", 300)
    assert result["deadline"].endswith("+00:00")
    # Over a login that is younger than the activation.
    assert host.logins == [0, 0, 1, 1]


def test_a_host_that_is_ill_is_not_held() -> None:
    host = Host(
        answer("start", "activating"),
        AWAITING,
        ILL,
        answer("abort", "rolled-back", reason="aborted", message="aborted: ill"),
    )
    assert activate(host)["outcome"] == "rolled-back"


def test_a_host_whose_time_is_up_while_it_is_judged_has_rolled_back() -> None:
    host = Host(
        answer("start", "activating"),
        AWAITING,
        HEALTHY,
        ("hold", "nixferry=1\nerror=not_awaiting\nend=hold"),
        answer("status", "rolling-back"),
        answer("status", "rolled-back", reason="not_confirmed", message="too late"),
    )
    assert activate(host)["outcome"] == "rolled-back"


def test_a_host_that_does_not_come_back_keeps_no_host_waiting_for_its_roll_back() -> None:
    clock = Clock()
    host = Host(answer("start", "activating"), *[("status", LOST)] * 500)
    order = StartRequest("1", kind_named("nixos"), NEW, timeout_activation=20, timeout_confirm=20)
    switch = Switch(guard_of(host), order, (), Lines(), clock=clock, sleep=clock.sleep, hold=300)
    followed = switch.run()
    assert switch_result("web1", followed)["outcome"] == "unknown"
    assert 40 <= clock.now < 120


def test_confirm_runs_the_checks_once_more() -> None:
    host = Host(AWAITING, HEALTHY, answer("confirm", "committed"))
    assert ended(host, settlement(host).confirm([command_check()])) == ("committed", True, False)
    assert all(fresh for _verb, fresh in host.log)
    # The first one may be older than the end of the activation.
    assert host.logins == [1, 2, 2]


def test_what_is_not_healthy_any_more_is_not_confirmed() -> None:
    host = Host(AWAITING, ILL, answer("abort", "rolled-back", reason="aborted", message="ill"))
    assert ended(host, settlement(host).confirm([command_check()])) == ("rolled-back", False, True)


def test_to_confirm_twice_changes_nothing() -> None:
    host = Host(answer("status", "committed"))
    assert ended(host, settlement(host).confirm(())) == ("committed", False, False)


def test_what_has_gone_back_cannot_be_confirmed() -> None:
    host = Host(answer("status", "rolled-back", reason="not_confirmed", message="no controller came"))
    assert ended(host, settlement(host).confirm(())) == ("rolled-back", False, True)


def test_a_host_that_answers_late_is_confirmed() -> None:
    host = Host(("status", LOST), AWAITING, answer("confirm", "committed"))
    assert ended(host, settlement(host).confirm(())) == ("committed", True, False)


def test_an_unknown_activation_is_an_error() -> None:
    host = Host(("status", "nixferry=1\nerror=no_activation\nmessage=unknown\nend=status"))
    with pytest.raises(NixferryError, match="unknown"):
        settlement(host).confirm(())


@pytest.mark.parametrize("phase", ["activating", "awaiting-confirmation"])
def test_abort_goes_back_at_once(phase: str) -> None:
    host = Host(answer("status", phase), answer("abort", "rolled-back", reason="aborted", message="no"))
    followed = settlement(host).abort("no")
    assert (followed.status.phase, followed.acted) == ("rolled-back", True)
    assert not host.play


def test_abort_is_asked_for_again_when_it_was_lost() -> None:
    host = Host(
        AWAITING, ("abort", LOST), ("abort", LOST), AWAITING, answer("abort", "rolled-back", reason="aborted")
    )
    followed = settlement(host).abort("no")
    assert (followed.status.phase, followed.acted) == ("rolled-back", True)


def test_an_interrupted_activation_is_put_in_order_by_abort() -> None:
    host = Host(
        answer("status", "activating", interrupted="1"),
        answer("status", "activating", interrupted="1"),
        answer("recover", "rolled-back", reason="interrupted"),
    )
    assert settlement(host).abort("no").status.phase == "rolled-back"


def options(step: str, activation: object, **others: Any) -> dict[str, Any]:
    return {
        "step": step,
        "activation": activation,
        "reason": "web2 is ill",
        "take_back": False,
        "health_checks": [],
        "timeout_confirm": 1,
        "timeout_activation": 10,
        "timeout_rollback": 10,
        "timeout_reboot": 10,
        "kind": "nixos",
        "profile": "",
        **others,
    }


def settle(
    host: Host, step: str, activation: object, *, check_mode: bool = False, **others: Any
) -> dict[str, Any]:
    result = settle_host(guard_of(host), options(step, activation, **others), Lines(), check_mode=check_mode)
    assert not host.play
    return result


EARLIER = {
    "outcome": "awaiting-confirmation",
    "activation": "1",
    "old": OLD,
    "new": NEW,
    "reboot_required": False,
}


@pytest.mark.parametrize("step", ["confirm", "abort"])
def test_what_was_up_to_date_has_nothing_to_settle(step: str) -> None:
    earlier = {"outcome": "unchanged", "changed": False}
    result = settle(Host(), step, earlier)
    assert (result["outcome"], result["changed"], result["failed"]) == ("unchanged", False, False)
    assert settle(Host(), step, "")["outcome"] == "unchanged"


@pytest.mark.parametrize("step", ["confirm", "abort"])
def test_a_failure_that_was_left_to_a_later_task_is_reported_by_it(step: str) -> None:
    earlier = {"outcome": "rolled-back", "deferred_failure": True, "msg": "web1: ill"}
    result = settle(Host(), step, earlier)
    assert (result["outcome"], result["failed"], result["msg"]) == ("rolled-back", True, "web1: ill")
    assert not result["deferred_failure"]


def test_an_abort_says_why() -> None:
    host = Host(AWAITING, answer("abort", "rolled-back", reason="aborted", message="aborted: web2 is ill"))
    result = settle(host, "abort", EARLIER)
    assert (result["outcome"], result["changed"], result["failed"]) == ("rolled-back", True, False)
    told, remedy = result["msg"].splitlines()
    assert told == f"web1: deploy failed: it was rolled back to {OLD}: web2 is ill"
    assert remedy.startswith("What to do: Correct what failed on the hosts that are named")


def test_what_is_committed_is_not_aborted() -> None:
    result = settle(Host(answer("status", "committed")), "abort", "1")
    assert (result["outcome"], result["failed"]) == ("committed", True)
    assert "nix_rollback" in result["msg"]


def test_a_host_that_is_lost_is_unknown_and_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_settlement: Settlement, _reason: str) -> Followed:
        raise HostUnreachable("no route to host", step="status")

    monkeypatch.setattr(Settlement, "abort", lost)
    result = settle(Host(), "abort", EARLIER)
    assert (result["outcome"], result["failed"], result["new"]) == ("unknown", True, NEW)
    assert "rolls back by itself" in result["msg"]
    with pytest.raises(HostUnreachable):
        settle(Host(), "abort", "1")


@pytest.mark.parametrize(("step", "outcome"), [("confirm", "committed"), ("abort", "rolled-back")])
def test_check_mode_asks_nobody(step: str, outcome: str) -> None:
    result = settle(Host(), step, "1", check_mode=True)
    assert (result["outcome"], result["changed"], result["failed"]) == (outcome, True, False)


def test_an_activation_has_to_be_named() -> None:
    with pytest.raises(NixferryError, match="`activation` is missing"):
        settle(Host(), "confirm", None)
