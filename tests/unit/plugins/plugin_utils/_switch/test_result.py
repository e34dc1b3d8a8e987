# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of a switch: the same keys in check mode, and the parts of a failure as data."""

from __future__ import annotations

import pytest
from scripted_host import NEW, OLD, answer

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import read_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus, read_status
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import parse_answer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.follow import Followed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import (
    check_result,
    switch_result,
    unknown_result,
)


def status(phase: str, **fields: str) -> GuardStatus:
    _verb, text = answer("status", phase, **fields)
    return read_status(parse_answer("status", RemoteResult(0, text, "")))


def test_check_mode_has_the_keys_of_a_real_run() -> None:
    lines = ["nixferry=1", "system=x86_64-linux", f"current={OLD}", "profile=/p", "generation=3", "end=probe"]
    probe = read_probe(parse_answer("probe", RemoteResult(0, "\n".join(lines), "")))
    real = switch_result("web1", Followed(status("committed", old_generation="3", new_generation="4"), ()))
    checked = check_result(probe, NEW, "switch", None)
    unknown = unknown_result("switch", "known later")
    assert set(unknown) == {*checked, "msg"}
    assert (unknown["changed"], unknown["outcome"]) == (True, checked["outcome"])
    assert {name: type(value) for name, value in unknown.items() if name != "msg"} == {
        name: type(value) for name, value in checked.items()
    }
    # The name of an activation is nothing that check mode could tell.
    assert real.keys() - checked.keys() == {"activation"}
    assert {key: type(value) for key, value in checked.items() if key in real} == {
        key: type(value) for key, value in real.items() if key in checked
    }
    assert (checked["old"], checked["old_generation"], checked["outcome"]) == (OLD, 3, "committed")


@pytest.mark.parametrize("log", ["", "one\ntwo"])
def test_a_failure_is_told_in_words_and_as_data(log: str) -> None:
    fields = {"reason": "not_confirmed", "message": "no confirmation came"}
    failed = status("rolled-back", **fields, **({"log": log.replace("\n", "%0a")} if log else {}))
    result = switch_result("web1", Followed(failed, ()))
    assert result["failed"]
    assert (result["where"], result["step"]) == ("web1", "confirm")
    assert result["cause"] == f"no confirmation came. The host was rolled back to {OLD}"
    assert result["remedy"]
    assert result["log"] == log.splitlines()
    # The log stands once, in its own key.
    assert result["msg"] == f"web1: confirm failed: {result['cause']}\nWhat to do: {result['remedy']}"
