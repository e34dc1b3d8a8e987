# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A random walk of deploys, faults, power cuts and returns over three hosts.

NIXFERRY_WALK_SEED repeats a walk, NIXFERRY_WALK_STEPS makes it longer. After every step the host must let in, run and
boot what was reported, and have nothing left over; the status playbook must see the same. That the next deploy works
is what the next step shows, and at the end a deploy on every host.
"""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fault_rows import Fault
from fault_walk import Step, Walker, plan
from project import make_project

pytestmark = pytest.mark.faults

SEED = os.environ.get("NIXFERRY_WALK_SEED") or secrets.token_hex(4)
STEPS = int(os.environ.get("NIXFERRY_WALK_STEPS") or 24)
HOSTS = ["web1", "web2", "web3"]


def test_random_walk(fault: Fault, tmp_path: Path) -> None:
    fault.row["fault"] = f"random walk of {STEPS} steps, NIXFERRY_WALK_SEED={SEED}"
    fault.row["host"] = "all"
    history: list[str] = []
    try:
        walk(fault, tmp_path, history)
    except AssertionError as error:
        repeat = f"NIXFERRY_WALK_SEED={SEED} NIXFERRY_WALK_STEPS={STEPS}"
        raise AssertionError(f"{error}\nTo repeat: {repeat}\n" + "\n".join(history)) from error


def walk(fault: Fault, directory: Path, history: list[str]) -> None:
    """Take all steps, those of different hosts at the same time."""
    steps = plan(SEED, HOSTS, STEPS)
    with ThreadPoolExecutor(len(HOSTS)) as threads:
        walkers = dict(
            zip(
                HOSTS,
                threads.map(
                    lambda name: Walker(
                        fault.lab.hosts[name], make_project(directory / name, fault.lab), SEED
                    ),
                    HOSTS,
                ),
                strict=True,
            )
        )

        def take(step: Step) -> AssertionError | None:
            try:
                history.append(f"{step}: {walkers[step.host].take(step)}")
            except (AssertionError, TimeoutError) as error:
                history.append(f"{step}: FAILED")
                return AssertionError(f"{step}: {error}")
            return None

        for begin in range(0, STEPS, len(HOSTS)):
            failures = [error for error in threads.map(take, steps[begin : begin + len(HOSTS)]) if error]
            raise_all(failures)
            assert_status_agrees(fault, walkers)
        last = [Step(STEPS + number, name, "deploy") for number, name in enumerate(HOSTS)]
        failures = [error for error in threads.map(take, last) if error]
        raise_all(failures)


def raise_all(failures: list[AssertionError]) -> None:
    """Name all hosts: what they have in common, such as a busy machine, tells more than one of them."""
    if failures:
        raise AssertionError("\n".join(map(str, failures)))


def assert_status_agrees(fault: Fault, walkers: dict[str, Walker]) -> None:
    """What the collection says about the hosts is what they are."""
    run = fault.project.run_named("nixferry.deploy.status", "--limit", ",".join(HOSTS)).assert_ok()
    for name, walker in walkers.items():
        result = run.result("nix_generations", name)
        assert (result["current"], result["boot_default"]) == (walker.state.runs, walker.state.profile), name
        assert result["lock"] == "", result["lock"]
