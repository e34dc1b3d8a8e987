# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploys to a machine that iPXE boots from the network: what is proved stays, what is not goes with the next boot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from netboot_machine import NetbootLab, netboot_lab

# Some 60 seconds of a processor each.
TURNS = 4


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NetbootLab]:
    """A machine that has booted its first release from the network."""
    with netboot_lab(tmp_path) as made:
        first = made.deploy(nixos_store_path=made.system("1")).assert_ok()
        assert first.changed > 0
        assert not (tmp_path / "work").exists() or not list((tmp_path / "work").iterdir())
        made.power_on()
        made.wait_for_boots(1)
        made.wait_until_up()
        yield made


def versions(lab: NetbootLab) -> list[str]:
    return [f"{boot.version}{' once' if boot.is_trial else ''}" for boot in lab.boots()]


@pytest.mark.takes_turns(TURNS, among="netboot")
def test_a_release_is_booted_once_and_kept_when_it_is_healthy(lab: NetbootLab) -> None:
    one, two = lab.system("1"), lab.system("2")
    again = lab.deploy("--check", "--diff", nixos_store_path=one).assert_ok()
    assert again.changed == 0, again.output

    foretold = lab.deploy("--check", "--diff", nixos_store_path=two).assert_ok()
    assert foretold.changed > 0
    assert versions(lab) == ["1"]

    lab.deploy(nixos_store_path=two).assert_ok()
    assert versions(lab) == ["1", "2 once"]
    state = lab.state()
    assert state["trial"] is None
    assert len(state["history"]) == 2
    assert not list((lab.tree / "pending").iterdir())

    again = lab.deploy(nixos_store_path=two).assert_ok()
    assert again.changed == 0, again.output

    # It is reached, and is not healthy.
    failed = lab.deploy(nixos_store_path=lab.system("3", "unhealthy"))
    assert failed.status != 0
    assert "test -e /run/healthy" in failed.output
    assert "Correct the system, and deploy again" in failed.output
    assert versions(lab) == ["1", "2 once", "3 once", "2"]
    assert lab.state() == state


@pytest.mark.takes_turns(TURNS, among="netboot")
def test_a_release_that_ends_by_itself_is_not_booted_again(lab: NetbootLab) -> None:
    state = lab.state()
    # Its kernel panics.
    failed = lab.deploy(nixos_store_path=lab.system("2", "panic"))
    assert failed.status != 0
    assert "came back with the release" in failed.output
    assert versions(lab) == ["1", "2 once", "1"]
    assert lab.state() == state

    # The controller dies while the release is tried, and then the power goes.
    three = lab.system("3")
    deploy = lab.start_deploy(nixos_store_path=three)
    try:
        lab.wait_for_boots(4)
    finally:
        os.killpg(deploy.pid, signal.SIGKILL)
        deploy.wait()
    lab.lose_power()
    lab.power_on()
    lab.wait_for_boots(5)
    lab.wait_until_up()
    assert versions(lab) == ["1", "2 once", "1", "3 once", "1"]
    # What the dead controller holds is not taken over before its time.
    refused = lab.deploy(nixos_store_path=three)
    assert refused.status != 0
    assert "another deploy tries the release" in refused.output
