# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that cannot be reached: the play may go on all the same, and offline hosts are left out on request."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Performance, Stage

BUILD = "Build the systems of all hosts together"
COPY = "Copy the missing paths to the host"
CHECKS = "Run the pre-deploy checks"
STAGE_SECRETS = "Prepare the secrets for the new system"
SWITCH = "Activate the system, and roll back if it is not healthy"
SECRETS_AFTER = "Place the secrets that come after the activation"
GO_ON = "Go on"
AWAY = {"unreachable": True}
# No process listens there.
OFFLINE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
HOME = {"profile_kind": "home-manager"}
ON_TARGET = {"nixos_build_on": "target", "profile_build_on": "target"}
ASKED = {"nixos_skip_offline": True, "profile_skip_offline": True}
SECRETS = {"nixos_secrets": {"token": {"text": "x"}}, "nixos_pre_deploy_checks": [{"command": "true"}]}

# What a role does on a healthy host; a host that is lost at one of these steps gets none of those after it.
STEPS = {
    "nixos": (SECRETS, [COPY, CHECKS, STAGE_SECRETS, SWITCH, SECRETS_AFTER]),
    "profile": (HOME, [COPY, SWITCH]),
}
# The first step of other roles that reaches the host, with its variables.
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "nix": ({}, "Look at its Nix"),
    "builder_host": (
        {"builder_host_public_keys": ["ssh-ed25519 " + "A" * 60]},
        "Look at its Nix",
    ),
    "builder_client": (
        {"builder_client_builders": [{"name": "big", "host": "192.0.2.1"}]},
        "Register the builder",
    ),
    "builder_docker": ({}, "Look for an engine"),
    "cache_client": ({}, "Look at the Nix of the host"),
    "cache_server": ({"cache_server_name": "cache.example.org"}, "Install nginx"),
}


def plays_and_hosts() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    plays, hosts = [], {}
    for role, (variables, steps) in STEPS.items():
        groups: dict[str, dict[str, dict[str, Any]]] = {
            "lost": {
                "well": variables,
                **{str(number): {**variables, "answers": {step: AWAY}} for number, step in enumerate(steps)},
            },
            "target": {
                "well": {**HOME, **ON_TARGET},
                "away": {**HOME, **ON_TARGET, "answers": {"nix_build": AWAY}},
            },
            # The offline host is the first one: it must not keep a task that runs once from the others.
            "asked": {
                "away": {**HOME, **ASKED, **OFFLINE},
                "well": {**HOME, **ASKED},
                "not_asked": HOME,
            },
            "all_away": {name: {**HOME, **ASKED, **OFFLINE} for name in ("a", "b")},
        }
        for group, members in groups.items():
            plays.append({"hosts": f"{role}_{group}", "roles": [f"nixferry.deploy.{role}"]})
            for name, given in members.items():
                hosts[f"{role}_{group}_{name}"] = {**given, "group": f"{role}_{group}"}
    for role, (variables, step) in OTHERS.items():
        plays.append({"hosts": role, "roles": [f"nixferry.deploy.{role}"]})
        facts = {"system": "Linux"}
        hosts[f"{role}_away"] = {**variables, "ansible_facts": facts, "answers": {step: AWAY}, "group": role}
    after = {"name": GO_ON, "ansible.legacy.command": "true"}
    return [{**play, "ignore_unreachable": True, "post_tasks": [after]} for play in plays], hosts


@pytest.fixture(scope="module")
def done(stage: Stage) -> Performance:
    """All plays in one run, which goes on with hosts that are lost."""
    return stage.run(*plays_and_hosts())


def steps_of(done: Performance, host: str) -> list[str]:
    """What was done on a host after the build, which runs once for all."""
    return [step for step in done.steps[host] if step != BUILD]


def test_no_host_fails_because_it_was_lost(done: Performance) -> None:
    assert (done.return_code, done.failed) == (0, frozenset()), done.output


@pytest.mark.parametrize("role", STEPS)
def test_a_role_ends_on_a_lost_host(done: Performance, role: str) -> None:
    _variables, steps = STEPS[role]
    for number in range(len(steps)):
        assert steps_of(done, f"{role}_lost_{number}") == [*steps[: number + 1], GO_ON]
    assert steps_of(done, f"{role}_lost_well") == [*steps, GO_ON]


