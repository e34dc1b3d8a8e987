# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the README and the guide tell users to write works as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_systems import FAULTS
from guides import REBOOTS, beside, guide_blocks, inventory_for_the_lab, is_playbook, readme_blocks
from lab import LabHost
from plays import SWITCH
from project import Project


@pytest.mark.parametrize("document", ["readme", "guide"])
def test_the_inventory_and_the_ten_lines(
    web1: LabHost, web2: LabHost, project: Project, document: str
) -> None:
    blocks = readme_blocks() if document == "readme" else guide_blocks()
    inventory, playbook = blocks[0], blocks[1]
    project.describe_hosts({"web1": {"version": document}, "web2": {"version": document}})
    project.write("inventory.yml", inventory_for_the_lab(inventory, project))
    beside(project, project.directory / "playbook.yml")

    run = project.run_playbook(playbook, "--check", "--diff").assert_ok()
    assert web1.http("/version") == (200, "stock")
    run = project.run_playbook(playbook).assert_ok()
    for host in (web1, web2):
        assert run.result(SWITCH, host.name)["outcome"] == "committed"
        assert host.http("/version") == (200, document)
    again = project.run_playbook(playbook).assert_ok()
    assert again.changed("web1") == again.changed("web2") == []


def test_the_playbooks_of_the_collection(web1: LabHost, web2: LabHost, project: Project) -> None:
    """Deploy, status and rollback without a playbook of one's own, as the README calls them."""
    project.describe_hosts({"web1": {"version": "2"}, "web2": {"version": "2"}})
    project.write("inventory.yml", inventory_for_the_lab(readme_blocks()[0], project))
    beside(project, project.directory / "playbook.yml")

    def call(name: str, *arguments: str) -> str:
        return project.run_named(f"nixferry.deploy.{name}", *arguments).assert_ok().stdout

    call("deploy", "-e", "nixos_flake=.")
    assert web1.http("/version") == web2.http("/version") == (200, "2")
    shown = call("status")
    assert Path(web1.current_system()).name[:8] in shown
    assert "FLEET" in shown
    call("rollback", "-e", "to=previous", "--limit", "web1")
    assert web1.http("/version") == (200, "stock")
    assert web2.http("/version") == (200, "2")


def test_the_playbook_that_reboots_where_required(web1: LabHost, web2: LabHost, project: Project) -> None:
    project.describe_hosts({"web1": {"version": "2", **FAULTS["new_kernel"]}, "web2": {"version": "2"}})
    project.write("inventory.yml", inventory_for_the_lab(readme_blocks()[0], project))
    beside(project, project.directory / "playbook.yml")
    run = project.run_playbook(guide_blocks(REBOOTS)[0]).assert_ok()
    assert [run.result(SWITCH, host)["rebooted"] for host in ("web1", "web2")] == [True, False]
    assert web1.booted_system() == web1.boot_default() == run.result(SWITCH, "web1")["new"]
    assert web2.http("/version") == (200, "2")


def test_every_playbook_in_the_documentation_is_one(project: Project) -> None:
    playbooks = [
        text for text in [*readme_blocks(), *guide_blocks(), *guide_blocks(REBOOTS)] if is_playbook(text)
    ]
    assert len(playbooks) >= 5
    for text in playbooks:
        project.run_playbook(text, "--syntax-check").assert_ok()
