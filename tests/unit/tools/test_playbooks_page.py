# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about the playbooks is what they are, and every command in the documentation names what exists."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import playbooks_page
import pytest
import yaml

from ansible_collections.nixferry.deploy.plugins.doc_fragments import _report
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.variables import PLAYBOOK_VARIABLES

# The callback's own section of ansible.cfg, which the prefix makes alike.
INTERNAL = "nixferry_report"
REPOSITORY = Path(__file__).parents[3]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs/docsite/rst").glob("*.rst")),
    *sorted((REPOSITORY / "examples").rglob("*.md")),
]
# A call in a block or between quotes, with the lines that a backslash continues.
CALL = re.compile(
    r"ansible-playbook(?:[^\n`\\]|\\\n)*\bnixferry\.deploy\.(?P<name>\w+)(?P<rest>(?:[^\n`\\;|&]|\\\n)*)"
)
BLOCK = r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)"
VARIABLE = re.compile(r"^(?P<name>[A-Za-z_]\w*)=")


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every call of a playbook of the collection in a text: its name, and the variables that it sets."""
    for match in CALL.finditer(text):
        whole = match[0].replace("\\\n", " ").partition(" #")[0]
        try:
            words = shlex.split(whole)
        except ValueError:
            # The end of a quoted JSON is on the next line.
            words = whole.split()
        set_here: list[str] = []
        for flag, value in itertools.pairwise(words):
            if flag in ("-e", "--extra-vars"):
                found = VARIABLE.match(value)
                set_here += (
                    [found["name"]] if found else list(yaml.safe_load(value)) if value[-1:] == "}" else []
                )
        yield match["name"], set_here


def test_the_page_is_up_to_date() -> None:
    assert playbooks_page.main(["--check"]) == 0, "run make pages"


def test_every_command_in_the_documentation_names_a_playbook_and_variables_that_it_reads() -> None:
    found = 0
    for document in DOCUMENTS:
        for name, variables in calls(document.read_text(encoding="utf-8")):
            found += 1
            assert name in playbooks_page.names(), f"{document.name}: {name}"
            unknown = [each for each in variables if not playbooks_page.playbook(name).knows(each)]
            assert not unknown, f"{document.name}: {name} does not read {unknown}"
    assert found > 30


def test_every_variable_that_the_collection_knows_is_on_the_page() -> None:
    described = set(playbooks_page.meanings()["common"])
    for name in playbooks_page.names():
        described |= set(playbooks_page.playbook(name).variables)
    assert not PLAYBOOK_VARIABLES - described - {INTERNAL}


def test_every_import_in_the_documentation_names_a_playbook_and_variables_that_it_reads() -> None:
    found = 0
    for document in DOCUMENTS:
        for block in re.findall(BLOCK, document.read_text(encoding="utf-8"), re.MULTILINE):
            content = yaml.safe_load(textwrap.dedent(block)) if "import_playbook: nixferry" in block else ()
            for play in content:
                name = play["import_playbook"].removeprefix("nixferry.deploy.")
                found += 1
                unknown = [
                    each for each in play.get("vars", ()) if not playbooks_page.playbook(name).knows(each)
                ]
                assert not unknown, f"{document.name}: {name} does not read {unknown}"
    assert found >= 4


def test_every_variable_of_the_environment_in_the_documentation_is_read() -> None:
    read = {name for each in playbooks_page.names() for name in playbooks_page.playbook(each).environment}
    read |= set(re.findall(r"- name: (NIXFERRY_\w+)", _report.ModuleDocFragment.DOCUMENTATION))
    assert len(read) > 15
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = {name for name in re.findall(r"\bNIXFERRY_[A-Z_]+\b", text) if f"secrets.{name}" not in text}
        # The secret of a job, which goes into NIXFERRY_TOKEN_FILE; and those of the project's own tests.
        ours = {
            name for name in named if name.startswith(("NIXFERRY_TEST_", "NIXFERRY_LAB_", "NIXFERRY_WALK_"))
        }
        assert not named - read - ours - {"NIXFERRY_TOKEN", "NIXFERRY_NO_INSTALL"}, document.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$ ansible-playbook -i i.yml nixferry.deploy.plan -e a=1 -e b=2", [("plan", ["a", "b"])]),
        ("ansible-playbook nixferry.deploy.deploy \\\n  -e x=1  # why", [("deploy", ["x"])]),
        ("``ansible-playbook nixferry.deploy.status`` with ``-e a=1``", [("status", [])]),
        (
            """ansible-playbook nixferry.deploy.check_fleet -e '{"fleet": "."}'""",
            [("check_fleet", ["fleet"])],
        ),
        ("ansible-playbook deploy.yml -e a=1", []),
    ],
)
def test_calls_are_found(text: str, expected: list[tuple[str, list[str]]]) -> None:
    assert list(calls(text)) == expected


def test_what_a_playbook_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "example.yml").write_text("""
- hosts: "{{ nixferry_hosts | default('web') }}"
  vars:
    own: 1
    nixos_plan: "{{ chosen | default('') }}"
    publish_channel: "{{ lookup('ansible.builtin.env', 'EXAMPLE_CHANNEL') | default('stable', true) }}"
  tasks:
    - ansible.builtin.import_role: {name: nixferry.deploy.nixos, tasks_from: reboot}
      register: result
      when: wanted | default(false) and own and result is defined and _hidden and inventory_hostname
    - ansible.builtin.debug: {msg: "{% for each in several %}{{ each }}{% endfor %}"}
""")
    monkeypatch.setattr(playbooks_page, "PLAYBOOKS", tmp_path)
    found = playbooks_page.playbook.__wrapped__("example")
    assert {name: variable.defaults for name, variable in found.variables.items()} == {
        "nixferry_hosts": {"web"},
        "chosen": {"''"},
        "wanted": {"false"},
        "several": set(),
    }
    assert found.environment == {"EXAMPLE_CHANNEL": "publish_channel"}
    assert found.roles == {"nixos": ("reboot",)}
    assert found.knows("nixos_health_checks")
    assert not found.knows("nixos_flake")


def test_a_variable_without_a_meaning_is_an_error() -> None:
    with pytest.raises(playbooks_page.PageError, match=r"deploy: the playbook reads .*nixferry_hosts"):
        playbooks_page._section(playbooks_page.playbook("deploy"), {"about": "", "example": []})
