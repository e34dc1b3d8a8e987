# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploys over ssh to a host with real firmware, a real boot loader and a real kernel: it ends with one of two systems.

Each costs some 25 seconds of a processor a boot, and as many for the deploys. Of all cases, a commit in TURNS runs one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from background import Background, in_background
from plays import SWITCH, task_play
from processes import wait_until
from project import PLAYBOOK_DEADLINE, Project
from vm_host import NAME, VmHost, vm_host

TURNS = 16
pytestmark = pytest.mark.takes_turns(TURNS, among="deploys to machines")

# The guest's clock is slower than that of the controller when the machine is busy.
TIMEOUTS = {"timeout_activation": 300, "timeout_confirm": 300, "timeout_reboot": 300}
DEPLOY_DEADLINE = 3 * PLAYBOOK_DEADLINE
REACH_DEADLINE = 300  # seconds until a deploy must have come to where it is held

# The kernel panics, and resets the machine.
PANICS = {"version": "panics", "postBootCommands": "exit 1"}
# What stands for a driver that hangs: the watchdog was opened, and gets no more signs of life.
HANGS = {"version": "hangs", "postBootCommands": "exec 3>/dev/watchdog; while :; do sleep 100; done"}
# A system whose reboot does not come to its end, and one that can be deployed to it.
SLOW_TO_STOP = {
    "version": "slow",
    "units": {
        "slow.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        "ExecStop=/bin/sh -c 'echo @@ slow stops >/dev/console; sleep 3600'\nTimeoutStopSec=3600\n"
    },
}


def deploy_tasks(toplevel: str, **options: Any) -> list[Any]:
    return task_play(NAME, "nix_deploy", {"toplevel": toplevel, **TIMEOUTS, **options})


def deploy(project: Project, host: VmHost, toplevel: str, **options: Any) -> dict[str, Any]:
    """Copy a system and switch to it; return the result of the switch."""
    run = project.run_playbook(deploy_tasks(toplevel, **options), timeout=DEPLOY_DEADLINE)
    assert run.find(SWITCH), f"{run}\n{host.serial()[-3000:]}"
    return run.result(SWITCH)


def wait_for(host: VmHost, words: str, controller: Background) -> None:
    """Wait until the host's console says it."""
    wait_until(
        lambda: words in host.serial() or controller.ended,
        deadline=REACH_DEADLINE,
        what=f"the console says {words}",
    )
    assert not controller.ended, controller.so_far()


@pytest.mark.parametrize("layout", ["/boot", "/efi+/boot", "grub-efi", "grub-bios"])
def test_committed(layout: str, tmp_path: Path) -> None:
    """By a switch, then by a reboot; the boot after that is the same. Three boots, 100 s of a processor."""
    with vm_host(layout, tmp_path) as (host, project):
        stock = host.boot_default()
        second = project.build(NAME, {"version": "2"})
        report = deploy(project, host, second)
        assert report["outcome"] == "committed", report
        assert host.boot_default() == host.current_system() == second
        assert host.booted_system() == stock
        third = project.build(NAME, {"version": "3"})
        boot = host.boot()
        report = deploy(project, host, third, reboot="always")
        assert (report["outcome"], report["rebooted"]) == ("committed", True), report
        assert host.boot() != boot
        assert host.boot_default() == host.booted_system() == host.profile() == third
        host.power_cut()
        host.power_on()
        assert host.booted_system() == third


@pytest.mark.parametrize("bad", [PANICS, HANGS], ids=["panics", "hangs"])
def test_bad_system(bad: dict[str, Any], tmp_path: Path) -> None:
    """Its one boot ends in a panic, or in a reset by the watchdog. Three boots, 75 s of a processor."""
    with vm_host("/boot", tmp_path) as (host, project):
        stock = host.boot_default()
        new = project.build(NAME, bad)
        report = deploy(project, host, new, reboot="always")
        assert report["outcome"] == "rolled-back", report
        assert "the host came back with the old system by itself" in report["msg"]
        assert f"booting system configuration {new}" in host.serial()
        assert ("Kernel panic" in host.serial()) == (bad is PANICS)
        assert host.boot_default() == host.booted_system() == host.current_system() == host.profile() == stock


def test_power_cut_before_the_commit(tmp_path: Path) -> None:
    """The new system runs and waits for its health check. Two boots, 70 s of a processor."""
    with vm_host("/boot", tmp_path) as (host, project):
        stock = host.boot_default()
        new = project.build(NAME, {"version": "2"})
        check = {"command": "echo @@ checking >/dev/console; sleep 3600", "timeout": 3600, "retries": 0}
        with in_background(project, deploy_tasks(new, health_checks=[check])) as controller:
            wait_for(host, "@@ checking", controller)
            assert host.current_system() == new
            host.power_cut()
        host.power_on()
        assert host.boot_default() == host.booted_system() == host.current_system() == host.profile() == stock
        assert deploy(project, host, new)["outcome"] == "committed"


def test_power_cut_between_the_mark_and_the_reset(tmp_path: Path) -> None:
    """The mark is used once, by the boot that follows. Three boots, 90 s of a processor."""
    with vm_host("/boot", tmp_path) as (host, project):
        slow = project.build(NAME, SLOW_TO_STOP)
        assert deploy(project, host, slow)["outcome"] == "committed"
        new = project.build(NAME, {"version": "2"})
        with in_background(project, deploy_tasks(new, reboot="always")) as controller:
            wait_for(host, "@@ slow stops", controller)
            host.power_cut()
            host.power_on(wait=False)
            report = controller.finish(DEPLOY_DEADLINE).result(SWITCH)
        assert (report["outcome"], report["rebooted"]) == ("committed", True), report
        assert host.boot_default() == host.booted_system() == host.profile() == new


@pytest.mark.parametrize(
    ("step", "on_demand"),
    [("loader-tmp", False), ("loader", False), pytest.param("loader-tmp", True, id="on-demand")],
)
def test_power_cut_while_entries_are_written(step: str, on_demand: bool, tmp_path: Path) -> None:
    """In the commit. The old system boots until the new default is in place, and the next deploy goes through.

    With an EFI system partition that is mounted on demand, too. Three boots, 100 s of a processor.
    """
    with vm_host("/boot", tmp_path, on_demand=on_demand) as (host, project):
        assert ("autofs" in host.ask("grep ' /boot ' /proc/mounts")) == on_demand
        stock = host.boot_default()
        new = project.build(NAME, {"version": "2"})
        host.execute(f"echo {step} >/run/boot-loader-hold")
        with in_background(project, deploy_tasks(new, reboot="never")) as controller:
            wait_for(host, f"@@ boot-loader holds {step}", controller)
            host.power_cut()
        host.power_on()
        expected = new if step == "loader" else stock
        for _look in range(2):
            assert host.booted_system() == expected
            assert host.boot_default() == expected
            # The check of the file system has emptied no entry.
            assert "runcating" not in host.serial()
            host.power_cut()
            host.power_on()
        third = project.build(NAME, {"version": "3"})
        assert deploy(project, host, third)["outcome"] == "committed"
        assert host.boot_default() == host.profile() == third
