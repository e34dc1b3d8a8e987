# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The new system is at fault: it locks everybody out, or fails, or hangs, or takes down what the deploy needs."""

from __future__ import annotations

from typing import Any

import pytest
from fault_rows import Fault
from fault_systems import FAILS, FAULTS
from lab import LabHost
from processes import wait_until

pytestmark = pytest.mark.faults

BECOME = {"vars": {"ansible_user": "deploy", "ansible_become": True}}
UNIT_DEADLINE = 20  # seconds until systemd must have seen a unit fail
# A lock is held for: a busy machine must have come to it, and an activation may wait twice as long.
LOCK_SECONDS = 10


def row(title: str, host: str, name: str, says: str) -> Any:
    """Parameters of one row."""
    return pytest.param(host, name, says, id=title)


@pytest.mark.parametrize(
    ("host", "name", "says"),
    [
        row("stops sshd", "web1", "stops_sshd", "confirm"),
        row("stops sshd", "web2", "stops_sshd", "confirm"),
        row("removes the authorized key", "web1", "removes_key", "confirm"),
        row("firewalls the controller off", "web2", "cuts_network", "confirm"),
        row("closes the port of sshd", "web1", "closes_port", "confirm"),
        row("changes the address", "web2", "changes_address", "confirm"),
        row("cuts the network and stops sshd", "web1", "cuts_network_and_stops_sshd", "confirm"),
        row("replaces systemd and stops sshd", "web2", "replaces_systemd_and_stops_sshd", "confirm"),
        row("fails its activation (2)", "web2", "activation_fails", "exit code 2"),
        row("ends its activation early (2)", "web1", "activation_aborts", "exit code 2"),
        row("fails its own check (1)", "web2", "check_fails", "exit code 1"),
        row("fails a unit (4)", "web1", "unit_fails", "broken.service"),
        row("needs a reboot (100)", "web2", "needs_reboot_to_switch", "reboot"),
    ],
)
def test_new_system(fault: Fault, host: str, name: str, says: str) -> None:
    fault.use(host)
    report = fault.deploy({"version": "2", **FAULTS[name]})
    assert says in report["msg"]
    assert "What to do" in report["msg"]
    assert len(report["msg"].splitlines()) <= 5, report["msg"]
    assert not any(len(line) > 20 and line in report["msg"] for line in report["log"]), report["msg"]
    assert report["reboot_required"] == (name == "needs_reboot_to_switch")
    fault.assert_settled(report, outcome="rolled-back")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param("web1", "activation_hangs", id="hangs in its activation"),
        pytest.param("web2", "activation_hangs_stubbornly", id="hangs and ignores SIGTERM"),
    ],
)
def test_new_system_that(fault: Fault, host: str, name: str) -> None:
    used = fault.use(host)
    report = fault.deploy({"version": "2", **FAULTS[name]}, timeout_activation=4)
    assert "did not end within 4 s" in report["msg"]
    assert used.ask("grep -lzxE '6(00|13)' /proc/[0-9]*/cmdline 2>/dev/null | wc -l") == "0"
    fault.assert_settled(report, outcome="rolled-back")


def test_new_system_breaks_sudo(fault: Fault) -> None:
    fault.use("web1")
    toplevel = fault.install({"version": "2", **FAULTS["breaks_sudo"]})
    report = fault.switch(toplevel, BECOME)
    fault.assert_settled(report, outcome="rolled-back")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param("web1", "replaces_systemd", id="replaces systemd"),
        pytest.param("web2", "isolates_a_target", id="isolates a target"),
        pytest.param("web1", "restarts_nix_daemon", id="restarts nix-daemon"),
        pytest.param("web2", "kills_user_slice", id="kills the user slice"),
    ],
)
def test_healthy_system_that(fault: Fault, host: str, name: str) -> None:
    fault.use(host)
    report = fault.deploy({"version": "2", **FAULTS[name]})
    fault.assert_settled(report, outcome="committed")


