# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure deploys against the floor and against other tools: see README.md."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from itertools import product
from pathlib import Path
from types import FrameType

from benchmarks import aims, fleet, report
from benchmarks.contestants import FLOOR, Contestant, absent, own
from benchmarks.delay import delayed
from benchmarks.fleet import REPOSITORY, BenchmarkError
from benchmarks.measure import adopt_orphans
from benchmarks.peers import colmena, deploy_rs, morph, nixos_rebuild
from benchmarks.race import SCENARIOS, Race, Record, say

PEERS = (colmena, deploy_rs, morph, nixos_rebuild)
RESULTS = REPOSITORY / ".build" / "bench"
INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh", description=__doc__)
    parser.add_argument(
        "--hosts", default="1,5,20", help="numbers of hosts to deploy to, with commas between (%(default)s)"
    )
    parser.add_argument(
        "--repetitions", type=int, default=5, help="timed runs of each contestant (%(default)s)"
    )
    parser.add_argument(
        "--scenario", choices=SCENARIOS, action="append", help="only this; may be given more than once"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only this contestant, beside the floor; may be given more than once",
    )
    parser.add_argument(
        "--latency",
        type=float,
        default=0,
        metavar="MS",
        help="milliseconds that a round trip to a host takes longer (%(default)s)",
    )
    parser.add_argument(
        "--forks",
        type=int,
        default=50,
        metavar="N",
        help="hosts at a time, for Ansible and the floor (%(default)s)",
    )
    parser.add_argument("--lab-name", default="bench", help="the lab to start (%(default)s)")
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab running, for the next time")
    parser.add_argument(
        "--lab-only", action="store_true", help="start the lab, leave it running and measure nothing"
    )
    return parser.parse_args()


def contestants(only: list[str] | None) -> tuple[list[Contestant], list[str]]:
    """Who takes part, and the programs of the peers among them; says who is left out. Raises BenchmarkError."""
    found, programs = own(), []
    for peer in PEERS:
        reason = absent(peer.PROGRAM)
        if reason:
            say(f"left out: {reason}")
        else:
            found += peer.contestants()
            programs.append(peer.PROGRAM)
    if only is not None:
        unknown = set(only) - {contestant.name for contestant in found}
        if unknown:
            names = ", ".join(contestant.name for contestant in found)
            raise BenchmarkError(f"nobody here is called {', '.join(sorted(unknown))}; there are: {names}")
        found = [contestant for contestant in found if contestant.name in (FLOOR, *only)]
    return found, programs


def measure(arguments: argparse.Namespace, directory: Path) -> list[Record]:
    """Start the lab, run everything, print a table after each part, keep it as JSON; the lab is removed."""
    sizes = [int(size) for size in arguments.hosts.split(",")]
    taking_part, programs = contestants(arguments.only)
    records: list[Record] = []
    facts = {**report.machine(programs), "latency_milliseconds": arguments.latency}
    say(f"starting {max(sizes)} hosts; results go to {directory}")
    try:
        lab = fleet.start(arguments.lab_name, max(sizes))
        with delayed([host.ssh_port for host in lab.hosts], arguments.latency) as address:
            race = Race(lab, taking_part, directory, address, arguments.forks)
            for scenario, hosts in product(arguments.scenario or SCENARIOS, sizes):
                part = race.begin(scenario, hosts)
                records += part
                try:
                    race.run(part, arguments.repetitions)
                finally:
                    # After an interruption as well: what has been measured is worth a look.
                    print(
                        f"\n{scenario}, {arguments.repetitions} repetitions, {arguments.latency:g} ms of latency"
                    )
                    print(report.table(part))
                    print(*aims.lines(records, scenario, hosts, arguments.latency), sep="\n", flush=True)
                    document = {"machine": facts, "records": [report.as_json(record) for record in records]}
                    (directory / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    finally:
        if not arguments.keep_lab:
            fleet.stop(arguments.lab_name)
    print(f"\n{report.LEGEND}\n{json.dumps(facts)}")
    return records


def start_lab(arguments: argparse.Namespace) -> int:
    """Start the lab for a later run; exit status 1 if that fails."""
    try:
        fleet.start(arguments.lab_name, max(int(size) for size in arguments.hosts.split(",")))
    except BenchmarkError as error:
        say(f"error: {error}")
        return 1
    return 0


def stop(number: int, _frame: FrameType | None) -> None:
    """End like Ctrl-C does, so that the lab is removed."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Exit status 1 when a contestant failed or nothing could be measured."""
    arguments = options()
    signal.signal(signal.SIGTERM, stop)
    adopt_orphans()
    if arguments.lab_only:
        return start_lab(arguments)
    directory = RESULTS / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    directory.mkdir(parents=True)
    try:
        records = measure(arguments, directory)
    except BenchmarkError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt as error:
        say(f"interrupted {error}".rstrip())
        return INTERRUPTED
    finally:
        # The systems' links keep them from the garbage collector, which nobody needs any more.
        shutil.rmtree(directory / "systems", ignore_errors=True)
    return 1 if any(record.failure for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
