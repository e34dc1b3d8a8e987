# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option means the same wherever it is written down: action, documentation, role specification, role defaults."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring

REPOSITORY = Path(__file__).parents[2]
ACTIONS = sorted(path.stem for path in (REPOSITORY / "plugins/action").glob("*.py"))
ROLES = sorted(path.parent.parent.name for path in (REPOSITORY / "roles").glob("*/meta/argument_specs.yml"))
# What a specification may leave out, and what that means.
COMPARED = {
    "type": "str",
    "default": None,
    "choices": None,
    "elements": None,
    "required": False,
    "aliases": None,
}
# Values that mean "not given" in one place or another.
NOTHING = (None, False, "", [], {})
# A path is a string to a role: the action expands it, on the machine where it lies.
SAME_TYPE = {"path": "str"}
# Variables whose default is another one than that of the option, on purpose: the role is for the other kinds.
OWN_DEFAULTS = ("profile_kind",)


@cache
def documentation(name: str) -> dict[str, Any]:
    """The options of the module that documents an action, fragments included."""
    path = REPOSITORY / f"plugins/modules/{name}.py"
    found, *_rest = get_docstring(
        str(path), fragment_loader, is_module=True, collection_name="nixferry.deploy", plugin_type="module"
    )
    return dict(found["options"])


def specification(name: str) -> dict[str, Any]:
    module = importlib.import_module(f"ansible_collections.nixferry.deploy.plugins.action.{name}")
    return dict(module.ActionModule.specification["argument_spec"])


def differences(
    where: str, one: Mapping[str, Any], other: Mapping[str, Any], suboptions: str
) -> Iterator[str]:
    """How two tables of options differ; ``suboptions`` is the key of nested ones in ``other``."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            yield f"{where}.{name} is in one of the two only"
            continue
        for key, missing in COMPARED.items():
            mine, theirs = one[name].get(key, missing), other[name].get(key, missing)
            if key in ("choices", "aliases"):
                mine, theirs = sorted(map(str, mine or ())), sorted(map(str, theirs or ()))
            if mine != theirs and not (mine in NOTHING and theirs in NOTHING):
                yield f"{where}.{name}.{key}: {mine!r} and {theirs!r}"
        if "options" in one[name] or suboptions in other[name]:
            yield from differences(
                f"{where}.{name}", one[name].get("options", {}), other[name].get(suboptions, {}), suboptions
            )


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_takes_what_its_documentation_says(name: str) -> None:
    assert list(differences(name, specification(name), documentation(name), "suboptions")) == []


def role_options(role: str) -> dict[str, Any]:
    """The options of all entry points of a role."""
    text = (REPOSITORY / f"roles/{role}/meta/argument_specs.yml").read_text()
    found: dict[str, Any] = {}
    for entry_point, entry in yaml.safe_load(text)["argument_specs"].items():
        for name, option in entry.get("options", {}).items():
            if name in found:
                same = {key: value for key, value in found[name].items() if key != "description"}
                assert same == {key: value for key, value in option.items() if key != "description"}, (
                    f"{role}: {name} means something else in {entry_point}"
                )
            found[name] = option
    return found


def role_defaults(role: str) -> dict[str, Any]:
    path = REPOSITORY / f"roles/{role}/defaults/main.yml"
    return dict(yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_those_of_its_specification(role: str) -> None:
    options, defaults = role_options(role), role_defaults(role)
    assert set(defaults) <= set(options)
    for name, option in options.items():
        if "{{" in str(defaults.get(name)):
            continue  # Computed from others: the specification says in words how.
        if "default" in option:
            assert defaults.get(name) == option["default"], name
        else:
            assert defaults.get(name) in NOTHING, name


def passed_on(role: str) -> Iterator[tuple[str, str, str]]:
    """What a role hands to an action as it is: (action, its option, variable of the role)."""
    for path in sorted((REPOSITORY / f"roles/{role}/tasks").glob("*.yml")):
        for task in tasks_in(yaml.safe_load(path.read_text()) or []):
            for action, given in task.items():
                name = action.removeprefix("nixferry.deploy.")
                if name in ACTIONS and isinstance(given, Mapping):
                    for option, value in given.items():
                        whole = re.fullmatch(r"\{\{ *(\w+)(?: *\| *default\(omit.*)? *\}\}", str(value))
                        if whole:
                            yield name, option, whole[1]


def tasks_in(tasks: list[Any]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part, []))


@pytest.mark.parametrize("role", [role for role in ROLES if list(passed_on(role))])
def test_a_role_passes_options_on_as_they_are(role: str) -> None:
    """A variable has the type and the default of the option that it is passed to, and no choice that this one lacks."""
    options, wrong = role_options(role), []
    for action, option, variable in passed_on(role):
        if variable not in options:
            continue
        mine, theirs = options[variable], documentation(action)[option]
        for key in ("type", "elements"):
            given, wanted = (SAME_TYPE.get(side.get(key), side.get(key) or "str") for side in (mine, theirs))
            if given != wanted:
                wrong.append(f"{variable}.{key} is {given!r}, {option} of {action} has {wanted!r}")
        if not set(map(str, mine.get("choices") or ())) <= set(map(str, theirs.get("choices") or ())):
            wrong.append(f"{variable} has choices that {option} of {action} lacks")
        default = theirs.get("default")
        if default not in NOTHING and variable not in OWN_DEFAULTS and mine.get("default") != default:
            wrong.append(f"{variable} is {mine.get('default')!r}, {option} of {action} is {default!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gives_an_action_only_options_that_it_has(role: str) -> None:
    """The stand-ins of the tests of roles take any option."""
    wrong = []
    for path in sorted((REPOSITORY / f"roles/{role}/tasks").glob("*.yml")):
        for task in tasks_in(yaml.safe_load(path.read_text()) or []):
            for action, given in task.items():
                name = action.removeprefix("nixferry.deploy.")
                if name in ACTIONS and isinstance(given, Mapping):
                    known = {*documentation(name), *aliases(name)}
                    wrong += [f"{path.name}: {name} has no {option}" for option in set(given) - known]
    assert not wrong, "\n".join(wrong)


def aliases(name: str) -> Iterator[str]:
    """Other names of an action's options."""
    for option in documentation(name).values():
        yield from option.get("aliases") or ()
