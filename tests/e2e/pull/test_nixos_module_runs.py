# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module on a host: what it evaluates to is built, booted, and pulls the next system.

What stands for NixOS builds the packages, units and files that the module asks for (tests/fixtures/nixpkgs).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import REPOSITORY, LabHost, nix_environment, run
from plays import task_play
from project import Project
from pulling import ACTIVATE, FETCH, STATE, Pulling, pulling

MODULE = REPOSITORY / "plugins/plugin_utils/nix/pull.nix"
TIMER = "nixferry-pull.timer"
# On NixOS every user reaches the Nix daemon, and the names of users that systemd makes up are known (nss-systemd). On
# the lab's distribution neither is so: the role makes a user, and gives the unit a group.
AS_ON_NIXOS = """
chmod 755 /nix/var/nix/daemon-socket
id -u nixferry-pull >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /bin/false nixferry-pull
"""


class Configured:
    """A host whose own configuration has the agent."""

    def __init__(self, puller: Pulling, nixpkgs: Path) -> None:
        self.puller, self.nixpkgs = puller, nixpkgs
        run([str(REPOSITORY / "tests/fixtures/nixpkgs/materialise"), str(nixpkgs)])
        self.settings: dict[str, Any] = {
            "enable": True,
            "url": f"{puller.server.url}/pointers",
            "publicKeys": [puller.public_key],
            "pointerKeys": [(puller.keys / "pointer.pub").read_text()],
            # The test starts the agent itself.
            "calendar": "*-01-01",
            "timeoutReach": 8,
        }

    def build(self, version: str, **settings: Any) -> str:
        """The system of the host, with the module unless `enable` says otherwise."""
        given = json.dumps(json.dumps({**self.settings, **settings})).replace("${", "\\${")
        expression = (
            f"(import {self.nixpkgs}/nixos/lib/eval-config.nix {{ modules = [ {MODULE} {{ "
            f'networking.hostName = "{self.puller.host.name}"; mini.version = "{version}"; '
            f"nixferry.pull = builtins.fromJSON {given}; }} ]; }}).config.system.build.toplevel"
        )
        argv = ["nix-build", "--no-out-link", "--quiet", "--expr", expression]
        toplevel = run(argv, environment=nix_environment()).stdout.strip()
        self.puller.store(toplevel)
        return toplevel

    def pull(self, toplevel: str) -> dict[str, str]:
        self.puller.offer(self.puller.pointer(toplevel))
        return self.puller.pull()

    def fragment(self, unit: str) -> str:
        """The file from which systemd has a unit."""
        return self.puller.host.ask(f"readlink -f $(systemctl show --property=FragmentPath --value {unit})")


@pytest.fixture
def configured(web2: LabHost, project: Project, tmp_path: Path) -> Iterator[Configured]:
    with pulling(web2, project, tmp_path) as made:
        web2.execute(AS_ON_NIXOS)
        yield Configured(made, tmp_path / "nixpkgs")
        print(made.story())  # noqa: T201 - pytest shows it when a test fails


@pytest.mark.takes_turns(2, among="pulls")
def test_the_agent_of_a_configuration_pulls_the_next_ones(configured: Configured) -> None:
    """From a push to three pulls, one of them refused by the host, and a power cut."""
    puller = configured.puller
    host, project = puller.host, puller.project
    first = configured.build("2")
    host.copy_closure(first)
    assert project.run_playbook(task_play(host.name, "nix_switch", {"toplevel": first})).assert_ok()
    assert host.current_system() == first
    assert host.ask(f"systemctl is-active {TIMER}") == "active"
    for unit in (TIMER, FETCH, ACTIVATE, "nixferry-pull-reach.service", "nixferry-pull-resume.service"):
        assert configured.fragment(unit).startswith("/nix/store/")
    first_agent = host.ask(f"readlink {STATE}/agent")
    assert first_agent.startswith("/nix/store/")

    # Now it is a host that pulls, and the role leaves it to its configuration.
    refused = project.run_playbook(task_play(host.name, "nix_switch", {"toplevel": first, "action": "test"}))
    assert "despite_pull" in refused.stdout
    assert "nixferry.pull" in project.run_playbook(puller.play()).stdout

    # The agent that is replaced by the system that it activates sees this to its end.
    second = configured.build("3", minFree=1, healthChecks=[{"unit": "web.service"}])
    done = configured.pull(second)
    assert (done["outcome"], host.current_system(), host.boot_default()) == ("committed", second, second), (
        done
    )
    assert host.http() == (200, "3")
    second_agent = host.ask(f"readlink {STATE}/agent")
    assert second_agent != first_agent
    assert second_agent in host.ask(f"systemctl show --property=ExecStart {FETCH} {ACTIVATE}")
    assert puller.pull()["outcome"] == "unchanged"

    # A host without an agent could not be helped from afar.
    done = configured.pull(configured.build("4", enable=False))
    assert (done["outcome"], host.current_system(), host.profile()) == ("rolled-back", second, second), done
    assert host.ask(f"systemctl is-active {TIMER}; readlink {STATE}/agent") == f"active\n{second_agent}"

    host.power_cut()
    host.power_on()
    host.execute(AS_ON_NIXOS)
    assert host.ask(f"systemctl is-active {TIMER}") == "active"
    third = configured.build("5")
    done = configured.pull(third)
    assert (done["outcome"], host.current_system(), host.boot_default()) == ("committed", third, third), done

    puller.agent("hold", "0", "a test")
    assert configured.pull(configured.build("6"))["outcome"] == "held"
