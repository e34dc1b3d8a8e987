# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of which one host pulls and another does not, deployed by one playbook."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab import LabHost
from pulling import Pulling

PLAYBOOK = "nixferry.deploy.deploy_or_publish"


@pytest.mark.takes_turns(2, among="pulls")
def test_each_host_gets_its_system_in_its_own_way(puller: Pulling, web1: LabHost) -> None:
    pulled, project = puller.host, puller.project
    served = puller.server.directory
    variables: dict[str, Any] = {
        "nixferry_hosts": f"{web1.name}:{pulled.name}",
        "nixos_file": str(project.systems / "default.nix"),
        "nixos_attr": "{host}",
        "publish_cache": f"file://{served}/cache",
        "publish_cache_key": f"{puller.keys}/cache",
        "publish_public_keys": [puller.public_key],
        "publish_pointers": f"{served}/pointers",
        "publish_pointer_key": f"{puller.keys}/pointer",
    }
    told = json.dumps(variables)
    project.describe_hosts({web1.name: {"version": "7"}, pulled.name: {"version": "7"}})
    before = pulled.current_system()

    # A push alone is refused by the host that pulls, and the other one gets its system all the same.
    pushed = project.run_named("nixferry.deploy.deploy", "--extra-vars", told)
    assert pushed.return_code != 0
    assert "deploy_or_publish" in pushed.stdout
    assert web1.http("/version") == (200, "7")
    assert pulled.current_system() == before

    project.describe_hosts({web1.name: {"version": "8"}, pulled.name: {"version": "8"}})
    looked = project.run_named(PLAYBOOK, "--check", "--extra-vars", told).assert_ok()
    assert web1.http("/version") == (200, "7")
    assert looked.changed(web1.name)
    assert puller.pull()["outcome"] == "unchanged"

    project.run_named(PLAYBOOK, "--extra-vars", told).assert_ok()
    assert web1.http("/version") == (200, "8")
    # The publisher does not touch the host: its own agent takes the system at its next look.
    assert pulled.current_system() == before
    assert puller.pull()["outcome"] == "committed", puller.story()
    assert pulled.http("/version") == (200, "8")

    again = project.run_named(PLAYBOOK, "--extra-vars", told).assert_ok()
    assert not again.changed(web1.name)
    assert not again.changed(pulled.name)
