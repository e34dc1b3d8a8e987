# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Refuse variables that a role would ignore in silence, misspelt ones and those that it had once, and wrong values.

Ansible does not check the names of a role's variables: a variable of another name is a variable of the user. So a name
is refused only if it begins like those of the role and is nearly one of them. Ansible checks the values, unless a play
says ``rolespec_validate: false``, but shows the whole specification of the role with the first wrong one.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

ROLES = Path(__file__).parents[3] / "roles"
OWN_VARIABLES = "nixferry_own_variables"
PLAYBOOK_PREFIX = "nixferry_"
# The variables that the playbooks and the callbacks of the collection read.
PLAYBOOK_VARIABLES = frozenset(
    {
        OWN_VARIABLES,
        "nixferry_compare",
        "nixferry_plan",
        "nixferry_plan_hours",
        "nixferry_plan_sign_key",
        "nixferry_plan_html",
        "nixferry_plan_summary",
        "nixferry_hosts",
        "nixferry_nix_directory",
        "nixferry_nix_settings",
        "nixferry_report",
        "nixferry_report_file",
        "nixferry_report_html",
        "nixferry_report_junit",
        "nixferry_serial",
        "nixferry_snippets",
        "nixferry_set_stats",
        "nixferry_status_file",
        "nixferry_status_html",
        "nixferry_status_prometheus",
    }
)
# How alike two names are at least, without their prefix, to be taken for the same: 1 is the same. "version" and
# "revision" have 0.67, "timeout_activate" and "timeout_activation" 0.88.
ALIKE = 0.8
# How many wrong values a message tells, so that it stays short.
TOLD = 4


@functools.cache
def _entry_points(role: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the argument specification of a role of this collection, by entry point."""
    specification = yaml_load((ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    entry_points: Mapping[str, Mapping[str, Any]] = specification["argument_specs"]
    return entry_points


def role_variables(role: str, entry_point: str | None = None) -> frozenset[str]:
    """Return the names in the argument specification of a role of this collection, of one or of all entry points."""
    return frozenset(
        name
        for each, specification in _entry_points(role).items()
        if entry_point in (None, each)
        for name in specification.get("options", {})
    )


def misspelt(given: Iterable[str], known: Collection[str], prefix: str) -> dict[str, str]:
    """Return the names in ``given`` that begin with ``prefix`` and are nearly one of ``known``, each with that one."""
    bare = [name.removeprefix(prefix) for name in known]
    found: dict[str, str] = {}
    for name in sorted(given):
        if name.startswith(prefix) and name not in known:
            similar = difflib.get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=ALIKE)
            if similar:
                found[name] = prefix + similar[0]
    return found


def refuse_variables(
    role: str,
    variables: Collection[str],
    removed: Mapping[str, Mapping[str, Any]],
    *,
    own: Collection[str] = (),
    only_for: str | None = None,
) -> None:
    """Raise ``NixferryError`` if one of these names of variables is meant for the role, which would ignore it.

    ``removed`` gives what replaces a variable that the role had once: ``replacement`` in words, or an ``option`` of
    ``actions``. ``own`` has the names of variables that are the user's own. ``only_for`` names an action: look
    only for removed variables that are options of it.
    """
    causes = [
        f"{name} is not a variable of the role {role} any more. {_instead(removed[name])}"
        for name in sorted(set(variables) & set(removed))
        if only_for is None or only_for in removed[name].get("actions", ())
    ]
    remedy = ""
    if only_for is None:
        wrong = {
            **misspelt(variables, role_variables(role) | set(removed), f"{role}_"),
            **misspelt(variables, PLAYBOOK_VARIABLES, PLAYBOOK_PREFIX),
        }
        wrong = {name: known for name, known in wrong.items() if name not in own}
        causes += [
            f"{name} is not a variable of this collection: did you mean {known}?"
            for name, known in wrong.items()
        ]
        if wrong:
            remedy = (
                "Correct the name where it is set. Or, if the variable is your own, add its name to the list "
                f"{OWN_VARIABLES}."
            )
    if causes:
        raise NixferryError(" ".join(causes), step=Step.READ_OPTIONS, remedy=remedy)


def refuse_values(role: str, values: Mapping[str, Any], *, entry_point: str = "main") -> None:
    """Raise ``NixferryError`` if one of these variables does not have the type that the role's specification says.

    ``values`` are those of the variables of the entry point that are set, without templates in them. No message quotes
    one: it may be a secret.
    """
    specification = _entry_points(role)[entry_point].get("options", {})
    # As a rule all are right, and one look is enough.
    if not ArgumentSpecValidator(dict(specification)).validate(dict(values)).error_messages:
        return
    causes = [
        cause
        for name, option in specification.items()
        for cause in _wrong(name, option, {name: values[name]} if name in values else {})
    ]
    if not causes:
        return
    more = "" if len(causes) <= TOLD else f"; and {len(causes) - TOLD} more"
    raise NixferryError(
        "; ".join(causes[:TOLD]) + more,
        step=Step.READ_OPTIONS,
        remedy="Correct the value where it is set. "
        f"`ansible-doc --type role nixferry.deploy.{role}` describes every variable.",
    )


def _fits(name: str, option: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return what Ansible's own validator says of one variable."""
    return not ArgumentSpecValidator({name: option}).validate(given).error_messages


def _wrong(name: str, option: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Say in one text what is wrong with the value of one variable, in none if it is right."""
    # One at a time: only so is it known which of them an error is about.
    if _fits(name, option, given):
        return []
    if not given:
        return [f"{name} is required"]
    known_type, elements = option.get("type", "str"), option.get("elements")
    if not _fits(name, {"type": known_type}, given):
        return [f"{name} is not a valid {known_type}"]
    if "choices" in option:
        return [f"{name} is not a valid choice, which is one of {', '.join(map(str, option['choices']))}"]
    if elements and not _fits(name, {"type": known_type, "elements": elements}, given):
        return [f"an element of {name} is not a valid {elements}"]
    return [
        f"{name} has other keys than its description says, lacks one, or has one that is not a valid value"
    ]


def refuse_sources(role: str, source: Mapping[str, Any], choices: Iterable[str]) -> None:
    """Raise ``NixferryError`` unless exactly one of the role's variables says what a host is built from.

    ``source`` has the values of the variables, by their names without the prefix; ``choices`` are those of a source.
    """
    known = role_variables(role)
    names = {f"{role}_{choice}": source.get(choice) for choice in choices if f"{role}_{choice}" in known}
    given = [name for name, value in names.items() if value]
    if not given:
        raise NixferryError(
            f"the role {role} is not told what to build",
            step=Step.READ_OPTIONS,
            remedy=f"Set one of {', '.join(names)}. For example, `{role}_flake: .` is the flake in the directory of "
            "the playbook.",
        )
    if len(given) > 1:
        raise NixferryError(
            f"{' and '.join(given)} exclude each other",
            step=Step.READ_OPTIONS,
            remedy="Set one of them only. If one of them is set for a whole group, empty it for this host: "
            f'`{given[0]}: ""`.',
        )


def _instead(entry: Mapping[str, Any]) -> str:
    if "option" not in entry:
        return f"Use {entry['replacement']}."
    actions = ", ".join(f"nixferry.deploy.{action}" for action in entry["actions"])
    return f"Use the option {entry['option']} of {actions} in module_defaults."
