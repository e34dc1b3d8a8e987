# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kind system-manager on a Debian host, by the contract of the real program: tests/fixtures/mini-system-manager.

The tests of this file share one host and go from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
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

PROFILE = "/nix/var/nix/profiles/system-manager-profiles/system-manager"
GC_ROOT = "/nix/var/nix/gcroots/system-manager-current"
STATE = "/var/lib/system-manager/state/system-manager-state.json"

# Links and files: the engine leaves directories behind.
ETC_FILES = """
{ find /etc ! -type d | sort | xargs -d '\\n' stat -c '%N %a %U'
  find /etc -type f | sort | xargs -d '\\n' sha256sum; } | sha256sum
"""
ONESHOT = "[Service]\nType=oneshot\nExecStart="
SYSTEMS: dict[str, dict[str, Any]] = {
    "v1": {"version": "1", "etc": {"greeting": "hello from 1\n"}},
    "v2": {"version": "2", "etc": {"greeting": "hello from 2\n", "only-in-2": "2\n"}},
    "refused": {"version": "3", "preActivationAssertions": {"never": "echo 'not on my watch'; false"}},
    "unit_fails": {
        "version": "4",
        "etc": {"only-in-4": "4\n"},
        "units": {"broken.service": f"{ONESHOT}/bin/false\n"},
    },
    # Type simple: started as soon as it is forked, and again and again after that.
    "unit_dies": {
        "version": "5",
        "units": {"broken.service": "[Service]\nExecStart=/bin/sh -c 'sleep 0.4; exit 1'\nRestart=always\n"},
    },
    "hangs": {
        "version": "6",
        "etc": {"greeting": "hello from 6\n", "only-in-6": "6\n"},
        "units": {"slow.service": f"{ONESHOT}/bin/sleep 600\n"},
    },
    "unhealthy": {"version": "7", "web": {"healthy": False}},
}


@dataclass(frozen=True)
class Site:
    """The host, and what can be deployed to it."""

    host: LabHost
    paths: dict[str, str]
    source: Path

    def options(self, system: str, **more: Any) -> dict[str, Any]:
        url = "http://127.0.0.1:{{ lab_http_port }}/health"
        return {
            "kind": "system-manager",
            "toplevel": self.paths[system],
            "timeout_confirm": 10,
            "health_checks": [{"url": url, "retries": 2, "delay": 1, "timeout": 3}],
            **more,
        }

    def shown(self) -> tuple[str, ...]:
        """All that a deploy may change on the host."""
        host = self.host
        units = "systemctl list-units --plain --no-legend --state=active,activating,failed {web,broken,slow}.service"
        return (
            host.http("/version")[1],
            host.profile(PROFILE),
            " ".join(host.generations(PROFILE)),
            host.ask(f"readlink {GC_ROOT} || true"),
            host.ask(ETC_FILES),
            host.ask(f"bash -c '{units}' | cut -d ' ' -f 1 | sort"),
            " ".join(host.failed_units()),
            host.ask("ls /nix/var/nix/gcroots/nixferry 2>/dev/null || true"),
        )


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    source = materialise("mini-system-manager", tmp_path_factory.mktemp("systems") / "source", SYSTEMS)
    paths = build(source, {name: f"systemConfigs.{name}" for name in SYSTEMS})
    host = lab.hosts["fresh1"]
    host.make_anew()
    host.copy_closure(*paths.values())
    return Site(host, paths, source)


def test_first_system_that_fails_is_removed_again(site: Site, project: Project) -> None:
    before = site.shown()
    ran = project.run_playbook(switch_play("fresh1", site.options("unit_fails")))
    result = ran.result(SWITCH)
    assert result["outcome"] == "rolled-back", str(ran)
    assert result["failed_units"] == ["broken.service"], (
        "the program itself has said nothing and exited with 0"
    )
    await_end_of_guard(site.host)
    assert site.shown() == before


