# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an ordinary deploy prints: a heading for each step, however many hosts, and none that only ends the role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from stage import Stage

HEADING = re.compile(r"^TASK \[(?:nixferry\.deploy\.)?(?:\w+ : )?(.*?)\] \*", re.MULTILINE)
READ = "Read what each host is built from"
BUILD = "Build the systems of all hosts together"
DEPLOY = "Copy and activate the system, and roll back if it is not healthy"
APART = "Run the steps that have to be apart, and collect garbage"
CANARY = "canary-4711"
FOUND = {"installed": True, "managed_by": "files", "unreachable": False, "installer": "package"}
# The first headings of roles that look at a host first; their answer decides on a single task.
OTHERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nix": (
        {"answers": {"nix_info": FOUND, "nix_conf": {"snippet": "", "daemon_restart_needed": False}}},
        [
            "Check the variables",
            "Look at the host",
            "Look at its Nix",
            "Install Nix, manage its settings, or remove it",
            "Let users talk to the daemon",
            "Manage the settings",
        ],
    ),
    "builder_host": (
        {"builder_host_state": "absent", "answers": {"nix_info": FOUND}},
        [
            "Check the variables",
            "Check the options",
            "Look at its Nix",
            "Let clients build here, or no longer",
        ],
    ),
}
ROLES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nixos": ({}, [READ, BUILD, DEPLOY]),
    "profile": ({"profile_kind": "home-manager"}, [READ, BUILD, DEPLOY]),
}


def headings(output: str) -> list[str]:
    """The headings of the role's own tasks; Ansible's own checks the types of the role's variables."""
    return [name for name in HEADING.findall(output) if not name.startswith("Validating arguments")]


@pytest.mark.parametrize("role", ROLES)
def test_an_ordinary_deploy_has_a_heading_for_each_step(stage: Stage, role: str) -> None:
    variables, steps = ROLES[role]
    hosts = dict.fromkeys(("a", "b", "c"), variables)
    done = stage.run([{"hosts": "all", "roles": [f"nixferry.deploy.{role}"]}], hosts, shows_skipped=True)
    assert done.return_code == 0, done.output
    told = headings(done.output)
    # What is skipped is one task, whatever can be asked for.
    own = [name for name in told if name != APART]
    assert own == steps, done.output
    assert len(told) <= len(steps) + (1 if role == "nixos" else 0), done.output
    assert "End here" not in done.output
    assert done.output.count("Validating arguments") == 1, done.output


def test_the_playbook_does_not_have_ansible_check_the_variables(stage: Stage) -> None:
    """Ansible would show the whole specification of the role with a wrong value, and has a heading for that."""
    done = stage.run(stage.playbook("deploy"), {"a": {}, "b": {}}, shows_skipped=True)
    assert done.return_code == 0, done.output
    assert HEADING.findall(done.output) == [READ, BUILD, DEPLOY, APART], done.output
    wrong = {"a": {"nixos_timeout_confirm": "soon", "nixos_secrets": CANARY}, "b": {}}
    done = stage.run(stage.playbook("deploy"), wrong)
    assert done.failed == {"a"}, done.output
    assert "nixos_timeout_confirm is not a valid int; nixos_secrets is not a valid dict" in done.output
    assert "argument_spec_data" not in done.output
    assert CANARY not in done.output


def test_the_playbook_rolls_back_under_as_few_headings(stage: Stage) -> None:
    done = stage.run(stage.playbook("rollback"), {"a": {}}, shows_skipped=True)
    assert done.return_code == 0, done.output
    assert "Validating arguments" not in done.output
    assert done.steps["a"] == ["Roll back to an earlier generation"]


@pytest.mark.parametrize("role", OTHERS)
def test_other_roles_have_a_heading_for_what_they_do(stage: Stage, role: str) -> None:
    variables, steps = OTHERS[role]
    facts = {"system": "Linux", "distribution": "Debian", "os_family": "Debian"}
    play = {"hosts": "all", "roles": [f"nixferry.deploy.{role}"]}
    done = stage.run([play], {"a": {**variables, "ansible_facts": facts}}, shows_skipped=True)
    assert headings(done.output)[: len(steps)] == steps, done.output
    assert "End here" not in done.output


def test_the_task_in_which_a_host_without_a_build_fails_says_so(stage: Stage) -> None:
    hosts = {
        "good": {},
        "bad": {"answers": {"nix_build": {"failed": True, "msg": "bad: build failed: no luck"}}},
    }
    done = stage.run([{"hosts": "all", "roles": ["nixferry.deploy.nixos"]}], hosts)
    assert done.failed == {"bad"}, done.output
    assert f"{DEPLOY}; report the failed build of bad" in headings(done.output), done.output
