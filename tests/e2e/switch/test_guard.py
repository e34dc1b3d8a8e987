# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems that would lock everybody out, and hosts that lose power: afterwards the old system runs and boots."""

from __future__ import annotations

from typing import Any

from fault_systems import FAULTS
from lab import LabHost, Snapshot
from plays import SWITCH, file_play
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


def test_a_service_that_dies_two_seconds_after_its_start(web2: LabHost, project: Project) -> None:
    before = web2.snapshot()
    new = project.build("web2", {"version": "2", **FAULTS["unit_dies_later"]})
    result = project.run_playbook(file_play(web2)).result(SWITCH)
    assert (result["outcome"], result["failed_units"]) == ("rolled-back", ["mayfly.service"])
    assert "ignored_units" in result["remedy"]
    assert_as_before(web2, before)
    result = project.run_playbook(file_play(web2, ignored_units=["may?ly.*"])).assert_ok().result(SWITCH)
    assert (result["outcome"], result["failed_units"]) == ("committed", [])
    assert web2.current_system() == web2.boot_default() == new


def test_without_a_roll_back_the_failed_system_runs_on_and_the_old_one_boots(
    web2: LabHost, project: Project
) -> None:
    system = {"version": "2", "web": {"healthy": False}}
    new = project.build("web2", system)
    before = web2.snapshot()
    checks = [{"url": "http://127.0.0.1:{{ lab_http_port }}/health", "retries": 1, "delay": 1}]
    result = deploy(project, web2, system, health_checks=checks, rollback=False)
    assert (result["outcome"], result["changed"]) == ("failed", False)
    assert "it was not rolled back, as requested" in result["msg"]
    assert f"It is still running: {new}" in result["msg"]
    assert web2.current_system() == new
    assert web2.http("/version") == (200, "2")
    assert (web2.boot_default(), web2.profile()) == (before.boot_default, before.profile)
    web2.power_cut()
    web2.power_on()
    assert_as_before(web2, before)
    assert_next_deploy_works(web2, project)
