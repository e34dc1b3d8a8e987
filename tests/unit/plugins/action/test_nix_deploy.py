# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy and switch in one task: which comes when, and what the task returns of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.action import nix_copy, nix_deploy, nix_switch
from ansible_collections.nixferry.deploy.plugins.action.nix_deploy import Deploy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.explain import CopyError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.phases import PHASES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.system import Wanted

TOP = f"/nix/store/{'a' * 32}-system"
COPIED = {"failed": False, "changed": True, "copied": [TOP], "copied_paths": 1, "transport": "ssh"}
SWITCHED = {"failed": False, "changed": True, "outcome": "committed"}
SYSTEM = Wanted(TOP)
UNCHANGED = {"failed": False, "changed": False, "outcome": "unchanged"}


def refused(code: str) -> GuardRefusal:
    return GuardRefusal(code, code, step="start")  # type: ignore[arg-type]


@dataclass
class Activation:
    """Answers each activation with the next result, or raises it."""

    answers: list[Any]
    check_mode: bool = False
    diff_mode: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    progress: Any = None
    log: list[str] = field(default_factory=list)

    def run(self, _wanted: Wanted | None) -> dict[str, Any]:
        self.log.append("switch")
        answer = self.answers.pop(0)
        if isinstance(answer, NixferryError):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def copies(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was asked of the copy. It succeeds."""
    asked: list[dict[str, Any]] = []

    def copy(
        _shell: object, _options: object, paths: list[str], _progress: object, **how: Any
    ) -> dict[str, Any]:
        asked.append({"paths": paths, **how})
        return dict(COPIED)

    monkeypatch.setattr(nix_deploy, "copy_to_host", copy)
    return asked


def deploy(
    activation: Activation, wanted: Wanted | None = SYSTEM, phases: tuple[str, ...] = PHASES
) -> dict[str, Any]:
    return Deploy(activation, None, wanted).run(phases)  # type: ignore[arg-type]


def test_an_unchanged_host_is_asked_for_nothing_but_the_switch(copies: list[dict[str, Any]]) -> None:
    assert deploy(Activation([UNCHANGED])) == UNCHANGED
    assert copies == []


def test_a_host_without_the_system_is_not_asked_for_it_again(copies: list[dict[str, Any]]) -> None:
    activation = Activation([refused("invalid_toplevel"), SWITCHED])
    result = deploy(activation)
    assert activation.log == ["switch", "switch"]
    assert [(asked["paths"], asked["absent"]) for asked in copies] == [([TOP], True)]
    assert (result["outcome"], result["changed"], result["transfer"]["copied"]) == ("committed", True, [TOP])


def test_what_this_run_has_built_is_copied_first(copies: list[dict[str, Any]], tmp_path: Path) -> None:
    here = Wanted(str(tmp_path), built_newly=True)
    activation = Activation([SWITCHED])
    assert deploy(activation, here)["outcome"] == "committed"
    assert copies[0]["absent"] is True


def test_what_the_host_itself_has_built_need_not_be_here(copies: list[dict[str, Any]]) -> None:
    assert deploy(Activation([SWITCHED]), Wanted(TOP, built_newly=True))["outcome"] == "committed"
    assert copies == []


def test_without_nix_the_copy_says_where_it_was_looked_for(copies: list[dict[str, Any]]) -> None:
    deploy(Activation([refused("no_nix"), SWITCHED]))
    assert copies[0]["absent"] is False


def test_any_other_refusal_ends_it(copies: list[dict[str, Any]]) -> None:
    with pytest.raises(GuardRefusal, match="lock_held"):
        deploy(Activation([refused("lock_held")]))
    assert copies == []


def test_nothing_is_activated_after_a_copy_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> dict[str, Any]:
        raise CopyError("no room")

    monkeypatch.setattr(nix_deploy, "copy_to_host", fail)
    activation = Activation([refused("invalid_toplevel")])
    with pytest.raises(CopyError, match="no room"):
        deploy(activation)
    assert activation.log == ["switch"]


def test_a_switch_that_failed_tells_what_was_copied() -> None:
    failed = {"failed": True, "changed": False, "outcome": "rolled-back", "msg": "web1: activate failed"}
    result = deploy(Activation([refused("invalid_toplevel"), failed]))
    assert (result["failed"], result["outcome"], result["msg"]) == (True, "rolled-back", failed["msg"])
    assert result["transfer"]["copied_paths"] == 1


@pytest.mark.parametrize("mode", ["check_mode", "diff_mode"])
def test_the_copy_comes_first_when_something_is_to_be_told(copies: list[dict[str, Any]], mode: str) -> None:
    """Otherwise it would be told against a store without the system."""
    activation = replace(Activation([{**SWITCHED, "diff": {"prepared": "units"}}]), **{mode: True})
    result = deploy(activation)
    assert copies[0][mode] is True
    assert result["diff"] == [{"prepared": "units"}]


def test_both_differences_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {**COPIED, "diff": {"prepared": "paths"}}
    monkeypatch.setattr(nix_deploy, "copy_to_host", lambda *_arguments, **_options: dict(told))
    activation = Activation([{**SWITCHED, "diff": {"prepared": "units"}}], diff_mode=True)
    result = deploy(activation)
    assert [part["prepared"] for part in result["diff"]] == ["paths", "units"]
    assert "diff" not in result["transfer"]


def test_a_system_that_only_the_build_will_tell() -> None:
    activation = Activation([{**SWITCHED, "msg": "known later"}], check_mode=True)
    result = deploy(activation, None)
    assert (result["changed"], result["msg"], result["transfer"]["copied"]) == (True, "known later", [])


def test_only_one_phase(copies: list[dict[str, Any]]) -> None:
    activation = Activation([SWITCHED])
    copied = deploy(activation, phases=("copy",))
    assert (copied["changed"], "outcome" in copied, activation.log) == (True, False, [])
    assert deploy(activation, phases=("activate",)) == SWITCHED
    assert len(copies) == 1
    assert deploy(activation, phases=()) == {"failed": False, "changed": False}


def test_the_options_are_those_of_both_actions() -> None:
    """But for what has no meaning if both are done at once: other paths, another root, the steps of a transaction."""
    copy, switch, both = (
        action.ActionModule.specification["argument_spec"] for action in (nix_copy, nix_switch, nix_deploy)
    )
    steps = {"step", "activation", "reason", "take_back", "timeout_hold", "peers", "peer_steps"}
    assert {**copy, **switch, **both} == {**both, **copy, **switch}
    assert set(both) == (set(copy) | set(switch)) - {"paths", "to_root"} - steps | {"phases"}
