# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the page about the playbooks from the playbooks themselves: playbooks_page.py [--check]

What a playbook reads, with its defaults, is found in its templates. docs/docsite/meanings.yml says what it is for and
what its variables mean. A variable that the one has and the other has not is an error. With --check nothing is written:
exits with 1 if the page is not what it would be.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, nodes

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOKS = REPOSITORY / "playbooks"
MEANINGS = REPOSITORY / "docs/docsite/meanings.yml"
PAGE_FILE = REPOSITORY / "docs/docsite/rst/playbooks.rst"
NAMESPACE = "nixferry.deploy"
# What every play has, set by Ansible or by the play itself.
BUILT_IN = re.compile(
    r"_|ansible_|item$|lookup$|omit$|playbook_dir$|query$|inventory_|hostvars$|groups$|group_names$"
)
WIDTH = 126
KEYWORDS_WITH_TEMPLATE = ("when", "until", "failed_when", "changed_when")
LABEL = "ansible_collections.nixferry.deploy.docsite.playbooks"
HEAD = """..
  Copyright: (c) 2026, nixferry contributors
  GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
  SPDX-License-Identifier: GPL-3.0-or-later

.. Written by tests/tools/playbooks_page.py from playbooks/ and docs/docsite/meanings.yml: change these, then run
   make pages.

.. _{label}:

Playbooks
=========

{about}

.. contents::
   :local:
   :depth: 1

"""


class PageError(Exception):
    """A playbook and its description do not fit; the text says how."""


@dataclass
class Variable:
    """A variable that a playbook reads. ``defaults`` are those in its templates, as written."""

    name: str
    defaults: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Playbook:
    """What a playbook reads and runs."""

    name: str
    variables: Mapping[str, Variable]
    """By name, without those that the playbook sets itself."""
    environment: Mapping[str, str]
    """The variable of the role that an environment variable sets, by the name of the latter."""
    roles: Mapping[str, tuple[str, ...]]
    """The entry points of each role, by the role's name in the collection."""

    @property
    def role_variables(self) -> frozenset[str]:
        """Return the names of all variables of the roles, at the entry points that the playbook uses."""
        return frozenset(
            name
            for role, entry_points in self.roles.items()
            for entry_point in entry_points
            for name in role_options(role)[entry_point]
        )

    def knows(self, name: str) -> bool:
        """Return whether the playbook, one of its roles or the report reads a variable of this name."""
        return name in self.variables or name in self.role_variables or name in meanings()["common"]


@cache
def role_options(role: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the options in the argument specification of a role, by entry point."""
    text = (REPOSITORY / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
    return {name: entry.get("options", {}) for name, entry in yaml.safe_load(text)["argument_specs"].items()}


@cache
def meanings() -> Mapping[str, Any]:
    """Return what docs/docsite/meanings.yml says."""
    content: Mapping[str, Any] = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    return content


@cache
def playbook(name: str) -> Playbook:
    """Return what the playbook of this name in the collection reads and runs."""
    plays = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8"))
    variables: dict[str, Variable] = {}
    environment: dict[str, str] = {}
    own: set[str] = set()
    roles: dict[str, set[str]] = {}
    for place, value in _walk(plays):
        key = place[-1] if place else ""
        if key == "register":
            own.add(value)
        elif key in ("vars", "set_fact", "ansible.builtin.set_fact") and isinstance(value, dict):
            own.update(value)
        elif key.endswith((".import_role", ".include_role")):
            role = value["name"].removeprefix(f"{NAMESPACE}.")
            roles.setdefault(role, set()).add(value.get("tasks_from", "main"))
        if isinstance(value, str):
            _read_template(value, place, variables, environment)
    for name_ in list(variables):
        if name_ in own or BUILT_IN.match(name_):
            del variables[name_]
    return Playbook(
        name,
        variables,
        environment,
        {role: tuple(sorted(entry_points)) for role, entry_points in sorted(roles.items())},
    )


def names() -> list[str]:
    """Return the names of all playbooks of the collection."""
    return sorted(path.stem for path in PLAYBOOKS.glob("*.yml"))


def _walk(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value in a document with the keys that lead to it."""
    yield place, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*place, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, place)


