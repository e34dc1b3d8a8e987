# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults on the way to the host: the controller dies, connections break, another user deploys at the same time."""

from __future__ import annotations

import getpass
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from background import in_background
from fault_deploys import PHASES, TURNS, HeldDeploy, last_result
from fault_rows import LOGIN_DEADLINE, TIMEOUTS, Fault
from holds import activation_of, hold, install_holds, patient_system, release
from lab import LabHost
from lab import run as run_program
from plays import SWITCH
from processes import wait_until
from project import PlaybookRun, make_project

pytestmark = pytest.mark.faults

# Ends every login on the host at once, but not the program that lets in new ones.
CUT_LOGINS = """
for process in $(grep -lE '^sshd(-session)?: [a-z]' /proc/[0-9]*/cmdline); do
    process=${process#/proc/}
    kill -KILL "${process%/cmdline}"
done 2>/dev/null
exit 0
"""
LINK_DOWN_SECONDS = 30
BUILD_DEADLINE = 60  # seconds until a build must have begun, or ended with its controller
REFUSED_DEADLINE = 60  # seconds until the second of two controllers must have been refused
PATHS, PATH_MIB, MIB = 6, 20, 1024 * 1024  # how much a copy that is cut has to send


@pytest.mark.takes_turns(TURNS)
@pytest.mark.parametrize("phase", PHASES)
def test_controller_killed(fault: Fault, phase: str) -> None:
    deploy = HeldDeploy(fault, "web2", phase)
    with deploy.begun() as controller:
        controller.kill()
    after = fault.assert_settled(None, new=deploy.new)
    # Confirmed is confirmed, whether or not a controller waits for the answer.
    assert after.runs == (deploy.new if deploy.is_committing else fault.before.runs)


def test_controller_killed_while_building(fault: Fault) -> None:
    """The build ends as well, and the host has not heard of it."""
    fault.use("web2")
    pid = fault.project.directory / "pid"
    derivation = (
        'derivation { name = "slow"; system = builtins.currentSystem; builder = "/bin/sh"; '
        f'args = [ "-c" "echo $$ >{pid}; exec /bin/sleep 613" ]; }}'
    )
    source = f"{{ config.system.build.toplevel = {derivation}; }}"
    play = [
        {
            "hosts": "web2",
            "gather_facts": False,
            "tasks": [{"nixferry.deploy.nix_build": {"expr": source}}],
        }
    ]
    with in_background(fault.project, play) as controller:
        wait_until(
            lambda: pid.exists() and pid.read_text() != "", deadline=BUILD_DEADLINE, what="the build begins"
        )
        builder = Path("/proc") / pid.read_text().strip() / "cmdline"
        assert b"613" in builder.read_bytes()
        fault.strikes()
        controller.kill_main()
        wait_until(
            lambda: not builder.exists() or b"613" not in builder.read_bytes(),
            deadline=BUILD_DEADLINE,
            what="the build ends",
        )
    after = fault.assert_settled(None)
    assert after.activations == fault.before.activations


@pytest.mark.takes_turns(TURNS)
@pytest.mark.parametrize(
    ("phase", "end"),
    [
        pytest.param(phase, end, id=f"{phase} ({end})")
        for phase, end in zip(PHASES, cycle(["host", "controller"]), strict=False)
    ],
)
def test_ssh_cut(fault: Fault, phase: str, end: str) -> None:
    deploy = HeldDeploy(fault, "web3", phase)
    with deploy.begun() as controller:
        if end == "host":
            fault.host.execute(CUT_LOGINS)
        else:
            controller.kill_ssh()
        release(fault.host)
        report = last_result(controller.finish())
    after = fault.assert_settled(report, new=deploy.new)
    if phase != "starting":
        assert after.runs == (fault.before.runs if phase == "rolling back" else deploy.new)


