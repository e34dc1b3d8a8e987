# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names of variables are taken for misspelt ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.variables import (
    PLAYBOOK_PREFIX,
    PLAYBOOK_VARIABLES,
    misspelt,
    refuse_sources,
    refuse_values,
    refuse_variables,
    role_variables,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

REPOSITORY = Path(__file__).parents[5]
CANARY = "canary-4711"
ROLES = sorted(path.name for path in (REPOSITORY / "roles").iterdir())


def names_in(*directories: str) -> set[str]:
    """What could be the name of a variable."""
    files = (
        path
        for name in directories
        for path in (REPOSITORY / name, *(REPOSITORY / name).rglob("*"))
        if path.is_file()
    )
    return {
        name
        for path in files
        for name in re.findall(r"[A-Za-z_][A-Za-z0-9_]+", path.read_text(errors="ignore"))
    }


@pytest.mark.parametrize("role", ROLES)
def test_what_the_collection_uses_itself_is_spelt_well(role: str) -> None:
    """A name that a role registers or sets must not look like a misspelt one."""
    names = names_in("roles", "playbooks", "README.md")
    table = REPOSITORY / f"roles/{role}/vars/main.yml"
    removed = set(yaml.safe_load(table.read_text()).get(f"_{role}_removed", {})) if table.exists() else set()
    assert misspelt(names, role_variables(role) | removed, f"{role}_") == {}


def test_the_variables_of_the_playbooks_are_those_that_something_reads() -> None:
    used = {name for name in names_in("roles", "playbooks", "plugins") if name.startswith(PLAYBOOK_PREFIX)}
    assert used >= PLAYBOOK_VARIABLES
    assert misspelt(used, PLAYBOOK_VARIABLES, PLAYBOOK_PREFIX) == {}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nixos_health_check", "nixos_health_checks"),
        ("nixos_healthchecks", "nixos_health_checks"),
        ("nixos_transactions", "nixos_transaction"),
        ("nixos_timeout_activate", "nixos_timeout_activation"),
        ("nixos_roll_back", "nixos_rollback"),
        ("nixos_secret", "nixos_secrets"),
        ("nixos_version", None),
        ("nixos_hosts", None),
        ("nixos_result", None),
        ("nixos_rollback", None),
        ("my_nixos_health_check", None),
    ],
)
def test_near_names(given: str, meant: str | None) -> None:
    assert misspelt([given], role_variables("nixos"), "nixos_").get(given) == meant


def test_a_variable_of_the_user_can_have_such_a_name() -> None:
    refuse_variables("nixos", ["nixos_secret"], {}, own=["nixos_secret"])
    with pytest.raises(NixferryError, match="nixos_secrets") as raised:
        refuse_variables("nixos", ["nixos_secret"], {})
    assert "nixferry_own_variables" in raised.value.remedy


def test_a_removed_variable_is_not_taken_for_a_misspelt_one() -> None:
    with pytest.raises(NixferryError, match="any more") as raised:
        refuse_variables("nixos", ["nixos_setting"], {"nixos_setting": {"replacement": "words"}})
    assert "did you mean" not in raised.value.cause


SOURCES = ("flake", "file", "fleet")


def test_exactly_one_variable_says_what_a_host_is_built_from() -> None:
    refuse_sources("nixos", {"flake": ".", "file": "", "attr": "{host}"}, SOURCES)
    refuse_sources("nixos", {"fleet": ["hive.nix"]}, SOURCES)


def test_a_role_without_a_source_names_its_own_variables() -> None:
    with pytest.raises(NixferryError) as error:
        refuse_sources("nixos", {"flake": "", "attr": "web1"}, SOURCES)
    assert "the role nixos is not told what to build" in error.value.cause
    assert "Set one of nixos_flake, nixos_file, nixos_fleet." in error.value.remedy
    with pytest.raises(NixferryError) as error:
        # This role has no variable for a fleet.
        refuse_sources("profile", {"fleet": "hive.nix"}, SOURCES)
    assert "Set one of profile_flake, profile_file." in error.value.remedy


def test_two_sources_exclude_each_other_by_the_names_of_their_variables() -> None:
    with pytest.raises(NixferryError) as error:
        refuse_sources("nixos", {"flake": ".", "file": "x.nix"}, SOURCES)
    assert error.value.cause == "nixos_flake and nixos_file exclude each other"
    assert 'nixos_flake: ""' in error.value.remedy


@pytest.mark.parametrize(
    ("role", "values", "cause"),
    [
        ("nixos", {"nixos_timeout_confirm": CANARY}, "nixos_timeout_confirm is not a valid int"),
        ("nixos", {"nixos_secrets": CANARY}, "nixos_secrets is not a valid dict"),
        ("nixos", {"nixos_rollback": CANARY}, "nixos_rollback is not a valid bool"),
        (
            "nixos",
            {"nixos_action": CANARY},
            "nixos_action is not a valid choice, which is one of switch, boot, ",
        ),
        ("nixos", {"nixos_health_checks": [CANARY]}, "an element of nixos_health_checks is not a valid dict"),
        ("publish", {"publish_gates": [{"name": CANARY}]}, "publish_gates has other keys than"),
        (
            "publish",
            {"publish_gates": [{"command": ["true"], CANARY: 1}]},
            "publish_gates has other keys than",
        ),
    ],
)
def test_a_wrong_value_is_told_in_a_line_without_the_value(
    role: str, values: dict[str, Any], cause: str
) -> None:
    with pytest.raises(NixferryError) as error:
        refuse_values(role, {"nixos_flake": ".", **values})
    assert error.value.cause.startswith(cause)
    assert f"ansible-doc --type role nixferry.deploy.{role}" in error.value.remedy
    message = error.value.result("web1")["msg"]
    assert len(message.splitlines()) <= 5
    assert len(message) < 600
    assert CANARY not in str(error.value.result("web1"))


def test_many_wrong_values_are_counted() -> None:
    integers = [name for name in sorted(role_variables("nixos")) if "timeout" in name]
    wrong = dict.fromkeys([*integers, "nixos_args", "nixos_secrets", "nixos_reboot"], "wrong")
    with pytest.raises(NixferryError) as error:
        refuse_values("nixos", wrong)
    assert error.value.cause.endswith(f"; and {len(wrong) - 4} more")


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_valid(role: str) -> None:
    values = yaml.safe_load((REPOSITORY / f"roles/{role}/defaults/main.yml").read_text())
    plain = {name: value for name, value in values.items() if "{{" not in str(value)}
    assert plain
    refuse_values(role, plain)


def test_an_entry_point_checks_its_own_variables_only() -> None:
    refuse_values("nixos", {"nixos_secrets": CANARY}, entry_point="rollback")
    with pytest.raises(NixferryError, match="nixos_timeout_confirm"):
        refuse_values("nixos", {"nixos_timeout_confirm": CANARY}, entry_point="rollback")
