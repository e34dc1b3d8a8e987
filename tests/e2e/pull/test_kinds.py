# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts of another distribution pull: a system of system-manager's, and a service in a profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kinds import build, materialise
from lab import LabHost
from processes import wait_until
from project import Project
from pulling import Pulling, pulling

SYSTEM_MANAGER = "/nix/var/nix/profiles/system-manager-profiles/system-manager"
WEB = "/nix/var/nix/profiles/web"
BROKEN = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
PAGE_DEADLINE = 20  # seconds until a started service must answer


@pytest.fixture
def other(fresh1: LabHost, project: Project, tmp_path: Path) -> Iterator[Pulling]:
    """A host without NixOS, and without an agent yet."""
    with pulling(fresh1, project, tmp_path) as made:
        yield made
        print(made.story())  # noqa: T201 - pytest shows it when a test fails


def offer(puller: Pulling, toplevel: str) -> dict[str, str]:
    """Publish a closure, and let the host pull once."""
    puller.store(toplevel)
    puller.offer(puller.pointer(toplevel))
    return puller.pull()


def serves(host: LabHost, version: str) -> None:
    wait_until(lambda: host.http() == (200, version), deadline=PAGE_DEADLINE, what=f"version {version}")


@pytest.mark.takes_turns(2, among="pulls")
def test_a_host_pulls_systems_of_system_manager(other: Pulling, tmp_path: Path) -> None:
    """From none at all to a first and a second one; one that fails, and one that cuts the host off."""
    host = other.host
    # The engine removes the file of a unit before it stops it, so that an ExecStop= would not be known any more.
    route = f"blackhole {other.server.address}"
    words = f"trap 'ip route del {route}; exit' TERM; ip route add {route}; while :; do sleep 1; done"
    cut = f'[Service]\nExecStart=/bin/sh -c "{words}"\n'
    systems = {
        "broken": {"version": "0", "units": {"broken.service": BROKEN}},
        "v1": {"version": "1", "etc": {"greeting": "1\n"}},
        "v2": {"version": "2", "etc": {"greeting": "2\n"}},
        "cut": {"version": "3", "units": {"cut.service": cut}},
    }
    source = materialise("mini-system-manager", tmp_path / "source", systems)
    paths = build(source, {name: f"systemConfigs.{name}" for name in systems})
    other.variables = {
        "pull_agent_kind": "system-manager",
        "pull_agent_health_checks": [{"unit": "web.service", "retries": 1, "timeout": 3}],
    }
    assert other.install().changed(host.name)
    assert not other.install().changed(host.name)

    # The first one ever is taken away again if it fails.
    done = offer(other, paths["broken"])
    assert (done["outcome"], "broken.service" in done["message"]) == ("rolled-back", True), done
    assert (host.profile(SYSTEM_MANAGER), host.http()[0]) == ("", 0)
    assert host.ask("ls /etc/systemd/system/broken.service 2>/dev/null || true") == ""

    assert offer(other, paths["v1"])["outcome"] == "committed"
    assert offer(other, paths["v2"])["outcome"] == "committed"
    assert (host.ask("cat /etc/greeting"), host.profile(SYSTEM_MANAGER)) == ("2", paths["v2"])
    serves(host, "2")
    assert other.pull()["outcome"] == "unchanged"
    assert len(host.generations(SYSTEM_MANAGER)) == 2

    done = offer(other, paths["cut"])
    assert (done["outcome"], "does not reach" in done["message"]) == ("rolled-back", True), done
    assert host.ask("ip route show type blackhole") == ""
    assert host.profile(SYSTEM_MANAGER) == paths["v2"]
    serves(host, "2")
    assert other.pull()["outcome"] == "quarantined"
    # A push of another kind is no business of this agent's.
    assert host.ask("cat /var/lib/nixferry-pull/profile") == SYSTEM_MANAGER


@pytest.mark.takes_turns(2, among="pulls")
def test_a_host_pulls_a_service_into_a_profile(other: Pulling, tmp_path: Path) -> None:
    """Its command activates and rolls back; what it starts goes on after the guard has ended."""
    host = other.host
    source = materialise("web-service", tmp_path / "source", {})
    paths = build(source, {name: name for name in ("v1", "v2", "v3")})
    other.variables = {
        "pull_agent_kind": "profile",
        "pull_agent_profile": WEB,
        "pull_agent_activate_command": 'SERVICE_LISTEN=0.0.0.0:8080 "$SYSTEM/bin/service" restart',
        "pull_agent_health_checks": [
            {"command": f"test -e {WEB}/share/web/health && grep -q . {WEB}/share/web/health", "retries": 0}
        ],
    }
    assert other.install().changed(host.name)
    assert not other.install().changed(host.name)
    assert offer(other, paths["v1"])["outcome"] == "committed"
    serves(host, "1")
    assert offer(other, paths["v2"])["outcome"] == "committed"
    serves(host, "2")
    done = offer(other, paths["v3"])
    assert (done["outcome"], "health check" in done["message"]) == ("rolled-back", True), done
    assert host.profile(WEB) == paths["v2"]
    serves(host, "2")
    # After a power cut the profile is what it was.
    host.power_cut()
    host.power_on()
    assert other.pull()["outcome"] == "quarantined"
    assert host.profile(WEB) == paths["v2"]
