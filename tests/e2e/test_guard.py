# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems that would lock everybody out, and hosts that lose power: afterwards the old system runs and boots."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from fault_systems import FAULTS
from lab import LabHost, Snapshot, wait_until
from plays import SWITCH, deploy_play, file_play
from project import Project

# Short, so that the tests are; a real host gets minutes.
TIMEOUTS = {"timeout_confirm": 8, "timeout_activation": 20}
PHASE_DEADLINE = 60


def deploy(project: Project, host: LabHost, system: dict[str, Any], **variables: Any) -> dict[str, Any]:
    """Deploy a system that goes wrong; returns the switch's result."""
    project.build(host.name, system)
    run = project.run_playbook(file_play(host, **{**TIMEOUTS, **variables}))
    assert run.return_code != 0, str(run)
    return run.result(SWITCH, host.name)


def assert_as_before(host: LabHost, before: Snapshot) -> None:
    """A fresh login works, and the host runs and boots exactly what it did."""
    assert host.ssh("sudo id -u", user="deploy").stdout.strip() == "0"
    after = host.snapshot()
    assert after.current_system == before.current_system
    assert after.boot_default == before.boot_default
    assert after.profile == before.profile
    assert after.generations == before.generations
    assert after.running_services == before.running_services
    assert host.http("/version") == (200, "stock")


def assert_next_deploy_works(host: LabHost, project: Project) -> None:
    new = project.build(host.name, {"version": "after"})
    result = project.run_playbook(file_play(host)).assert_ok().result(SWITCH, host.name)
    assert result["outcome"] == "committed"
    assert host.current_system() == host.boot_default() == host.profile() == new
    assert host.http("/version") == (200, "after")


def test_health_checks_that_pass_commit(each_host: LabHost, project: Project) -> None:
    checks = [
        {"url": "http://127.0.0.1:{{ lab_http_port }}/version", "contains": "2"},
        {"command": "systemctl is-active web.service"},
        {"unit": "web.service"},
        {"port": "{{ lab_http_port }}"},
    ]
    project.build(each_host.name, {"version": "2"})
    run = project.run_playbook(file_play(each_host, health_checks=checks)).assert_ok()
    assert [entry["healthy"] for entry in run.result(SWITCH)["health_checks"]] == [True] * 4


def test_new_failed_units_can_be_ignored(each_host: LabHost, project: Project) -> None:
    new = project.build(each_host.name, {"version": "2", **FAULTS["unit_fails"]})
    run = project.run_playbook(file_play(each_host, failed_units="ignore")).assert_ok()
    result = run.result(SWITCH)
    assert (result["outcome"], result["failed_units"]) == ("committed", ["broken.service"])
    assert each_host.current_system() == each_host.boot_default() == new


def start_in_background(project: Project, host: LabHost, **variables: Any) -> subprocess.Popen[bytes]:
    argv, settings = project.prepare(file_play(host, **{**TIMEOUTS, **variables}))
    return subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_phase(host: LabHost, phase: str) -> None:
    script = "cat /var/lib/nixferry/activations/*/phase 2>/dev/null || true"
    wait_until(lambda: phase in host.ask(script), deadline=PHASE_DEADLINE, what=f"phase {phase}")


@pytest.mark.parametrize(
    ("phase", "system"),
    [
        ("activating", {"version": "2", **FAULTS["activation_hangs"]}),
        ("awaiting-confirmation", {"version": "2", **FAULTS["stops_sshd"]}),
    ],
)
def test_a_power_cut_before_the_commit_boots_the_old_system(
    each_host: LabHost, project: Project, phase: str, system: dict[str, Any]
) -> None:
    host = each_host
    before = host.snapshot()
    project.build(host.name, system)
    controller = start_in_background(project, host, timeout_activation=60, timeout_confirm=60)
    try:
        wait_for_phase(host, phase)
        host.power_cut()
    finally:
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        host.power_on()
    assert host.current_system() == host.booted_system() == host.boot_default() == before.current_system
    assert host.profile() == before.profile
    assert_next_deploy_works(host, project)


def test_a_controller_that_dies_leaves_the_old_system(each_host: LabHost, project: Project) -> None:
    host = each_host
    before = host.snapshot()
    project.build(host.name, {"version": "2", **FAULTS["stops_sshd"]})
    controller = start_in_background(project, host)
    try:
        wait_for_phase(host, "awaiting-confirmation")
    finally:
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
    wait_for_phase(host, "rolled-back")
    assert_as_before(host, before)
    assert_next_deploy_works(host, project)


def test_two_deploys_at_once_are_told_apart(web2: LabHost, project: Project) -> None:
    project.build("web2", {"version": "2", "activationScripts": {"slow": "sleep 10"}})
    controller = start_in_background(project, web2, timeout_activation=60)
    try:
        wait_for_phase(web2, "activating")
        run = project.run_playbook(deploy_play("web2", store_path=web2.current_system()))
        assert run.return_code != 0
        message = run.result(SWITCH)["msg"]
        assert "somebody else is deploying" in message
        assert controller.wait(timeout=PHASE_DEADLINE) == 0
    finally:
        if controller.poll() is None:
            os.killpg(controller.pid, signal.SIGKILL)
            controller.wait()
    assert web2.http("/version") == (200, "2")


def test_without_a_roll_back_the_failed_system_runs_on_and_the_old_one_boots(
    web2: LabHost, project: Project
) -> None:
    system = {"version": "2", "web": {"healthy": False}}
    new = project.build("web2", system)
    before = web2.snapshot()
    checks = [{"url": "http://127.0.0.1:{{ lab_http_port }}/health", "retries": 1, "delay": 1}]
    result = deploy(project, web2, system, health_checks=checks, rollback=False)
    assert (result["outcome"], result["changed"]) == ("failed", False)
    assert "it was not rolled back, as was asked for" in result["msg"]
    assert f"It is still running: {new}" in result["msg"]
    assert web2.current_system() == new
    assert web2.http("/version") == (200, "2")
    assert (web2.boot_default(), web2.profile()) == (before.boot_default, before.profile)
    web2.power_cut()
    web2.power_on()
    assert_as_before(web2, before)
    assert_next_deploy_works(web2, project)
