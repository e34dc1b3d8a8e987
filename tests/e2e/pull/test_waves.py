# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publish in waves with a host that pulls: what it rolls back does not reach the hosts after it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from guides import guide_blocks
from lab import REPOSITORY, LabHost
from project import Project
from pulling import FETCH, pulling

PAGE = REPOSITORY / "docs/docsite/rst/publish.rst"
# The timer of the agent does this at its time.
PULL = f"""
- name: Begin to pull
  ansible.builtin.raw: systemctl start --no-block {FETCH}
  delegate_to: "{{{{ item }}}}"
  loop: "{{{{ publish_wave_hosts }}}}"
"""


def test_a_system_that_is_rolled_back_stays_in_the_first_wave(
    web2: LabHost, project: Project, tmp_path: Path
) -> None:
    (look,) = [block for block in guide_blocks(PAGE) if "nix_pull_status" in block]
    project.write("look.yml", textwrap.dedent(PULL) + look)
    with pulling(web2, project, tmp_path) as puller:
        puller.install()
        served = puller.server.directory
        variables: dict[str, Any] = {
            "nixos_flake": "./systems",
            "publish_cache": str(served / "cache"),
            "publish_public_url": f"{puller.server.url}/cache",
            "publish_cache_key": f"{puller.keys}/cache",
            "publish_pointers": str(served / "pointers"),
            "publish_pointer_key": f"{puller.keys}/pointer",
            "publish_waves": [["web2"]],
            "publish_wave_tasks": "look.yml",
        }
        # No host but that of the first wave is contacted.
        play = {
            "hosts": "web1:web2",
            "gather_facts": False,
            "vars": variables,
            "roles": ["nixferry.deploy.publish"],
        }

        def pointed(host: str) -> str:
            text = (served / "pointers/stable/hosts" / host).read_text()
            return text.partition("toplevel ")[2].partition("\n")[0]

        project.describe_hosts({"web1": {"version": "2"}, "web2": {"version": "2"}})
        project.run_playbook([play]).assert_ok()
        good = web2.current_system()
        assert pointed("web2") == good == web2.profile()
        other = pointed("web1")
        assert web2.http() == (200, "2")

        broken = {"version": "3", "activationScripts": {"fails": "false"}}
        project.describe_hosts({"web1": {"version": "3"}, "web2": broken})
        refused = project.run_playbook([play])
        assert refused.return_code != 0
        assert refused.result("Take the waves back")["published"]["web2"]["toplevel"] == good
        assert (pointed("web1"), pointed("web2")) == (other, good)
        assert (web2.current_system(), web2.boot_default()) == (good, good)
        # The host takes the pointer back to what it runs, and nothing else.
        assert puller.pull()["outcome"] == "unchanged"
