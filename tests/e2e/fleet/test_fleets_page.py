# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the page about fleets tells users to write works as it stands there."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml
from guides import beside
from lab import REPOSITORY, LabHost
from project import Project

PAGE = REPOSITORY / "docs/docsite/rst/fleets.rst"
HOSTS = ("web1", "web2", "web3")


@pytest.fixture
def pages(project: Project) -> dict[str, str]:
    """The playbooks of the page by the name in their first line; the lab's hosts are in the group nixos."""
    inventory = yaml.safe_load((project.directory / "inventory.yml").read_text())
    inventory["nixos"] = {"hosts": dict.fromkeys(HOSTS)}
    project.write("inventory.yml", yaml.safe_dump(inventory))
    found = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    blocks = [textwrap.dedent(block).strip() + "\n" for block in found]
    return {block.split()[1]: block for block in blocks}


def describe(project: Project, version: str, ill: str = "") -> None:
    systems = {name: {"version": version, "web": {"healthy": name != ill}} for name in HOSTS}
    project.describe_hosts(systems)
    beside(project, project.directory / "playbook.yml")


def test_every_playbook_of_the_page_is_one(project: Project, pages: dict[str, str]) -> None:
    assert set(pages) == {"deploy.yml", "canary.yml", "steps.yml"}
    for text in pages.values():
        project.run_playbook(text, "--syntax-check").assert_ok()


def test_a_later_batch_that_fails_takes_back_the_ones_before(
    web1: LabHost, web2: LabHost, web3: LabHost, project: Project, pages: dict[str, str]
) -> None:
    fleet = (web1, web2, web3)
    stock = [host.current_system() for host in fleet]
    describe(project, "2", ill="web3")
    run = project.run_playbook(pages["canary.yml"])
    assert run.return_code != 0
    # The first two batches are one host each, and were deployed.
    taken_back = [
        entry.host for entry in run.find("nix_rollback") if entry.result.get("outcome") == "committed"
    ]
    assert sorted(taken_back) == ["web1", "web2"], run
    for host, old in zip(fleet, stock, strict=True):
        assert host.current_system() == host.boot_default() == host.profile() == old
        assert host.http("/version") == (200, "stock")

    # When all goes well, nothing is taken back.
    describe(project, "3")
    run = project.run_playbook(pages["canary.yml"], "--check").assert_ok()
    assert not run.find("nix_rollback")


def test_the_steps_of_the_page(web3: LabHost, project: Project, pages: dict[str, str]) -> None:
    describe(project, "2")
    project.run_playbook(pages["steps.yml"], "--limit", "web3").assert_ok()
    assert web3.http("/version") == (200, "2")
    assert web3.current_system() == web3.boot_default()
