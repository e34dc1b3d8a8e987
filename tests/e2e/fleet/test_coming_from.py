# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user of colmena types what the page for newcomers says, step by step, and has the hive deployed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import yaml
from fleets import lay_out
from lab import REPOSITORY, LabHost
from project import Project

PAGE = REPOSITORY / "docs/docsite/rst/coming_from.rst"


def steps() -> list[list[str]]:
    """The commands of the numbered list."""
    return [shlex.split(command) for command in re.findall(r"^#\. ``(.+?)``", PAGE.read_text(), re.M)]


def files() -> dict[str, str]:
    """The files that the page has users write, by the name in their first line."""
    blocks = re.findall(r"^\.\. code-block:: \w+\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    texts = ["\n".join(line[3:] for line in block.splitlines()) for block in blocks]
    return {text.split()[1]: text for text in texts}


def test_the_steps_of_the_page_deploy_a_hive(web1: LabHost, project: Project) -> None:
    lab = yaml.safe_load((project.lab.directory / "inventory.yml").read_text())["lab"]
    hive = lay_out(project.directory / "fleets", {"web1": web1.ssh_port}) / "colmena"
    for name, text in files().items():
        (hive / name).write_text(text)
    login = ("ansible_ssh_private_key_file", "ansible_ssh_common_args")
    variables = hive / "group_vars/all.yml"
    variables.parent.mkdir()
    variables.write_text(yaml.safe_dump({name: lab["vars"][name] for name in login}))

    def typed(words: list[str]) -> str:
        _argv, settings = project.prepare([])
        del settings["ANSIBLE_CONFIG"]
        program = str(Path(sys.executable).with_name(words[0]))
        done = Project(hive, project.lab).run_prepared([program, *words[1:]], settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    check, graph, preview, one, every = steps()
    assert "works  web1: deploy@127.0.0.1" in typed(check)
    assert "|--@web:" in typed(graph)
    before = web1.snapshot()
    typed([*preview, "--limit", "web1"])
    assert web1.snapshot() == before
    assert one[-2:] == ["--limit", "web1"]
    assert "committed (1)             web1" in typed(one)
    assert web1.current_system() == web1.boot_default() == web1.profile() != before.profile
    assert "unchanged (1)             web1" in typed([*every, "--limit", "web1"])
