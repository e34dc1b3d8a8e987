# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the page about a new host, on a host that has never been deployed to."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap

from guides import beside, guide_blocks, inventory_for_the_lab
from lab import REPOSITORY, LabHost
from project import Project

PAGE = REPOSITORY / "docs/docsite/rst/new_host.rst"
# Seconds for Nix to read a file, which takes it a fraction of one.
PARSE_DEADLINE = 60


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    return [textwrap.dedent(block) for block in found]


def test_the_commands_check_and_deploy_a_host(web1: LabHost, project: Project) -> None:
    project.describe_hosts({"web1": {"version": "first"}})
    project.write("inventory.yml", inventory_for_the_lab(guide_blocks(PAGE)[0], project))
    beside(project, project.directory / "playbook.yml")
    (console,) = (block for block in blocks("console") if "check_fleet" in block)
    commands = [shlex.split(line.removeprefix("$ ")) for line in console.splitlines() if line]
    assert commands[0][:4] == ["ansible", "-i", "inventory.yml", "web1"], (
        "ansible's own command, tested elsewhere"
    )
    outcomes = []
    for program, *arguments in commands[1:]:
        assert program == "ansible-playbook"
        name = next(word for word in arguments if word.startswith("nixferry.deploy."))
        run = project.run_named(name, *(word for word in arguments if word != name)).assert_ok()
        outcomes.append((name.rpartition(".")[2], web1.http("/version")[1], "unchanged (1)" in run.stdout))
    assert outcomes == [
        ("check_fleet", "stock", False),
        ("deploy", "stock", False),
        ("deploy", "first", False),
        ("deploy", "first", True),
    ]


def test_nix_reads_the_code() -> None:
    code = blocks("nix")
    assert len(code) == 2
    for text in code:
        subprocess.run(
            ["nix-instantiate", "--parse", "-"],
            input=text,
            text=True,
            check=True,
            capture_output=True,
            timeout=PARSE_DEADLINE,
        )
