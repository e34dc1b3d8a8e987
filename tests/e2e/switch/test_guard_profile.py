# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kind profile on hosts with systemd: a service that its own command starts, as people did before systemd."""

from __future__ import annotations

from typing import Any

import pytest
from fault_rows import Fault
from kinds import controller_at_work
from lab import REPOSITORY, LabHost, nix_environment, run
from plays import SWITCH, task_play
from processes import wait_until
from project import PlaybookRun, Project

PROFILE = "/nix/var/nix/profiles/web"
PHASE_DEADLINE = 60  # seconds until a deploy or a roll back must have got somewhere
UNIT_GONE_DEADLINE = 20  # seconds from the end of a deploy until the guard's unit must have ended


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Store paths of the web service on this machine. v3 starts, but is not healthy."""
    source = tmp_path_factory.mktemp("web-service") / "source"
    run([str(REPOSITORY / "tests/fixtures/web-service/materialise"), str(source)])
    build = ["nix-build", "--no-out-link", str(source), "--attr"]
    return {
        name: run([*build, name], environment=nix_environment()).stdout.strip() for name in ("v1", "v2", "v3")
    }


def options(toplevel: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "profile",
        "profile": PROFILE,
        "toplevel": toplevel,
        "activate_command": 'SERVICE_LISTEN=0.0.0.0:8080 "$SYSTEM/bin/service" restart',
        "health_checks": [
            {"url": "http://127.0.0.1:{{ lab_http_port }}/health", "retries": 1, "delay": 1, "timeout": 3}
        ],
        **more,
    }


def deploy(project: Project, host: LabHost, toplevel: str, **more: Any) -> PlaybookRun:
    host.copy_closure(toplevel)
    return project.run_playbook(task_play(host.name, "nix_switch", options(toplevel, **more)))


def wait_for_the_end_of_the_guard(host: LabHost) -> None:
    script = "systemctl list-units --state=active,activating,deactivating --plain --no-legend 'nixferry-*'"
    wait_until(
        lambda: host.ask(script) == "", deadline=UNIT_GONE_DEADLINE, what="the guard's units have ended"
    )


def test_what_the_command_has_started_outlives_the_guard(
    each_host: LabHost, project: Project, versions: dict[str, str]
) -> None:
    host = each_host
    host.execute("systemctl stop web")
    first = deploy(project, host, versions["v1"]).assert_ok().result(SWITCH)
    assert first["outcome"] == "committed"
    wait_for_the_end_of_the_guard(host)
    assert host.http("/version") == (200, "1")
    deploy(project, host, versions["v2"]).assert_ok()
    wait_for_the_end_of_the_guard(host)
    assert host.http("/version") == (200, "2")

    rolled_back = deploy(project, host, versions["v3"])
    assert rolled_back.return_code != 0
    assert rolled_back.result(SWITCH)["outcome"] == "rolled-back"
    wait_for_the_end_of_the_guard(host)
    assert host.http("/version") == (200, "2")
    assert host.profile(PROFILE) == versions["v2"]


def test_what_a_hanging_command_has_started_is_ended(
    each_host: LabHost, project: Project, versions: dict[str, str]
) -> None:
    host = each_host
    host.execute("systemctl stop web")
    command = "setsid sleep 98765 >/dev/null 2>&1 </dev/null & case $SYSTEM in *-2) sleep 600 ;; esac"
    more = {"activate_command": command, "timeout_activation": 5, "health_checks": []}
    deploy(project, host, versions["v1"], **{**more, "activate_command": "true"}).assert_ok()
    result = deploy(project, host, versions["v2"], **more).result(SWITCH)
    assert "did not end within 5 s" in result["msg"]
    # Those that the roll back has started are left, as they should be.
    assert host.ask("grep -lzx 9876[5] /proc/[0-9]*/cmdline 2>/dev/null | wc -l") == "1"


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["activating", "awaiting-confirmation"])
def test_power_cut_without_a_boot_loader(
    fresh1: LabHost, project: Project, versions: dict[str, str], fault: Fault, phase: str
) -> None:
    """No boot loader remembers the old version, and no deploy follows: the host undoes it by itself."""
    host = fresh1
    fault.row["host"] = host.name
    deploy(project, host, versions["v1"]).assert_ok()
    host.copy_closure(versions["v3"])
    settings = options(versions["v3"], timeout_confirm=60)
    settings["health_checks"][0]["retries"] = 60
    if phase == "activating":
        settings["activate_command"] += "; case $SYSTEM in *-3) sleep 600 ;; esac"
    with controller_at_work(project, task_play(host.name, "nix_switch", settings)):
        wait_until(
            lambda: phase in host.ask("cat /var/lib/nixferry/activations/*/phase"),
            deadline=PHASE_DEADLINE,
            what=phase,
        )
        wait_until(lambda: host.http("/version") == (200, "3"), deadline=PHASE_DEADLINE, what="version 3")
        host.power_cut()
    host.power_on()
    wait_until(lambda: host.http("/version") == (200, "1"), deadline=PHASE_DEADLINE, what="version 1 again")
    wait_until(
        lambda: "rolled-back" in host.ask("cat /var/lib/nixferry/activations/*/phase"),
        deadline=PHASE_DEADLINE,
        what="the end of the roll back",
    )
    fault.row.update(outcome="(nothing)", runs="old", boots="old")
    assert host.profile(PROFILE) == versions["v1"]
    assert host.ask("find /etc/systemd/system -name 'nixferry-*'") == ""
    wait_for_the_end_of_the_guard(host)
    assert host.http("/version") == (200, "1")
    deploy(project, host, versions["v2"]).assert_ok()
    assert host.http("/version") == (200, "2")