def test_first_deploy_and_update(site: Site, project: Project) -> None:
    host = site.host
    # Nothing but the controller holds on to it, until it is confirmed.
    unrooted = f"! nix-store --gc --print-dead 2>/dev/null | grep -qF {site.paths['v1']}"
    collected = [*site.options("v1")["health_checks"], {"command": unrooted}]
    ran = project.run_playbook(
        switch_play(
            "fresh1", site.options("v1", health_checks=collected), site.options("v1"), site.options("v2")
        )
    )
    assert outcomes(ran, "fresh1") == ["committed", "unchanged", "committed"], str(ran)
    assert ran.find(SWITCH)[1].result["changed"] is False
    await_end_of_guard(host)
    assert host.http("/version") == (200, "2")
    assert host.ask("cat /etc/greeting /etc/only-in-2") == "hello from 2\n2"
    assert host.generations(PROFILE) == (f"1 {site.paths['v1']}", f"2 {site.paths['v2']}")
    assert host.ask(f"readlink {GC_ROOT}") == site.paths["v2"]
    generations = project.run_playbook(task_play("fresh1", "nix_generations", {"kind": "system-manager"}))
    assert generations.result("nix_generations")["generation"] == 2

    checked = project.run_playbook(switch_play("fresh1", site.options("v1")), "--check", "--diff").assert_ok()
    assert checked.result(SWITCH)["outcome"] == "committed"
    assert host.http("/version") == (200, "2")


def test_whatever_fails_is_rolled_back_to_exactly_the_old_system(site: Site, project: Project) -> None:
    before = site.shown()
    assert before[0] == "2"
    systems = {
        "refused": "failed with exit code 1",
        "unit_fails": "broken.service",
        "unit_dies": "broken.service",
        "unhealthy": "status 404",
    }
    for system, said in systems.items():
        ran = project.run_playbook(switch_play("fresh1", site.options(system)))
        assert outcomes(ran, "fresh1") == ["rolled-back"], str(ran)
        assert said in ran.result(SWITCH)["msg"], str(ran)
        await_end_of_guard(site.host)
        assert site.shown() == before, system


def test_activation_that_is_cut_off_leaves_nothing_that_its_program_knows_nothing_of(
    site: Site, project: Project
) -> None:
    """The state file is written last: the old system's program alone would leave the new units running."""
    before = site.shown()
    ran = project.run_playbook(switch_play("fresh1", site.options("hangs", timeout_activation=4)))
    assert outcomes(ran, "fresh1") == ["rolled-back"], str(ran)
    await_end_of_guard(site.host)
    assert site.shown() == before


def test_power_cut_in_the_middle_is_undone_by_the_boot(site: Site, project: Project) -> None:
    host = site.host
    before = site.shown()
    with controller_at_work(project, switch_play("fresh1", site.options("hangs"))):
        wait_until(lambda: host.http("/version")[1] == "6", deadline=PHASE_DEADLINE, what="version 6")
        assert host.ask(f"cat {STATE}").count(site.paths["hangs"]) == 0
        host.power_cut()
    # Of the units of the new system one starts for ten minutes.
    host.power_on(wait=False)
    host.wait_ready()
    assert await_end_of_guard(host) == "rolled-back"
    wait_until(lambda: host.http("/version")[1] == "2", deadline=PHASE_DEADLINE, what="version 2")
    assert site.shown() == before


def test_rollback_to_a_generation(site: Site, project: Project) -> None:
    options = {"kind": "system-manager", "timeout_confirm": 10}
    ran = project.run_playbook(task_play("fresh1", "nix_rollback", options)).assert_ok()
    assert ran.result("nix_rollback")["target_generation"] == 1
    await_end_of_guard(site.host)
    assert site.host.http("/version") == (200, "1")
    assert site.host.ask("cat /etc/greeting; ls /etc/only-in-2 2>/dev/null || true") == "hello from 1"
    assert site.host.profile(PROFILE) == site.paths["v1"]
