# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let contestants deploy in turn, many times, and keep what each run took."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
# A contestant that ends in one of these has failed; the others go on.
FAILURES = (BenchmarkError, OSError, subprocess.SubprocessError)


@dataclass
class Record:
    """All runs of one contestant in one scenario. Those of ``runs`` are timed; the first, inspected one is not."""

    contestant: Contestant
    scenario: str
    hosts: int
    runs: list[Outcome] = field(default_factory=list)
    hosts_cpu: list[float] = field(default_factory=list)
    """Processor seconds of all hosts together, a value a run."""
    memory: int = 0
    sessions: Sessions | None = None
    failure: str = ""


def seconds(record: Record) -> list[float]:
    """The timed runs, in their order."""
    return [outcome.seconds for outcome in record.runs]


class Race:
    """One lab, one set of contestants."""

    def __init__(
        self, fleet: Fleet, contestants: Sequence[Contestant], directory: Path, address: str, forks: int
    ) -> None:
        self.fleet = fleet
        self.forks = forks
        self.address = address
        self.contestants = contestants
        self.directory = directory
        self.ssh_config = directory / "ssh_config"
        fleet.know(address)
        fleet.write_ssh_config(self.ssh_config, address)
        # Hosts that an earlier run has left running may have the systems of that run.
        self._versions = int(time.time())

    def begin(self, scenario: str, hosts: int) -> list[Record]:
        """Return an empty record of ``scenario`` with the first ``hosts`` hosts for each contestant."""
        return [Record(contestant, scenario, hosts) for contestant in self.contestants]

    def run(self, records: Sequence[Record], repetitions: int) -> None:
        """Let each contestant of ``records`` deploy: once to look, then ``repetitions`` times.

        In each repetition the next contestant begins, so that neither the order nor a drift of the machine's
        speed favours one of them. A contestant that fails is left out from then on.
        """
        scenario, hosts = records[0].scenario, records[0].hosts
        unchanged = None
        if scenario == NO_OP:
            try:
                unchanged = self._build(hosts)
                self._settle(unchanged)
            except FAILURES as error:
                for record in records:
                    record.failure = f"the hosts were not prepared: {headline(error)}"
        for repetition in range(repetitions + 1):
            shift = repetition % len(records)
            for record in [*records[shift:], *records[:shift]]:
                if not record.failure:
                    self._try(record, unchanged, inspect=repetition == 0)
            say(f"{scenario}, {hosts} hosts: {repetition} of {repetitions} repetitions")

    def _try(self, record: Record, unchanged: Systems | None, *, inspect: bool) -> None:
        try:
            self._once(record, unchanged, inspect=inspect)
        except FAILURES as error:
            record.failure = headline(error)
        if record.failure:
            say(f"{record.contestant.name}: {record.failure}")

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
            before = self.fleet.cpu_seconds(record.hosts)
            outcome = run(command, log, with_memory=inspect)
        hosts_cpu = self.fleet.cpu_seconds(record.hosts) - before
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
        if record.contestant.wraps and unchanged is not None:
            self._settle(unchanged)  # to the others a wrapper as the generation is a change
        if record.failure:
            return
        if inspect:
            record.memory = outcome.memory or 0
            record.sessions = witness.sessions_since(cursor)
        else:
            record.runs.append(outcome)
            record.hosts_cpu.append(hosts_cpu)

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
            yield Deployment(
                wanted, self.ssh_config, self.address, self.fleet.ansible_config, work, control, self.forks
            )
        finally:
            for socket in control.iterdir():
                close_connection(socket)
            reap_orphans()
            remove(control)
            remove(work)


def close_connection(socket: Path) -> None:
    """Ask the ssh master behind ``socket`` to end; one that does not answer is left alone."""
    close = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(close, capture_output=True, check=False, timeout=CLOSE_DEADLINE)


def remove(directory: Path) -> None:
    """Remove ``directory`` with all that is in it; an ssh master may remove its own socket at the same time."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        say(f"could not remove {directory}")


def headline(error: BaseException) -> str:
    """Return the first line of an error's text: a table has no room for more."""
    return str(error).partition("\n")[0]


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(text, file=sys.stderr, flush=True)