def _read_template(
    text: str, place: tuple[str, ...], variables: dict[str, Variable], environment: dict[str, str]
) -> None:
    """Add what a template reads to ``variables`` and ``environment``."""
    if place and place[-1] in KEYWORDS_WITH_TEMPLATE:
        text = "{{ " + text + " }}"
    if "{{" not in text and "{%" not in text:
        return
    tree = Environment(autoescape=False).parse(text)  # noqa: S701  (nothing is rendered)
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    for node in tree.find_all(nodes.Name):
        if node.ctx == "load" and node.name not in stored:
            variables.setdefault(node.name, Variable(node.name))
    for call in tree.find_all(nodes.Filter):
        if call.name == "default" and isinstance(call.node, nodes.Name) and call.args:
            given = call.args[0]
            if isinstance(given, nodes.Name) and given.name == "omit":
                continue
            if isinstance(given, (nodes.Const, nodes.List, nodes.Dict)):
                variables[call.node.name].defaults.add(_shown(given.as_const()))
    for function in tree.find_all(nodes.Call):
        arguments = [each.value for each in function.args if isinstance(each, nodes.Const)]
        if len(arguments) == 2 and arguments[0] == "ansible.builtin.env":
            environment[arguments[1]] = place[-1]


def _shown(value: object) -> str:
    """Return a value as one would write it in a playbook, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def page() -> str:
    """Return the page. Raises ``PageError`` if a playbook and its description do not fit."""
    described = meanings()
    known, there = set(described["playbooks"]), set(names())
    if known != there:
        raise PageError(f"{MEANINGS.name} and playbooks/ differ in: {', '.join(sorted(known ^ there))}")
    order = list(described["playbooks"])
    parts = [HEAD.format(label=LABEL, about=described["about"].strip())]
    parts += [_section(playbook(name), described["playbooks"][name]) for name in order]
    parts.append(_title("Variables of every playbook"))
    parts.append(described["about_common"].strip() + "\n\n")
    parts.append(_table([(f"``{name}``", text) for name, text in described["common"].items()]))
    return "".join(parts).rstrip("\n") + "\n"


def _section(found: Playbook, about: Mapping[str, Any]) -> str:
    own = {name: variable for name, variable in found.variables.items() if name not in _all_role_variables()}
    for result in about.get("results", ()):
        del own[result]
    said = about.get("variables", {})
    if set(own) != set(said):
        raise PageError(
            f"{MEANINGS.name}: {found.name}: the playbook reads {sorted(own)}, described are {sorted(said)}"
        )
    parts = [_title(found.name), about["about"].strip(), "\n\n"]
    parts += [".. code-block:: console\n\n", *(f"   $ {line}\n" for line in about["example"]), "\n"]
    if own:
        parts.append(_table([_row(own[name], text) for name, text in said.items()]))
    if found.roles:
        told = " and ".join(_role(role, entry_points) for role, entry_points in found.roles.items())
        parts.append(_wrapped(f"It also takes the variables of {told}."))
    read_directly = sorted(set(found.variables) & _all_role_variables())
    if read_directly:
        listed = ", ".join(f"``{name}``" for name in read_directly)
        parts.append(_wrapped(f"It reads these itself, with the meaning that the roles give them: {listed}."))
    rows = [(f"``{name}``", _sets(key)) for name, key in found.environment.items() if name != "PWD"]
    if rows:
        parts.append("From the environment, unless the variable is set:\n\n")
        parts.append(_table(rows, "sets"))
    if "more" in about:
        parts.append(f"See :ref:`ansible_collections.nixferry.deploy.docsite.{about['more']}`.\n\n")
    return "".join(parts)


def _role(role: str, entry_points: tuple[str, ...]) -> str:
    others = [f"``{name}``" for name in entry_points if name != "main"]
    where = f" (entry point{'s' if len(others) > 1 else ''} {', '.join(others)})" if others else ""
    return f":ansplugin:`{NAMESPACE}.{role}#role`{where}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False) + "\n\n"


def _sets(key: str) -> str:
    return (
        f"``{key}``"
        if not key.startswith("_")
        else f"a file with the value of ``{key[1:].removesuffix('_file')}``"
    )


@cache
def _all_role_variables() -> frozenset[str]:
    roles = (path.parents[1].name for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml"))
    return frozenset(name for role in roles for options in role_options(role).values() for name in options)


def _row(variable: Variable, text: str) -> tuple[str, str]:
    shown = sorted(default for default in variable.defaults if default not in ("''", "{}", "[]"))
    default = f" Default: ``{shown[0]}``." if shown else ""
    return f"``{variable.name}``", text.strip() + default


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n\n"


def _table(rows: list[tuple[str, str]], second_heading: str = "meaning") -> str:
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - variable", f"     - {second_heading}"]
    for first, second in rows:
        lines += [f"   * - {first}", f"     - {second}"]
    return "\n".join(lines) + "\n\n"


def main(arguments: list[str]) -> int:
    """Write or check the page; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: playbooks_page.py [--check]", file=sys.stderr)
        return 2
    try:
        text = page()
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments:
        PAGE_FILE.write_text(text, encoding="utf-8")
    elif not PAGE_FILE.exists() or PAGE_FILE.read_text(encoding="utf-8") != text:
        print(f"Not up to date: {PAGE_FILE.relative_to(REPOSITORY)}. Run `make pages`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