def test_copy_cut_and_resumed(fault: Fault) -> None:
    """What has arrived is not sent again."""
    host = fault.use("web1")
    install_holds(host)
    load = {"paths": PATHS, "kibibytes": PATH_MIB * 1024, "salt": secrets.token_hex(8)}
    new = fault.project.build("web1", {"version": "large", "payload": load})
    payload = Path(f"{new}/extra-dependencies").read_text().split()
    # Paths come one after the other, so that two are complete when there is a third. Asking Nix would take so long that
    # all of them may have come.
    third = f"n=0; for path in {' '.join(payload)}; do [ -e $path ] && n=$((n + 1)); done; [ $n -ge 3 ]"
    before = received(host)
    tasks = [
        {"nixferry.deploy.nix_copy": {"path": new}},
        {"nixferry.deploy.nix_switch": {"toplevel": new, **TIMEOUTS}},
    ]
    with in_background(
        fault.project, [{"hosts": "web1", "gather_facts": False, "tasks": tasks}]
    ) as controller:
        host.execute(f"until {third}; do :; done\n{CUT_LOGINS}")
        fault.strikes()
        run = controller.finish()
    assert run.result("nix_copy")["attempts"] == 2, str(run)
    # The path that was underway was sent twice at most, and none of the two that had arrived.
    assert received(host) - before < (PATHS + 1.5) * PATH_MIB * MIB
    fault.assert_settled(last_result(run), outcome="committed")


def received(host: LabHost) -> int:
    """Bytes that the host has received since its start."""
    return int(host.ask("cat /sys/class/net/eth0/statistics/rx_bytes"))


def test_link_down_for_a_while(fault: Fault) -> None:
    """Every packet is lost; the deadline for the confirmation is later than that."""
    deploy = HeldDeploy(fault, "web1", "activating", timeout_confirm=LINK_DOWN_SECONDS + 60)
    with deploy.begun() as controller:
        with link_down(fault.host):
            release(fault.host)
            fault.wait_for_phase("awaiting-confirmation")
            time.sleep(LINK_DOWN_SECONDS)
            assert not controller.ended
        report = last_result(controller.finish())
    fault.assert_settled(report, outcome="committed", deadline=LINK_DOWN_SECONDS + LOGIN_DEADLINE)


@contextmanager
def link_down(host: LabHost) -> Iterator[None]:
    """Pull the cable, at the end that the engine holds: the host is not told by its own side."""
    index = host.ask("cat /sys/class/net/eth0/iflink")
    files = Path("/sys/class/net").glob("*/ifindex")
    [interface] = [path.parent.name for path in files if path.read_text().strip() == index]
    run_program(["ip", "link", "set", interface, "down"])
    try:
        yield
    finally:
        run_program(["ip", "link", "set", interface, "up"])


@pytest.mark.parametrize("phase", ["activating", "awaiting confirmation"])
def test_second_deploy(fault: Fault, tmp_path: Path, phase: str) -> None:
    """It is told who is at work, and changes nothing about that."""
    deploy = HeldDeploy(fault, "web1", phase)
    with deploy.begun() as controller:
        second = make_project(tmp_path / "second", fault.lab)
        refused = second.run_playbook(fault.play(fault.install({"version": "second"}), health_checks=[]))
        release(fault.host)
        report = last_result(controller.finish())
    assert_refused(refused)
    fault.assert_settled(report, outcome="committed")


def test_two_controllers_at_once(fault: Fault, tmp_path: Path) -> None:
    host = fault.use("web1")
    install_holds(host)
    news = [fault.install(patient_system(version)) for version in ("first", "second")]
    hold(host, *(activation_of(version) for version in ("first", "second")))
    with ExitStack() as stack:
        controllers = [
            stack.enter_context(
                in_background(make_project(tmp_path / str(number), fault.lab), fault.play(new))
            )
            for number, new in enumerate(news)
        ]
        wait_until(
            lambda: any(controller.ended for controller in controllers),
            deadline=REFUSED_DEADLINE,
            what="one of two controllers is refused",
        )
        fault.strikes()
        release(host)
        runs = [controller.finish() for controller in controllers]
    winners = [run for run in runs if run.return_code == 0]
    assert len(winners) == 1, "\n".join(map(str, runs))
    for run in runs:
        if run not in winners:
            assert_refused(run)
    fault.assert_settled(last_result(winners[0]), outcome="committed")


def assert_refused(run: PlaybookRun) -> None:
    """It says who is deploying, since when, and what to do."""
    assert run.return_code != 0, str(run)
    message = run.result(SWITCH)["msg"]
    assert "another deploy to this host is running" in message
    assert f"{getpass.getuser()}@" in message
    assert re.search(r"\(activation \S+ for \d+ s\)", message), message
    assert "What to do" in message