@pytest.mark.parametrize("role", STEPS)
def test_a_lost_host_that_should_build_for_itself(done: Performance, role: str) -> None:
    assert steps_of(done, f"{role}_target_away") == [GO_ON]
    assert steps_of(done, f"{role}_target_well") == [SWITCH, GO_ON]


@pytest.mark.parametrize("role", STEPS)
def test_offline_hosts_are_left_out_before_anything_is_evaluated(done: Performance, role: str) -> None:
    # The build for the others may run on it: it happens on the controller.
    assert steps_of(done, f"{role}_asked_away") == [GO_ON]
    assert steps_of(done, f"{role}_asked_well") == [COPY, SWITCH, GO_ON]
    assert steps_of(done, f"{role}_asked_not_asked") == [COPY, SWITCH, GO_ON]
    assert built_for(done, f"{role}_asked") == [f"{role}_asked_not_asked", f"{role}_asked_well"]
    assert done.steps[f"{role}_all_away_a"] == done.steps[f"{role}_all_away_b"] == [GO_ON]


@pytest.mark.parametrize("role", OTHERS)
def test_other_roles_end_on_a_lost_host(done: Performance, role: str) -> None:
    assert done.steps[f"{role}_away"][-2:] == [OTHERS[role][1], GO_ON]


def test_offline_hosts_are_unreachable_and_leave_the_play_as_a_rule(stage: Stage) -> None:
    plays, hosts = plays_and_hosts()
    asked = [{**play, "ignore_unreachable": False} for play in plays if play["hosts"] == "nixos_asked"]
    own = {name: given for name, given in hosts.items() if given["group"] == "nixos_asked"}
    done = stage.run(asked, own)
    assert (done.return_code, done.failed) == (4, frozenset()), done.output
    assert done.steps["nixos_asked_away"] == []
    assert built_for(done, "nixos_asked") == ["nixos_asked_not_asked", "nixos_asked_well"]


def test_a_transaction_knows_about_an_offline_host(stage: Stage) -> None:
    """It counts as lost, and its own failure says why nothing was built for it."""
    asked = {**ASKED, "nixos_transaction": True, "group": "together"}
    hosts = {"well": asked, "offline": {**asked, **OFFLINE}}
    play = {"hosts": "together", "ignore_unreachable": True, "roles": ["nixferry.deploy.nixos"]}
    done = stage.run([play], hosts)
    assert done.failed == {"offline"}, done.output
    assert "Nothing was built for this host, which could not be reached" in done.output
    assert done.steps["offline"] == []
    assert set(done.options["well"][SWITCH]["peers"]) == {"offline", "well"}


@pytest.mark.parametrize("rescued", [False, True], ids=["ignored", "rescued"])
def test_a_transaction_notices_hosts_that_stay_in_the_play(stage: Stage, rescued: bool) -> None:
    """Nothing is activated if a host is lost before, whether or not Ansible goes on with that host."""
    together = {**SECRETS, "nixos_transaction": True, "group": "together"}
    answer = {"failed": True} if rescued else AWAY
    bad = {f"bad_{number}": {COPY: answer, CHECKS: answer, STAGE_SECRETS: answer} for number in range(3)}
    for number, answers in enumerate(bad.values()):
        for step in (COPY, CHECKS, STAGE_SECRETS)[:number]:
            del answers[step]
    hosts = {"well": together, **{name: {**together, "answers": answers} for name, answers in bad.items()}}
    role = {"ansible.builtin.include_role": {"name": "nixferry.deploy.nixos"}}
    after = {"name": GO_ON, "ansible.legacy.command": "true"}
    tasks = [{"block": [role], "rescue": [after]}] if rescued else [role]
    play = {"hosts": "together", "ignore_unreachable": not rescued, "tasks": tasks}
    done = stage.run([play], hosts)
    assert done.options["well"][SWITCH]["found lost"] == sorted(bad), done.output


def built_for(done: Performance, group: str) -> list[str]:
    """The hosts that the only build of a group was for."""
    (built,) = [
        given[BUILD] for host, given in done.options.items() if host.startswith(group) and BUILD in given
    ]
    return sorted(built["sources"])
