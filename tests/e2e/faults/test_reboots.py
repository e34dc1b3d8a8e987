# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reboots inside the activation: the new system is booted once, and the old one stays the default until the end."""

from __future__ import annotations

from typing import Any

import pytest
from background import in_background
from fault_rows import Fault
from fault_systems import FAULTS
from plays import SWITCH, deploy_play
from processes import wait_until

pytestmark = pytest.mark.faults

REBOOT = {"reboot": "if-required", "timeout_reboot": 60, "timeout_activation": 60}
NEW_KERNEL: dict[str, Any] = {"version": "2", **FAULTS["new_kernel"]}
# No login works any more, whatever system is activated, until the next boot.
STOPS_SSHD_FOR_GOOD = {
    "units": {
        "lockout.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        "ExecStart=/bin/systemctl mask --runtime --now ssh.service ssh.socket\n"
    }
}
HANGING_CHECK = [{"command": "sleep 60", "timeout": 60, "retries": 0}]


def test_new_kernel(fault: Fault) -> None:
    host = fault.use("web1")
    # It goes on running the new kernel, for which no other row would reboot.
    fault.spoil()
    boot = host.boot()
    new = fault.install(NEW_KERNEL)
    foretold = fault.project.run_playbook(fault.play(new, **REBOOT), "--check").result(SWITCH)
    assert (foretold["rebooted"], foretold["reboot_reasons"]) == (True, ["kernel", "kernel-modules"])
    assert host.boot() == boot
    report = fault.switch(new, **REBOOT)
    assert (report.get("rebooted"), report.get("reboot_required")) == (True, False), report
    assert host.boot() != boot
    assert host.booted_system() == new
    assert fault.switch(new, **{**REBOOT, "reboot": "always"})["outcome"] == "unchanged"
    fault.assert_settled(report, outcome="committed")


def test_program_that_asks_for_a_reboot(fault: Fault) -> None:
    """Through the role; the next deploy would need a reboot as well."""
    host = fault.use("web2")
    new = fault.install({"version": "2", **FAULTS["needs_reboot_to_switch"]})
    settings = {"reboot": "if-required", "timeout_confirm": 30}
    play = deploy_play(host.name, store_path=new, **settings)
    report = fault.project.run_playbook(play).result(SWITCH)
    assert report.get("rebooted"), report
    fault.assert_settled(report, outcome="committed", next_deploy=False)


def test_reboot_although_not_required(fault: Fault) -> None:
    host = fault.use("web2")
    boot = host.boot()
    report = fault.deploy({"version": "2"}, **REBOOT)
    assert (report["outcome"], report["rebooted"]) == ("committed", False), report
    assert host.boot() == boot
    fault.remember()
    system = {"version": "3", "specialisation": {"slow": {"version": "slow"}}}
    report = fault.deploy(system, **{**REBOOT, "reboot": "always"}, specialisation="slow")
    assert (report["outcome"], report["rebooted"]) == ("committed", True), report
    assert host.boot() != boot
    assert host.current_system() == host.booted_system() == report["new"]
    assert host.http("/version") == (200, "slow")
    fault.remember()
    fault.assert_settled(None)


def test_switch_inhibitor(fault: Fault) -> None:
    host = fault.use("web1")
    fault.deploy({"version": "1", "switchInhibitors": {"dbus": "dbus"}})
    fault.remember()
    new = fault.install({"version": "2", "switchInhibitors": {"dbus": "broker"}})
    report = fault.switch(new)
    assert (report["outcome"], report["reboot_required"]) == ("rolled-back", True), report
    assert "switch-inhibitors" in report["reboot_reasons"]
    assert "reboot: if-required" in report["msg"]
    assert host.current_system() == fault.before.runs
    report = fault.switch(new, **REBOOT)
    fault.assert_settled(report, outcome="committed")


def test_unhealthy_after_the_reboot(fault: Fault) -> None:
    fault.use("web1")
    checks = [{"command": "test -e /nowhere", "retries": 0}]
    report = fault.deploy(NEW_KERNEL, **REBOOT, health_checks=checks)
    assert report.get("rebooted"), report
    assert "health check failed" in report["msg"]
    fault.assert_settled(report, outcome="rolled-back")


def test_no_login_works_after_the_reboot(fault: Fault) -> None:
    fault.use("web2")
    # Stopped while it starts, sshd counts as failed: that alone would be a reason.
    report = fault.deploy({**NEW_KERNEL, **FAULTS["stops_sshd"]}, **REBOOT, failed_units="ignore")
    assert "no confirmation came" in report["msg"], report
    fault.assert_settled(report, outcome="rolled-back", deadline=90)


def test_new_system_does_not_come_up(fault: Fault) -> None:
    """Process 1 ends before systemd runs; the engine starts the container again, as a watchdog would."""
    fault.use("web1")
    report = fault.deploy({**NEW_KERNEL, "postBootCommands": "exit 1"}, **REBOOT)
    assert "came back with the old system by itself" in report["msg"], report
    fault.assert_settled(report, outcome="rolled-back")


def test_power_cut_after_the_reboot(fault: Fault) -> None:
    host = fault.use("web2")
    new = fault.install(NEW_KERNEL)
    with in_background(fault.project, fault.play(new, **REBOOT, health_checks=HANGING_CHECK)) as controller:
        fault.wait_for_phase("awaiting-confirmation")
        assert host.booted_system() == new
        host.power_cut()
        fault.strikes()
        host.power_on(wait=False)
        report = controller.finish().result(SWITCH)
    assert "went down" in report["msg"], report
    fault.assert_settled(report, outcome="rolled-back", new=new)


def test_controller_killed_during_the_reboot(fault: Fault) -> None:
    """And another one comes: it finds the host locked until the guard has gone back by itself."""
    host = fault.use("web1")
    boot = host.boot()
    new = fault.install(NEW_KERNEL)
    with in_background(fault.project, fault.play(new, **REBOOT, timeout_confirm=15)) as controller:
        fault.wait_for_phase("activating", "awaiting-confirmation")
        controller.kill()
        fault.strikes()
    wait_until(lambda: host.boot() not in ("", boot), deadline=60, what="the reboot")
    host.wait_ready()
    other = fault.switch(fault.before.runs, **REBOOT)
    assert "another deploy to this host is running" in other["msg"], other
    fault.wait_for_phase("rolled-back")
    fault.assert_settled(None, new=new)


def test_reboot_if_unreachable(fault: Fault) -> None:
    host = fault.use("web2")
    boot = host.boot()
    report = fault.deploy(
        {"version": "2", **STOPS_SSHD_FOR_GOOD}, reboot_if_unreachable=True, timeout_reboot=60
    )
    assert host.boot() != boot
    assert report.get("rebooted"), report
    fault.assert_settled(report, outcome="rolled-back", deadline=90)
    # Who can log in again is not rebooted.
    boot = host.boot()
    checks = [{"command": "false", "retries": 0}]
    report = fault.deploy(
        {"version": "3"}, reboot_if_unreachable=True, health_checks=checks, timeout_confirm=2
    )
    assert (report["outcome"], report["rebooted"]) == ("rolled-back", False)
    fault.wait_for_phase("rolled-back")
    assert host.boot() == boot
