# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kind darwin as far as its contract is POSIX, on a Debian host: tests/fixtures/mini-darwin. Nothing here ran on macOS.

The tests of this file share the host and go from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from kinds import (
    PHASE_DEADLINE,
    await_end_of_guard,
    build,
    controller_at_work,
    materialise,
    outcomes,
    switch_play,
)
from lab import Lab, LabHost
from plays import SWITCH, task_play
from processes import wait_until
from project import Project

SYSTEMS: dict[str, dict[str, Any]] = {
    "v1": {"etc": {"greeting": "hello from 1\n"}, "launchDaemons": {"org.web.plist": "1\n"}},
    "v2": {
        "version": "2",
        "etc": {"greeting": "hello from 2\n", "only-in-2": "2\n"},
        "launchDaemons": {"org.web.plist": "2\n"},
    },
    "collides": {"version": "3", "etc": {"hostname": "mine\n"}},
    # All but the link to the running system is done.
    "fails": {
        "version": "4",
        "etc": {"greeting": "hello from 4\n", "only-in-4": "4\n"},
        "launchDaemons": {"org.only-in-4.plist": "4\n"},
        "postActivation": "false",
    },
    "hangs": {
        "version": "5",
        "etc": {"only-in-5": "5\n"},
        "launchDaemons": {"org.only-in-5.plist": "5\n"},
        "postActivation": "sleep 600",
    },
    "old_style": {"version": "6", "activateUser": 'id -un >"$HOME/activated-as"'},
}


@dataclass(frozen=True)
class Site:
    """The host, and what can be deployed to it."""

    host: LabHost
    paths: dict[str, str]

    def options(self, system: str, **more: Any) -> dict[str, Any]:
        return {"kind": "darwin", "toplevel": self.paths[system], "timeout_confirm": 10, **more}

    def shown(self) -> tuple[str, ...]:
        """All that a deploy may change on the host."""
        host = self.host
        return (
            host.current_system(),
            host.profile(),
            " ".join(host.generations()),
            host.ask("find /etc -lname '/etc/static/*' -o -path /etc/static | sort | xargs -r stat -c %N"),
            host.ask("cd /Library/LaunchDaemons 2>/dev/null && grep . * || true"),
            host.ask("readlink /nix/var/nix/gcroots/current-system || true"),
        )


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    source = materialise("mini-darwin", tmp_path_factory.mktemp("systems") / "source", SYSTEMS)
    paths = build(source, {name: f"darwinConfigurations.{name}.system" for name in SYSTEMS})
    host = lab.hosts["fresh1"]
    host.make_anew()
    host.copy_closure(*paths.values())
    return Site(host, paths)


def test_first_system_is_refused_for_an_unknown_file(site: Site, project: Project) -> None:
    ran = project.run_playbook(switch_play("fresh1", site.options("collides")))
    assert outcomes(ran, "fresh1") == ["failed"], str(ran)
    message = ran.result(SWITCH)["msg"]
    assert any("/etc/hostname" in line for line in ran.result(SWITCH)["log"])
    assert "there was no old system to go back to" in message
    assert "darwin-uninstaller" in message
    await_end_of_guard(site.host)
    assert site.host.profile() == ""


def test_deploys_failures_and_going_back(site: Site, project: Project) -> None:
    host = site.host
    ran = project.run_playbook(
        switch_play(
            "fresh1",
            site.options("v1"),
            site.options("v1"),
            site.options("v2"),
            site.options("v2", action="test"),
        )
    )
    assert outcomes(ran, "fresh1") == ["committed", "unchanged", "committed", "unchanged"], str(ran)
    await_end_of_guard(host)
    before = site.shown()
    assert before[:2] == (site.paths["v2"], site.paths["v2"])
    assert before[5] == "/run/current-system"
    assert host.ask("cat /etc/greeting /etc/only-in-2 /Library/LaunchDaemons/*") == "hello from 2\n2\n2"
    # Each of them leaves something behind that only the next activation could know of.
    failing = (
        site.options("collides"),
        site.options("fails"),
        site.options("hangs", timeout_activation=4),
        site.options("v1", health_checks=[{"command": "false", "retries": 0}]),
    )
    ran = project.run_playbook(switch_play("fresh1", *failing))
    assert outcomes(ran, "fresh1") == ["rolled-back"] * len(failing), str(ran)
    await_end_of_guard(host)
    assert site.shown() == before
    ran = project.run_playbook(task_play("fresh1", "nix_rollback", {"kind": "darwin", "timeout_confirm": 10}))
    assert ran.assert_ok().result("nix_rollback")["target_generation"] == 1
    await_end_of_guard(host)
    assert host.ask("cat /etc/greeting; ls /etc/only-in-2 2>/dev/null || true") == "hello from 1"


def test_power_cut_before_the_confirmation_comes_back_with_the_old_profile(
    site: Site, project: Project
) -> None:
    """The profile is what macOS activates after a restart; on this host the guard's unit does the rest."""
    before = site.shown()
    with controller_at_work(project, switch_play("fresh1", site.options("hangs"))):
        wait_until(
            lambda: (
                site.host.ask("cat /Library/LaunchDaemons/org.only-in-5.plist 2>/dev/null || true") == "5"
            ),
            deadline=PHASE_DEADLINE,
            what="the new service",
        )
        assert site.host.profile() == site.paths["v1"]
        site.host.power_cut()
    site.host.power_on()
    assert await_end_of_guard(site.host) == "rolled-back"
    assert site.shown() == before


def test_system_of_before_2025_has_a_part_for_the_user_who_called_sudo(site: Site, project: Project) -> None:
    login = {"ansible_user": "deploy"}
    ran = project.run_playbook(switch_play("fresh1", site.options("old_style"), become=True, vars=login))
    assert outcomes(ran, "fresh1") == ["committed"], str(ran)
    assert site.host.ask("cat /home/deploy/activated-as") == "deploy"
    await_end_of_guard(site.host)
    ran = project.run_playbook(switch_play("fresh1", site.options("v1"), site.options("old_style")))
    assert outcomes(ran, "fresh1") == ["committed", "rolled-back"], str(ran)
    assert "become root with sudo" in "\n".join(ran.result(SWITCH)["log"])
