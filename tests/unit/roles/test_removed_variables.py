# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is set through `module_defaults` reaches the roles' tasks; a variable that a role had once is refused."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring
from stage import Stage

REPOSITORY = Path(__file__).parents[3]
STEPS = ("build_together", "deploy")
# To the parts of a deploy in one task the defaults of both actions apply.
PARTS = {"nix_deploy": ("nix_copy", "nix_switch")}
# The tasks that read a role's variables: those of the role profile are for a good part those of the role nixos.
TASKS = {
    "nixos": sorted((REPOSITORY / "roles/nixos/tasks").glob("*.yml")),
    "profile": [
        *(REPOSITORY / f"roles/nixos/tasks/{name}.yml" for name in STEPS),
        REPOSITORY / "roles/profile/tasks/rollback.yml",
    ],
}
BUILD = "Build the systems of all hosts together"
COPY = "Copy the missing paths to the host"
SWITCH = "Activate the system, and roll back if it is not healthy"
CONFIRM = "Confirm every host, or roll back every host"
BACK = "Roll back to an earlier generation"


def removed(role: str) -> dict[str, dict[str, Any]]:
    variables = yaml.safe_load((REPOSITORY / f"roles/{role}/vars/main.yml").read_text())
    return dict(variables[f"_{role}_removed"])


