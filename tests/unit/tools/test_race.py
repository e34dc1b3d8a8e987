# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A benchmark goes on after what befalls one contestant, and keeps what it has measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import race, systems
from benchmarks.contestants import Contestant, Deployment
from benchmarks.delay import NEAR
from benchmarks.fleet import BenchmarkError, Sessions
from benchmarks.measure import Command
from benchmarks.systems import Systems

HOSTS = 2


class Witness:
    name = "web01"

    def cursor(self) -> str:
        return "here"

    def sessions_since(self, _cursor: str) -> Sessions:
        return Sessions(logins=1, commands=2)


class Fleet:
    """A fleet without hosts, for contestants that do not deploy."""

    hosts = (Witness(), Witness())
    ansible_config = Path("ansible.cfg")

    def know(self, _address: str) -> None:
        pass

    def write_ssh_config(self, path: Path, _address: str) -> None:
        path.write_text("")

    def cpu_seconds(self, _count: int) -> float:
        return 0.0


def idle(_deployment: Deployment) -> Command:
    return Command(["true"])


def lost(_deployment: Deployment) -> Command:
    raise FileNotFoundError(2, "a socket is gone")


def slow(_deployment: Deployment) -> Command:
    raise subprocess.TimeoutExpired(["deploy"], 900)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(directory: Path, _version: str, names: list[str]) -> Systems:
        return Systems(directory, dict.fromkeys(names, "/nix/store/x"))

    monkeypatch.setattr(systems, "build", build)


def contestant(name: str, prepare: Any) -> Contestant:
    return Contestant(name, "", prepare, deploys=False)


@pytest.mark.usefixtures("built")
def test_a_contestant_that_breaks_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    taking_part = [contestant("lost", lost), contestant("slow", slow), contestant("good", idle)]
    contest = race.Race(Fleet(), taking_part, tmp_path, NEAR, HOSTS)  # type: ignore[arg-type]
    records = contest.begin(race.ONE_CHANGE, HOSTS)
    contest.run(records, 3)
    assert [bool(record.failure) for record in records] == [True, True, False]
    assert "a socket is gone" in records[0].failure
    assert len(records[2].runs) == 3


@pytest.mark.usefixtures("built")
def test_hosts_that_cannot_be_prepared_end_this_part_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(_race: race.Race, _wanted: Systems) -> None:
        raise BenchmarkError("the hosts did not come to version 1\nand so on")

    monkeypatch.setattr(race.Race, "_settle", settle)
    contest = race.Race(Fleet(), [contestant("good", idle)], tmp_path, NEAR, HOSTS)  # type: ignore[arg-type]
    unprepared = contest.begin(race.NO_OP, HOSTS)
    contest.run(unprepared, 1)
    assert unprepared[0].failure == "the hosts were not prepared: the hosts did not come to version 1"
    changed = contest.begin(race.ONE_CHANGE, HOSTS)
    contest.run(changed, 1)
    assert (changed[0].failure, len(changed[0].runs)) == ("", 1)


def test_a_file_that_goes_away_while_its_directory_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "control"
    directory.mkdir()
    for name in ("first", "second"):
        (directory / name).touch()
    unlink = os.unlink

    def unlink_after_its_owner(path: Any, **options: Any) -> None:
        unlink(path, **options)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", unlink_after_its_owner)
    race.remove(directory)
    assert not directory.exists()
