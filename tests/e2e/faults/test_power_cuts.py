# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Power cuts in the midst of a deploy, in every phase and at random instants.

The host comes back at once, and its controller is still there: its report must be the truth. Only what has not reached
the disk cannot be lost here: that what matters is written through is the unit tests' business.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from background import in_background
from fault_deploys import FAILING_CHECK, OLD, PHASES, TURNS, HeldDeploy, last_result
from fault_rows import Fault
from holds import (
    CHECK,
    CHECKING,
    START,
    hold,
    install_holds,
    patient_system,
    release,
    wait_reached,
)
from project import make_project

pytestmark = pytest.mark.faults

SEED = os.environ.get("NIXFERRY_WALK_SEED") or secrets.token_hex(4)
RANDOM_CUTS = {"web1": 6, "web2": 7, "web3": 7}
# How long after a place the power fails at the latest: a little longer than the deploy takes from there, in seconds.
SPANS = {START: 3.5, CHECKING: 1.5}


@pytest.mark.takes_turns(TURNS)
@pytest.mark.parametrize("phase", PHASES)
def test_power_cut(fault: Fault, phase: str) -> None:
    deploy = HeldDeploy(fault, "web1", phase)
    with deploy.begun() as controller:
        fault.host.power_cut()
        fault.host.power_on()
        report = last_result(controller.finish())
    after = fault.assert_settled(report, new=deploy.new, interrupted=report["unreachable"])
    if phase != "copying":
        # Even in the midst of the commit: the profile without the boot loader is not the new system yet.
        assert after.runs == fault.before.runs


def test_power_cut_while_an_earlier_one_is_undone(fault: Fault) -> None:
    """Only the next controller undoes the first activation, and it is interrupted as well."""
    deploy = HeldDeploy(fault, "web1", "committing, before the boot loader")
    old = fault.project.build("web1", patient_system(OLD))
    fault.host.install_system(old)
    fault.remember()
    with deploy.begun() as controller:
        controller.kill()
        fault.host.power_cut()
        fault.host.power_on()
    # The old system's own program puts the boot loader in order.
    hold(fault.host, f"{OLD}-boot")
    with in_background(fault.project, deploy.play) as controller:
        wait_reached(fault.host, f"{OLD}-boot")
        fault.strikes()
        controller.kill()
        fault.host.power_cut()
        fault.host.power_on()
    fault.assert_settled(None, new=deploy.new, interrupted=True)


def test_power_cuts_at_random_instants(fault: Fault, tmp_path: Path) -> None:
    fault.row["fault"] += f" (20, NIXFERRY_WALK_SEED={SEED})"
    fault.row["host"] = "all"
    with ThreadPoolExecutor(len(RANDOM_CUTS)) as threads:
        jobs = [
            threads.submit(
                cut_repeatedly, Fault(fault.lab, make_project(tmp_path / name, fault.lab), {}), name, count
            )
            for name, count in RANDOM_CUTS.items()
        ]
        stories = [line for job in jobs for line in job.result()]
    outcomes = sorted({outcome for outcome, _line in stories})
    fault.row["outcome"] = fault.row["runs"] = ", ".join(outcomes)
    assert len(stories) == 20


def cut_repeatedly(fault: Fault, name: str, count: int) -> list[tuple[str, str]]:
    """Cut the power of one host again and again; returns what became of each deploy."""
    choice = random.Random(f"{SEED} {name}")
    host = fault.use(name)
    install_holds(host)
    story: list[tuple[str, str]] = []
    for number in range(count):
        place = choice.choice(list(SPANS))
        checks = [[], [FAILING_CHECK]][choice.random() < 0.3]
        delay = choice.uniform(0, SPANS[place])
        new = fault.install(patient_system(f"cut-{number}"))
        hold(host, place)
        play = fault.play(new, health_checks=[*([CHECK] if place == CHECKING else []), *checks])
        with in_background(fault.project, play) as controller:
            wait_reached(host, place)
            release(host)
            time.sleep(delay)
            fault.strikes()
            host.power_cut()
            host.power_on()
            report = last_result(controller.finish())
        line = f"{name} {number}: {delay:.2f} s after {place}: {report}"
        try:
            fault.assert_settled(
                report, new=new, interrupted=report["unreachable"], next_deploy=number == count - 1
            )
        except AssertionError as error:
            raise AssertionError(
                f"NIXFERRY_WALK_SEED={SEED}, {line}\n" + "\n".join(map(str, story))
            ) from error
        story.append((fault.row["outcome"], line))
        fault.remember()
    return story
