# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let contestants deploy in turn, many times, and keep what each run took."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import systems
from benchmarks.contestants import FLOOR, Contestant, Deployment
from benchmarks.fleet import BenchmarkError, Fleet, Sessions
from benchmarks.measure import Outcome, reap_orphans, run
from benchmarks.systems import Systems

NO_OP = "no-op"
ONE_CHANGE = "one change"
SCENARIOS = (NO_OP, ONE_CHANGE)

CLOSE_DEADLINE = 10  # seconds to close one multiplexed connection


@dataclass
class Record:
    """All runs of one contestant in one scenario. Those of ``runs`` are timed; the first, inspected one is not."""

    contestant: Contestant
    scenario: str
    hosts: int
    runs: list[Outcome] = field(default_factory=list)
    memory: int = 0
    sessions: Sessions | None = None
    failure: str = ""


class Race:
    """One lab, one set of contestants."""

    def __init__(self, fleet: Fleet, contestants: Sequence[Contestant], directory: Path) -> None:
        self.fleet = fleet
        self.contestants = contestants
        self.directory = directory
        self.ssh_config = directory / "ssh_config"
        fleet.write_ssh_config(self.ssh_config)
        self._versions = 0

    def run(self, scenario: str, hosts: int, repetitions: int) -> list[Record]:
        """Let everybody do ``scenario`` to the first ``hosts`` hosts: once to look, then ``repetitions`` times.

        In each repetition the next contestant begins, so that neither the order nor a drift of the machine's
        speed favours no contestant. A contestant that fails is left out from then on.
        """
        records = [Record(contestant, scenario, hosts) for contestant in self.contestants]
        unchanged = self._build(hosts) if scenario == NO_OP else None
        if unchanged is not None:
            self._settle(unchanged)
        for repetition in range(repetitions + 1):
            shift = repetition % len(records)
            for record in records[shift:] + records[:shift]:
                if not record.failure:
                    self._once(record, unchanged, inspect=repetition == 0)
            say(f"{scenario}, {hosts} hosts: {repetition} of {repetitions} repetitions")
        return records

    def _once(self, record: Record, unchanged: Systems | None, *, inspect: bool) -> None:
        wanted = unchanged or self._build(record.hosts)
        deploys = record.contestant.deploys
        if unchanged is None and deploys:
            self.fleet.forget_generations(record.hosts)
        log = self._log(record)
        witness = self.fleet.hosts[0]
        with self._deployment(wanted) as deployment:
            command = record.contestant.prepare(deployment)
            cursor = witness.cursor() if inspect else ""
            outcome = run(command, log, with_memory=inspect)
        if outcome.return_code != 0:
            record.failure = f"exit {outcome.return_code}, see {log}"
        elif deploys and (inspect or unchanged is None):
            wrong = [
                host
                for host, path in self.fleet.systems(record.hosts).items()
                if path != wanted.toplevels[host]
            ]
            if wrong:
                record.failure = f"not deployed to {', '.join(wrong)}, see {log}"
        if record.failure:
            say(f"{record.contestant.name}: {record.failure}")
        elif inspect:
            record.memory = outcome.memory or 0
            record.sessions = witness.sessions_since(cursor)
        else:
            record.runs.append(outcome)

    def _settle(self, wanted: Systems) -> None:
        """Bring the hosts to where a no-op begins."""
        floor = next(contestant for contestant in self.contestants if contestant.name == FLOOR)
        self.fleet.forget_generations(len(wanted.hosts))
        log = self.directory / "settle.log"
        with self._deployment(wanted) as deployment:
            outcome = run(floor.prepare(deployment), log)
        if outcome.return_code != 0 or self.fleet.systems(len(wanted.hosts)) != wanted.toplevels:
            raise BenchmarkError(f"the hosts did not come to version 1, see {log}")

    def _build(self, hosts: int) -> Systems:
        self._versions += 1
        names = [host.name for host in self.fleet.hosts[:hosts]]
        version = str(self._versions)
        return systems.build(self.directory / "systems" / version, version, names)

    def _log(self, record: Record) -> Path:
        words = f"{record.contestant.name} {record.scenario} {record.hosts}".replace(",", "").split()
        path = self.directory / "logs" / f"{'-'.join(words)}.log"
        path.parent.mkdir(exist_ok=True)
        return path

    @contextmanager
    def _deployment(self, wanted: Systems) -> Iterator[Deployment]:
        """A deployment with empty directories; closes the connections that are left open in the end."""
        work = Path(tempfile.mkdtemp(prefix="work-", dir=self.directory))
        # A socket's path has 108 bytes at most, unix(7), and ssh appends a random suffix while it makes one.
        control = Path(tempfile.mkdtemp(prefix="nixferry-"))
        try:
            yield Deployment(wanted, self.ssh_config, self.fleet.ansible_config, work, control)
        finally:
            for socket in control.iterdir():
                close = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"]
                subprocess.run(close, capture_output=True, check=False, timeout=CLOSE_DEADLINE)
            reap_orphans()
            shutil.rmtree(control)
            shutil.rmtree(work)


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(text, file=sys.stderr, flush=True)
