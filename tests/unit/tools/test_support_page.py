# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about what is tested says what the tests use."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from guard_host import SHELLS

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/docsite/rst/support.rst").read_text(encoding="utf-8")


def table(title: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by their first cell."""
    section = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, title
    rows = re.findall(r"^   \* - (.*?)(?=^   \* - |^\S|\Z)", section[1], re.MULTILINE | re.DOTALL)
    cells = [[cell.strip() for cell in re.split(r"\n     - ?", row)] for row in rows[1:]]
    return {first: rest for first, *rest in cells}


def test_ansible_core_is_that_of_the_requirements() -> None:
    required = (REPOSITORY / "requirements/demo.txt").read_text()
    pinned = set(re.findall(r"^ansible-core==(\d+\.\d+)", required, re.MULTILINE))
    tested = {name for name, cells in table("Ansible").items() if cells[1].startswith("tested")}
    assert tested == pinned
    oldest = yaml.safe_load((REPOSITORY / "meta/runtime.yml").read_text())["requires_ansible"]
    assert oldest == f">={min(tested)}.0"


def test_nix_and_debian_are_those_of_the_lab() -> None:
    readme = (REPOSITORY / "tests/lab/README.md").read_text()
    lab = dict(re.findall(r"^\| (bookworm|trixie|forky) \| (\d\.\d+) \|", readme, re.MULTILINE))
    rows = table("Nix")
    assert [name.split()[0] for name in rows if "Debian" in name] == list(lab.values())
    on_controllers = {name.split()[0] for name, cells in rows.items() if cells[0] == "tested"}
    assert on_controllers == set(lab.values())
    lab_hosts = yaml.safe_load((REPOSITORY / "tests/lab/vars.yml").read_text())["lab_hosts"]
    on_hosts = {name.split()[0] for name, cells in rows.items() if cells[1] == "tested"}
    assert on_hosts == {lab[host["release"]] for host in lab_hosts}


def test_every_kind_has_a_row() -> None:
    assert {name.strip("`") for name in table("Kinds")} == set(KINDS)


def test_the_shells_are_those_that_the_guard_is_tested_with() -> None:
    tested = {
        name.split("``")[1]
        for name, cells in table("Shells").items()
        if "as ``/bin/sh``" in name and "tested" in cells[0]
    }
    assert tested == set(SHELLS)