def calls(role: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The actions of the collection that the tasks of a role call, with the options that they give."""
    for path in TASKS[role]:
        for task in yaml.safe_load(path.read_text()):
            for name, given in task.items():
                action = name.removeprefix("nixferry.deploy.")
                if action != name:
                    for part in PARTS.get(action, (action,)):
                        yield part, given


def options_of(action: str) -> set[str]:
    path = REPOSITORY / f"plugins/modules/{action}.py"
    found, *_rest = get_docstring(
        str(path), fragment_loader, is_module=True, collection_name="nixferry.deploy", plugin_type="module"
    )
    return set(found["options"])


@pytest.mark.parametrize("role", TASKS)
def test_what_replaces_a_variable_is_there_and_not_given_by_the_role(role: str) -> None:
    given: dict[str, set[str]] = {}
    for action, options in calls(role):
        given.setdefault(action, set()).update(options)
    understood = {action: options_of(action) for action in given}
    specification = (REPOSITORY / f"roles/{role}/meta/argument_specs.yml").read_text()
    defaults = yaml.safe_load((REPOSITORY / f"roles/{role}/defaults/main.yml").read_text())
    for name, instead in removed(role).items():
        assert name not in defaults
        assert f"{name}:" not in specification
        if "option" in instead:
            option = instead["option"]
            assert sorted(instead["actions"]) == sorted(name for name in given if option in understood[name])
            assert not [action for action in instead["actions"] if option in given[action]], name


def pages() -> Iterator[tuple[str, Any]]:
    """The YAML examples of the documentation, each with its first line."""
    for page in sorted((REPOSITORY / "docs/docsite/rst").glob("*.rst")):
        for found in re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", page.read_text(), re.M):
            block = textwrap.dedent(found).strip()
            yield block.partition("\n")[0], yaml.safe_load(block)


def test_every_default_in_the_documentation_is_an_option_that_the_role_leaves_alone() -> None:
    given: dict[str, set[str]] = {}
    for action, options in calls("nixos"):
        given.setdefault(action, set()).update(options)
    shown = [
        (name, set(options))
        for _name, content in pages()
        for play in (content if isinstance(content, list) else [])
        for name, options in play.get("module_defaults", {}).items()
        if any("nixferry.deploy.nixos" in str(role) for role in play.get("roles", []))
    ]
    assert len(shown) >= 5
    for name, options in shown:
        action = name.removeprefix("nixferry.deploy.")
        assert action in given, name
        assert options <= options_of(action) - given[action], name


def test_the_example_of_the_guide(stage: Stage) -> None:
    (plays,) = [content for name, content in pages() if name == "# slow.yml"]
    hosts = {
        "nixos_slow": {"group": "nixos", "minutes_to_boot": 20},
        "nixos_usual": {"group": "nixos"},
    }
    done = stage.run(plays, hosts)
    assert done.return_code == 0, done.output
    assert done.options["nixos_slow"][BUILD]["max_jobs"] == 0
    for name, seconds in (("nixos_slow", 1200), ("nixos_usual", 600)):
        copied, switched = done.options[name][COPY], done.options[name][SWITCH]
        assert (copied["compress"], copied["retries"]) == (True, 10)
        assert (switched["timeout_reboot"], switched["reboot"]) == (seconds, "if-required")


def test_a_removed_variable_is_refused_before_anything_is_built(stage: Stage) -> None:
    hosts = {
        "nixos_host": {"group": "nixos", "nixos_progress": "none"},
        "nixos_words": {"group": "nixos", "nixos_argstrs": {}},
        "nixos_clean": {"group": "nixos", "profile_progress": "none"},
        "profile_host": {"group": "profile", "profile_specialisation": "night"},
        "profile_clean": {"group": "profile", "nixos_specialisation": "night"},
        "param_host": {"group": "param"},
    }
    plays = [
        {"hosts": "nixos", "roles": ["nixferry.deploy.nixos"]},
        {"hosts": "profile", "roles": ["nixferry.deploy.profile"]},
        {"hosts": "param", "roles": [{"role": "nixferry.deploy.nixos", "vars": {"nixos_compress": True}}]},
    ]
    done = stage.run(plays, hosts)
    assert done.failed == {"nixos_host", "nixos_words", "profile_host", "param_host"}, done.output
    assert done.steps == {
        **{name: [] for name in done.failed},
        "nixos_clean": [BUILD, COPY, SWITCH],
        "profile_clean": [BUILD, COPY, SWITCH],
    }
    words = " ".join(done.output.replace("\\n", " ").split())
    assert (
        "nixos_progress is not a variable of the role nixos any more. Use the option progress of "
        "nixferry.deploy.nix_build, nixferry.deploy.nix_copy, nixferry.deploy.nix_switch, "
    ) in words
    assert "nixos_argstrs is not a variable of the role nixos any more. Use nixos_args, with" in words
    assert "profile_specialisation is not a variable of the role profile any more. Use the option" in words
    assert "Use the option compress of nixferry.deploy.nix_copy in module_defaults." in words


def test_a_misspelt_variable_is_refused_before_anything_is_built(stage: Stage) -> None:
    """It would switch off what keeps a host safe, in silence."""
    hosts = {
        "checks": {"group": "nixos", "nixos_health_check": [{"url": "http://localhost"}]},
        "hosts": {"group": "nixos", "nixferry_host": "web*"},
        "own": {"group": "nixos", "nixos_builds_on": "mine", "nixferry_own_variables": ["nixos_builds_on"]},
        "other": {"group": "nixos", "nixos_version": "24.05", "nixos_racks": 3},
        "home": {"group": "profile", "profile_roll_back": False},
        "keys": {"group": "secrets", "secrets_dest_dirs": "/x"},
        "tools": {"group": "nix", "nix_setting": {}},
    }
    # A play whose hosts have all failed ends the playbook.
    hosts |= {f"{role}_clean": {"group": role} for role in ("profile", "secrets")}
    roles = ("nixos", "profile", "secrets", "nix")
    plays = [{"hosts": role, "roles": [f"nixferry.deploy.{role}"]} for role in roles]
    done = stage.run(plays, hosts)
    assert done.failed == {"checks", "hosts", "home", "keys", "tools"}, done.output
    for name in done.failed:
        assert not done.steps[name]
    words = " ".join(done.output.replace("\\n", " ").split())
    assert (
        "nixos_health_check is not a variable of this collection: did you mean nixos_health_checks?" in words
    )
    assert "did you mean nixferry_hosts?" in words
    assert "did you mean profile_rollback?" in words


def test_a_roll_back_refuses_those_alone_that_it_had_a_use_for(stage: Stage) -> None:
    hosts = {
        "late": {"group": "nixos", "nixos_timeout_reboot": 1200},
        "urgent": {"group": "nixos", "nixos_max_jobs": 0},
        "home_late": {"group": "profile", "profile_progress": "none"},
        "home_urgent": {"group": "profile", "profile_specialisation": "night"},
    }
    plays = [
        {
            "hosts": role,
            "tasks": [
                {"ansible.builtin.import_role": {"name": f"nixferry.deploy.{role}", "tasks_from": "rollback"}}
            ],
        }
        for role in ("nixos", "profile")
    ]
    done = stage.run(plays, hosts)
    assert done.failed == {"late", "home_late"}, done.output
    # Of several hosts the last deploy may not have changed all.
    asked = "Ask the host which deploys it remembers"
    assert done.steps == {"late": [], "urgent": [asked, BACK], "home_late": [], "home_urgent": [BACK]}


def test_module_defaults_reach_every_step_and_may_differ_from_host_to_host(stage: Stage) -> None:
    hosts = {
        "slow": {"group": "nixos", "minutes_to_boot": 20},
        "quick": {"group": "nixos", "minutes_to_boot": 1},
    }
    defaults = {
        "nixferry.deploy.nix_build": {"max_jobs": 0},
        "nixferry.deploy.nix_copy": {"retries": "{{ 9 if minutes_to_boot > 5 else 1 }}"},
        "nixferry.deploy.nix_switch": {"timeout_reboot": "{{ minutes_to_boot * 60 }}", "timeout_hold": 900},
    }
    role = {"role": "nixferry.deploy.nixos", "vars": {"nixos_transaction": True}}
    done = stage.run([{"hosts": "nixos", "module_defaults": defaults, "roles": [role]}], hosts)
    assert done.return_code == 0, done.output
    assert done.options["slow"][BUILD]["max_jobs"] == 0
    for name, retries, seconds in (("slow", 9, 1200), ("quick", 1, 60)):
        given = done.options[name]
        assert given[COPY]["retries"] == retries
        for step in (SWITCH, CONFIRM):
            assert (given[step]["timeout_reboot"], given[step]["timeout_hold"]) == (seconds, 900), step