def fail_a_unit(host: LabHost) -> None:
    host.ask("systemd-run --quiet --unit=old-sorrow --property=RemainAfterExit=yes /bin/false || true")
    wait_until(
        lambda: "old-sorrow.service" in host.failed_units(),
        deadline=UNIT_DEADLINE,
        what="the unit has failed",
    )


@pytest.mark.parametrize("host", ["web1", "web2"])
def test_a_unit_that_had_failed_before(fault: Fault, host: str) -> None:
    fail_a_unit(fault.use(host))
    report = fault.deploy({"version": "2"})
    assert report["failed_units"] == []
    fault.assert_settled(report, outcome="committed")


def test_a_unit_fails_and_another_had_failed_before(fault: Fault) -> None:
    fail_a_unit(fault.use("web2"))
    report = fault.deploy({"version": "2", "units": {"broken.service": FAILS}})
    assert report["failed_units"] == ["broken.service"]
    fault.assert_settled(report, outcome="rolled-back")


def test_another_switch_holds_its_lock_for_good(fault: Fault) -> None:
    host = fault.use("web1")
    toplevel = fault.install({"version": "2"})
    hold_switch_lock(host, 600)
    fault.remember()
    report = fault.switch(toplevel, timeout_activation=6)
    assert "another activation was running" in report["msg"]
    fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    host.execute("systemctl stop lock-holder")
    fault.assert_next_deploy_works()


@pytest.mark.parametrize("errno", [11, 4, 100, 1])
def test_program_ends_half_way_with_an_error_number(fault: Fault, errno: int) -> None:
    """Everything is activated, and what was stopped is not started again."""
    fault.use("web1")
    report = fault.deploy({"version": "2", "errnoAfterActivation": errno})
    assert f"exit code {errno}" in report["msg"]
    after = fault.assert_settled(report, outcome="rolled-back")
    assert "web.service" in after.services


def test_programs_wait_for_the_lock_of_another_switch_for_good(fault: Fault) -> None:
    """Neither the new system's program nor the old one's gets its turn."""
    host = fault.use("web2")
    host.install_system(fault.install({"version": "patient", "waitsForLock": True}))
    toplevel = fault.install({"version": "2", "waitsForLock": True})
    hold_switch_lock(host, 600)
    fault.remember()
    report = fault.switch(toplevel, timeout_activation=6)
    assert "/run/nixos/switch-to-configuration.lock" in report["msg"]
    fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    host.execute("systemctl stop lock-holder")
    fault.assert_next_deploy_works()


def test_another_switch_holds_its_lock_for_a_while(fault: Fault) -> None:
    host = fault.use("web2")
    toplevel = fault.install({"version": "2"})
    hold_switch_lock(host, LOCK_SECONDS)
    report = fault.switch(toplevel)
    assert any("locked" in note for note in report["notes"])
    fault.assert_settled(report, outcome="committed")


def hold_switch_lock(host: LabHost, seconds: int) -> None:
    """Another user runs switch-to-configuration, as far as its lock can tell."""
    lock = "/run/nixos/switch-to-configuration.lock"
    hold = f"systemd-run --quiet --collect --unit=lock-holder flock {lock} sleep {seconds}"
    host.execute(f"mkdir -p /run/nixos; {hold}; until ! flock -n {lock} true; do sleep 0.1; done")


@pytest.mark.parametrize(
    ("host", "check"),
    [
        pytest.param("web2", {"command": "test -e /nowhere"}, id="command"),
        pytest.param("web1", {"unit": "no-such.service"}, id="unit"),
        pytest.param("web2", {"port": 1}, id="port"),
        pytest.param("web1", {"url": "http://127.0.0.1:{{ lab_http_port }}/health"}, id="url"),
    ],
)
def test_new_system_fails_a_health_check(fault: Fault, host: str, check: dict[str, Any]) -> None:
    fault.use(host)
    checks = [{**check, "retries": 1, "delay": 1, "timeout": 3}]
    report = fault.deploy({"version": "2", **FAULTS["unhealthy"]}, health_checks=checks)
    assert "health check failed" in report["msg"]
    assert [entry["healthy"] for entry in report["health_checks"]] == [False]
    fault.assert_settled(report, outcome="rolled-back")
