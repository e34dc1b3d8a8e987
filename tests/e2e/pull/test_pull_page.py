# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page about pulling: its plays and commands, on a host with the older Nix."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from guides import guide_blocks
from lab import REPOSITORY, LabHost, nix_environment, run
from project import Project
from pulling import pulling

PAGE = REPOSITORY / "docs/docsite/rst/pull.rst"


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    return [textwrap.dedent(block).strip() for block in found]


def test_the_page(web1: LabHost, project: Project, tmp_path: Path) -> None:
    with pulling(web1, project, tmp_path) as puller:
        set_up, _certificates, profile, wait, hold = guide_blocks(PAGE)
        project.write("pointer.pub", Path(f"{puller.keys}/pointer.pub").read_text())

        def own(play: str) -> str:
            text = play.replace("https://pointers.example.org", f"{puller.server.url}/pointers")
            text = re.sub(r"cache\.example\.org-1:\S+=", puller.public_key, text)
            return re.sub("hosts: (nixos|others)", f"hosts: {web1.name}", text)

        assert project.run_playbook(own(profile), "--check").assert_ok().changed(web1.name)
        assert project.run_playbook(own(set_up)).assert_ok().changed(web1.name)
        toplevel = puller.publish({"version": "2"})
        assert puller.pull()["outcome"] == "committed", puller.story()
        assert (web1.current_system(), web1.boot_default()) == (toplevel, toplevel)

        waiting = wait.replace("hosts: nixos", f"hosts: {web1.name}")
        project.run_playbook(waiting, variables={"serial": puller.serial}).assert_ok()
        assert (
            project.run_playbook(hold.replace("hosts: nixos", f"hosts: {web1.name}"))
            .assert_ok()
            .changed(web1.name)
        )
        puller.publish({"version": "3"})
        assert (puller.pull()["outcome"], web1.current_system()) == ("held", toplevel)
        (by_hand,) = blocks("sh")
        assert "outcome=held" in web1.ask(by_hand)
        puller.agent("release")
        assert puller.pull()["outcome"] == "committed"

    (module,) = blocks("nix")
    run(["nix-instantiate", "--parse", "--expr", f"nixferry: {module}"], environment=nix_environment())
