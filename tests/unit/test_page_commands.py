# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands, options and variables that the pages tell users to type exist, tables for newcomers above all."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.cli import CLI
from ansible.cli.adhoc import AdHocCLI
from ansible.cli.galaxy import GalaxyCLI
from ansible.cli.inventory import InventoryCLI
from ansible.cli.playbook import PlaybookCLI

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs/docsite/rst"
EXECUTION_ENVIRONMENT = REPOSITORY / "examples/execution-environment"
# Pages whose tables have commands of another tool in the first column, and ours in the last.
NEWCOMERS = [*sorted(PAGES.glob("from_*.rst")), PAGES / "coming_from.rst"]
PROGRAMS: dict[str, type[CLI]] = {
    "ansible": AdHocCLI,
    "ansible-galaxy": GalaxyCLI,
    "ansible-inventory": InventoryCLI,
    "ansible-playbook": PlaybookCLI,
}
LITERAL = re.compile(r"``([^`]+)``")
OURS = "nixferry.deploy."
# What the collection calls by a name of its own: playbooks, roles, plugins of every type.
CONTENT = {
    *(file.stem for file in (REPOSITORY / "playbooks").glob("*.yml")),
    *(directory.name for directory in (REPOSITORY / "roles").iterdir() if directory.is_dir()),
    *(
        file.stem
        for kind in ("action", "modules", "inventory", "lookup", "filter", "callback")
        for file in (REPOSITORY / "plugins" / kind).iterdir()
    ),
}
ROLES = [yaml.safe_load(file.read_text()) for file in REPOSITORY.glob("roles/*/meta/argument_specs.yml")]
OPTIONS = {
    name: specification
    for role in ROLES
    for entry in role["argument_specs"].values()
    for name, specification in entry.get("options", {}).items()
}
# Playbooks and the callback of the report read variables of their own.
READ_ELSEWHERE = {
    word
    for pattern in (
        "playbooks/*.yml",
        "plugins/callback/*.py",
        "plugins/doc_fragments/*.py",
        "plugins/action/*.py",
    )
    for file in REPOSITORY.glob(pattern)
    for word in re.findall(r"\w+", file.read_text())
}
# Prefixes of variables that belong to this collection.
OUR_VARIABLE = re.compile(
    r"\b(?:nixos|profile|publish|pull_agent|update|secrets|nixferry|builder_docker|builder_client|cache_client)_\w+\b"
)


def cells(page: str) -> list[list[str]]:
    """The rows of all list tables of a page, each cell in one line."""
    rows: list[list[str]] = []
    for line in page.splitlines():
        if line.startswith("   * - "):
            rows.append([line[7:]])
        elif line.startswith("     - ") and rows:
            rows[-1].append(line[7:])
        elif line.startswith("       ") and line.strip() and rows:
            rows[-1][-1] += " " + line.strip()
    return rows


def console(page: str) -> list[str]:
    """The commands after the prompts of a page, with continuation lines joined, without what a pipe or a file takes."""
    lines = re.findall(r"^   \$ (.+)$", page.replace("\\\n", " "), re.M)
    return [re.split(r" [|>] ", line)[0] for line in lines]


def ours_in_tables(page: Path) -> list[str]:
    """The literals of the last cells of a page's tables."""
    return [literal for row in cells(page.read_text()) for literal in LITERAL.findall(row[-1])]


def commands() -> list[tuple[str, str]]:
    """Each command line of Ansible in any page, with the page. A lone option counts as one of ansible-playbook."""
    found = []
    for page in sorted(PAGES.glob("*.rst")):
        text = page.read_text()
        lines = console(text) + [line for line in LITERAL.findall(text) if line.split()[0] in PROGRAMS]
        if page in NEWCOMERS:
            lines += [
                f"ansible-playbook {line} x.yml" for line in ours_in_tables(page) if line.startswith("-")
            ]
        found += [
            (page.name, line)
            for line in lines
            if line.split()[0] in PROGRAMS and len(line.split()) > 1 and not line.endswith("--version")
        ]
    return found


def parsed(line: str) -> argparse.Namespace:
    """Parse a command as Ansible does. ``SystemExit`` says that Ansible refuses it."""
    words = shlex.split(line, comments=True)
    cli = PROGRAMS[words[0]](words)
    cli.init_parser()
    return cli.parser.parse_args(words[1:])


def extra_variables(line: str) -> dict[str, object]:
    """The variables that ``-e`` sets in a command."""
    found: dict[str, object] = {}
    for given in parsed(line).extra_vars or ():
        if given.startswith("{"):
            found |= json.loads(given)
        elif not given.startswith("@"):
            found |= dict(pair.split("=", 1) for pair in shlex.split(given))
    return found


def fits(specification: dict[str, Any], value: object) -> bool:
    """Whether an option takes a value of the command line, as far as its choices and its type tell."""
    if "choices" in specification:
        return value in specification["choices"]
    if specification["type"] == "bool":
        return value in ("true", "false", True, False)
    if specification["type"] == "int":
        return str(value).isdigit()
    return specification["type"] not in ("dict", "list") or not isinstance(value, str)


def test_the_pages_have_commands() -> None:
    assert len(commands()) > 100
    assert all(len(cells(page.read_text())) > 5 for page in NEWCOMERS)


@pytest.mark.parametrize(("page", "line"), commands())
def test_ansible_accepts_a_command_and_what_it_names_exists(page: str, line: str) -> None:
    arguments = parsed(line)
    for named in getattr(arguments, "args", None) or ():
        if isinstance(named, str) and named.startswith(OURS):
            assert (REPOSITORY / f"playbooks/{named.removeprefix(OURS)}.yml").exists(), f"{page}: {line}"
    if line.startswith("ansible-playbook"):
        given = extra_variables(line)
        named_variables = {name for name in given if OUR_VARIABLE.fullmatch(name)}
        assert not named_variables - OPTIONS.keys() - READ_ELSEWHERE, f"{page}: {line}"
        wrong = [name for name in named_variables & OPTIONS.keys() if not fits(OPTIONS[name], given[name])]
        assert not wrong, f"{page}: {line}"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.rst")), ids=lambda page: page.stem)
def test_content_of_the_collection_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\bnixferry\.deploy\.([a-z]\w+)", page.read_text()))
    assert not named - CONTENT - {"docsite", "nixferry"}


@pytest.mark.parametrize("page", NEWCOMERS, ids=lambda page: page.stem)
def test_variables_in_the_tables_for_newcomers_exist(page: Path) -> None:
    named = {word for literal in ours_in_tables(page) for word in OUR_VARIABLE.findall(literal)}
    assert not named - OPTIONS.keys() - READ_ELSEWHERE


@pytest.mark.parametrize("name", ["execution-environment.yml", "nix.conf"])
def test_the_execution_environment_is_shown_as_it_is(name: str) -> None:
    page = (PAGES / "execution_environment.rst").read_text()
    # The page leaves out what comes before the first key of the definition.
    text = re.sub(r"\A---\n.*?\n(?=version:)", "", (EXECUTION_ENVIRONMENT / name).read_text(), flags=re.S)
    assert textwrap.indent(text, "   ") in page


@pytest.mark.parametrize(
    "line", ["ansible-playbook --no-such-option x.yml", "ansible-playbook --limit", "ansible web --raw"]
)
def test_a_command_with_an_unknown_option_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(line)
    assert "usage" in capsys.readouterr().err
