# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what each promise costs a host that gets one change: ``python -m benchmarks.promises``. See README.md.

What an option switches off is measured by deploying with it and without. Of the other promises the steps are measured
by themselves, many times in one login; what is left of the difference to the floor are the records.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contestants, fleet
from benchmarks.contestants import Contestant, own
from benchmarks.delay import NEAR
from benchmarks.fleet import BenchmarkError, Fleet
from benchmarks.measure import adopt_orphans
from benchmarks.race import ONE_CHANGE, Race, Record, close_connection, seconds

CHECKED = "nixferry, settle 0, checks"
# One of each kind that runs on the host: both in one command over the fresh login.
CHECKS = [{"unit": "ssh.service"}, {"command": "true"}]
# OpenSSH's own choice withstands quantum computers as well, and costs the client more.
KEX = "KexAlgorithms=curve25519-sha256"
TIMES = 20  # so often each step runs
STEP_DEADLINE = 120  # seconds for one login, with all that runs in it
UNIT, TIMER, LIST, FLUSH = "one unit", "one timer, stopped again", "one list of failed units", "one flush"
# Each as the guard does it, of which these are the programs.
STEPS = {
    UNIT: "systemd-run --quiet --collect --unit=bench-$i -p DefaultDependencies=no true",
    TIMER: (
        "systemd-run --quiet --unit=bench-$i --on-active=600 --timer-property=AccuracySec=1s true; "
        "systemctl --no-block stop bench-$i.timer"
    ),
    LIST: "systemctl list-units --state=failed,auto-restart --plain --no-legend >/dev/null",
    "one look at all services": "systemctl show --property=Id --property=ActiveState '*.service' >/dev/null",
    FLUSH: "echo >/var/lib/bench; sync -f /var/lib/bench",
}

# How often a deploy does them, beside what watching services does.
EACH_DEPLOY = {UNIT: 1, TIMER: 1, LIST: 3, FLUSH: 5}


@dataclass(frozen=True)
class Cost:
    """What something takes: seconds of the host's processors, of the controller's, and of the clock."""

    host: float
    controller: float
    wall: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.host - other.host, self.controller - other.controller, self.wall - other.wall)

    def divided(self, times: int) -> Cost:
        return Cost(self.host / times, self.controller / times, self.wall / times)


class Steps:
    """Runs commands on the first host, each over ssh, since only that counts as the host's work."""

    def __init__(self, lab: Fleet, directory: Path) -> None:
        self.host = lab.hosts[0]
        self.config = directory / "promises_ssh_config"
        lab.write_ssh_config(self.config, NEAR)

    def login(self, script: str, *options: str) -> Cost:
        """The cost of a login in which ``script`` runs."""
        argv = ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", *options, self.host.name, script]
        host, controller, begin = self.host.cpu_seconds(), _children(), time.monotonic()
        subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, timeout=STEP_DEADLINE)
        wall, used = time.monotonic() - begin, _children() - controller
        return Cost(self.host.cpu_seconds() - host, used, wall)

    def many(self, script: str, *options: str) -> Cost:
        """The median of logins."""
        costs = [self.login(script, *options) for _each in range(TIMES)]
        return Cost(*(statistics.median(each) for each in zip(*map(_values, costs), strict=True)))

    def repeated(self, step: str, login: Cost) -> Cost:
        """The cost of one of many ``step`` within one login, where ``$i`` counts."""
        whole = self.login(f"i=0; while [ $i -lt {TIMES} ]; do i=$((i + 1)); {step}; done")
        return (whole - login).divided(TIMES)


def _values(cost: Cost) -> tuple[float, float, float]:
    return cost.host, cost.controller, cost.wall


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def deploys() -> list[Contestant]:
    """Who deploys one change: the floor, all promises, and without those that an option switches off."""
    names = (contestants.FLOOR, contestants.NIXFERRY_BUILT, contestants.NIXFERRY_UNWATCHED)
    found = [contestant for contestant in own() if contestant.name in names]
    return [*found, Contestant(CHECKED, "and with two health checks", contestants.checked(CHECKS))]


def cost_of(record: Record) -> Cost:
    """The medians of a deploy. Raises BenchmarkError for one that failed."""
    if record.failure:
        raise BenchmarkError(f"{record.contestant.name}: {record.failure}")
    cpu = statistics.median(outcome.cpu_seconds for outcome in record.runs)
    return Cost(statistics.median(record.hosts_cpu), cpu, statistics.median(seconds(record)))


def measure(lab: Fleet, directory: Path, repetitions: int) -> None:
    """Print a line for each promise and each step."""
    race = Race(lab, deploys(), directory, NEAR, 1)
    records = race.begin(ONE_CHANGE, 1)
    race.run(records, repetitions)
    costs = {record.contestant.name: cost_of(record) for record in records}
    floor, whole = costs[contestants.FLOOR], costs[contestants.NIXFERRY_BUILT]
    unwatched = costs[contestants.NIXFERRY_UNWATCHED]
    steps = Steps(lab, directory)
    socket = directory / "s"
    login = steps.many("true")
    steps.login("true", "-o", "ControlMaster=yes", "-o", f"ControlPath={socket}", "-o", "ControlPersist=60")
    command = steps.many("true", "-o", f"ControlPath={socket}")
    close_connection(socket)
    pieces = {name: steps.repeated(step, login) for name, step in STEPS.items()}
    watching = whole - unwatched
    rest = whole - floor - watching - login - command
    for name, times in EACH_DEPLOY.items():
        for _each in range(times):
            rest -= pieces[name]
    rows = {
        "the floor: copy and switch": floor,
        "one change, with all promises": whole,
        "all promises together": whole - floor,
        "services are watched (settle: 3)": watching,
        "two health checks (unit, command)": costs[CHECKED] - unwatched,
        "one fresh login with a command": login,
        f"the same with {KEX}": steps.many("true", "-o", KEX),
        "one command over an open login": command,
        **pieces,
        "what is left: records, roots, lock": rest,
    }
    print("| what | host CPU ms | controller CPU ms | wall ms |\n|---|---|---|---|")
    for name, cost in rows.items():
        print(f"| {name} | " + " | ".join(f"{value * 1000:.0f}" for value in _values(cost)) + " |")


def main() -> int:
    """Exit status 1 if a deploy failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="timed deploys of each kind (%(default)s)")
    parser.add_argument("--lab-name", default="bench", help="the lab to start (%(default)s)")
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab running, for the next time")
    arguments = parser.parse_args()
    adopt_orphans()
    try:
        # Short, for the socket in it.
        with tempfile.TemporaryDirectory(prefix="nixferry-", ignore_cleanup_errors=True) as directory:
            measure(fleet.start(arguments.lab_name, 1), Path(directory), arguments.repetitions)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if not arguments.keep_lab:
            fleet.stop(arguments.lab_name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
