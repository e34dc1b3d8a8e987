# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller asks, waits for and says when the host reboots inside an activation."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_host import LOST, Clock, Host, Lines, answer, guard_of, verb_of

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import new_activation_id
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import kind_named
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import (
    StartRequest,
    request_fields,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.activation import Switch
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import (
    SWITCH_OPTIONS,
    start_request,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import (
    summary_line,
    switch_result,
)

NEW = f"/nix/store/{'b' * 32}-system"
AWAY = ("status", LOST)


def switch(host: Host, **request: Any) -> tuple[dict[str, Any], list[str], float]:
    """Returns the task's result, the lines of progress, and the seconds it took."""
    clock, lines = Clock(), Lines()
    order = StartRequest(activation_id="1", kind=kind_named("nixos"), toplevel=NEW, **request)
    followed = Switch(guard_of(host), order, (), lines, clock=clock, sleep=clock.sleep).run()
    return switch_result("web1", followed), lines.lines, clock.now


def test_host_that_reboots_is_waited_for_and_confirmed() -> None:
    host = Host(
        answer("start", "activating", reboot="planned"),
        AWAY,
        AWAY,
        answer("status", "awaiting-confirmation", reboot="done"),
        answer("confirm", "committed", reboot="done"),
    )
    result, lines, _seconds = switch(host, reboot="if-required")
    assert (result["outcome"], result["rebooted"], result["reboot_required"]) == ("committed", True, False)
    assert lines == [
        "activating",
        "rebooting: waiting for it to come back",
        "awaiting confirmation",
        "is back after the reboot",
    ]
    assert "after a reboot" in summary_line({**result, "generation": 2})


def test_order_to_reboot_is_shown_when_it_is_seen() -> None:
    host = Host(
        answer("start", "activating", reboot="planned"),
        answer("status", "activating", reboot="under-way"),
        AWAY,
        answer("status", "rolled-back", reboot="done", reason="boot_failed", message="came back alone"),
    )
    result, lines, _seconds = switch(host, reboot="always")
    assert (result["outcome"], result["rebooted"]) == ("rolled-back", True)
    assert "came back alone" in result["msg"]
    assert "journalctl --boot -1" in result["msg"]
    assert "rebooting" in lines


def test_start_whose_answer_the_reboot_has_swallowed_is_followed() -> None:
    host = Host(
        ("start", LOST),
        AWAY,
        AWAY,
        answer("status", "awaiting-confirmation", reboot="done"),
        answer("confirm", "committed", reboot="done"),
    )
    assert switch(host, reboot="if-required")[0]["outcome"] == "committed"


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("activating", "switching the host off and on brings the old one back"),
        ("rolling-back", "its reboot into the old system"),
    ],
)
def test_host_that_does_not_come_back_is_reported_with_what_is_known(phase: str, words: str) -> None:
    host = Host(answer("start", phase, reboot="under-way"))
    host.run = _away_from(host, 1)  # type: ignore[method-assign]
    limits = {"timeout_activation": 10, "timeout_confirm": 10, "timeout_roll_back": 10}
    result, _lines, seconds = switch(host, reboot="always", timeout_reboot=100, **limits)
    assert (result["outcome"], result["failed"]) == ("unknown", True)
    assert words in result["msg"]
    assert "timeout_reboot" in result["msg"]
    assert 250 <= seconds <= 400


def _away_from(host: Host, answers: int) -> Any:
    ask = host.run

    def run(script: str, **step: str) -> Any:
        nonlocal answers
        answers -= 1
        if answers < 0:
            host.play.insert(0, (verb_of(script), LOST))
        return ask(script, **step)

    return run


def test_host_that_reboots_when_out_of_reach_is_shown_that_it_is_not() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "activating"),
        answer("status", "rolled-back", reason="not_confirmed"),
        answer("status", "rolled-back", reason="not_confirmed"),
    )
    result, _lines, _seconds = switch(host, reboot_if_unreachable=True)
    assert (result["outcome"], result["rebooted"]) == ("rolled-back", False)
    assert host.fresh_logins == 2


def test_host_that_was_out_of_reach_is_waited_for() -> None:
    host = Host(
        answer("start", "activating"),
        answer("status", "activating"),
        answer("status", "rolled-back", reason="not_confirmed"),
        AWAY,
        AWAY,
        answer("status", "rolled-back", reason="not_confirmed", reboot="done"),
    )
    assert switch(host, reboot_if_unreachable=True)[0]["rebooted"]


def options(**given: Any) -> dict[str, Any]:
    return {**{name: option.get("default") for name, option in SWITCH_OPTIONS.items()}, **given}


def test_reboot_is_ordered() -> None:
    request = start_request(options(reboot="if-required", timeout_reboot=7), NEW, "boot")
    assert (request.reboot, request.timeout_reboot) == ("if-required", 7)
    assert ("reboot", "if-required") in list(request_fields(request))
    assert start_request(options(reboot="always"), NEW, "dry-activate").reboot == "never"


@pytest.mark.parametrize(
    ("given", "action", "words"),
    [
        ({"kind": "profile", "profile": "/p", "reboot": "always"}, "switch", "no meaning for kind profile"),
        ({"kind": "darwin", "reboot": "if-required"}, "switch", "no meaning for kind darwin"),
        ({"reboot": "always"}, "test", "contradict"),
        ({"timeout_reboot": 0}, "switch", "timeout_reboot is 0"),
    ],
)
def test_reboot_without_a_meaning_is_refused(given: dict[str, Any], action: str, words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        start_request(options(**given), NEW, action)


def test_unknown_reboot_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="maybe"):
        StartRequest(new_activation_id(), kind_named("nixos"), NEW, reboot="maybe")
