# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long reading a fleet file takes: listing its hosts, and evaluating their systems.

Needs Nix, but no hosts: ``python -m benchmarks.reading --hosts 1,10,50``. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fleet import REPOSITORY
from benchmarks.measure import Command, Spread, run
from benchmarks.systems import nix_environment

MATERIALISE_DEADLINE = 60  # seconds
COLLECTIONS = REPOSITORY / ".build" / "collections"
# How many times as long one evaluator is to take as several do on two processors, and seconds for a list of hosts.
SPEED_AIM = 1.7
# How many times as long as the fastest of the others an evaluation may take.
BEST_AIM = 1.15
# In the first run nothing is known of what a host takes; the second one has what the first has measured.
MEMORY_RUNS = 2
LISTING_HOSTS = 100
LISTING_AIM = 2.0
# What one host costs the evaluator: about a quarter of a second. Hosts of a real
# nixpkgs bring their own weight.
WEIGHT = 1_500_000
NETWORK = """
let
  host = number: {
    deployment.targetHost = "192.0.2.${toString number}";
    boot.isContainer = true;
    environment.etc.weight.text = toString (builtins.foldl' (sum: each: sum + each.value) 0
      (builtins.genList (value: { inherit value; }) (WEIGHT + number)));
  };
in
{ network.nixpkgs = import NIXPKGS { }; }
// builtins.listToAttrs (builtins.genList (number: { name = "host${toString number}"; value = host number; }) HOSTS)
"""
# One process that evaluates everything: what there would be without chunks.
PLAIN = "builtins.mapAttrs (_name: host: host.toplevel.drvPath) (import {adapters} {{ files = [ {file} ]; }}).hosts"

JOBS_EXPRESSION = (
    "builtins.mapAttrs (_name: host: host.toplevel) (import {adapters} {{ files = [ {file} ]; }}).hosts"
)
# What is compared: our evaluators, one of Nix, ours with nix-eval-jobs, and that alone.
OURS, ONE, WITH_JOBS, JOBS = "evaluation", "one evaluator", "with nix-eval-jobs", "nix-eval-jobs"


def limits(max_memory: int | None) -> Any:
    """The limits that nix_build has, with the memory in MiB that its option ``max_memory`` gives it."""
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(COLLECTIONS)])
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate import limits as _evaluate_limits

    return _evaluate_limits.default_limits(max_memory)


def inside(what: str, file: str, max_memory: int | None) -> None:
    """In a process of its own: list the fleet or evaluate it, as the inventory plugin and nix_build do."""
    limited = limits(max_memory)
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate import evaluate as _evaluate
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate import jobs as _evaluate_jobs
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix import command as _nix
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources import fleet_words as _fleet_words
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources import listing as _fleet

    nix = _nix.Nix()
    fleet = _fleet_words.fleet_from([file], directory="/")
    if what == "nothing":
        return
    if what == "list":
        _fleet.read_fleet(nix, fleet)
        return
    # Names as they are in the network: listing is measured apart.
    attributes = {f"host{number}": fleet.attribute(f"host{number}") for number in range(int(what))}
    mode = _evaluate_jobs.AUTO if os.environ.get("WITH_JOBS") else _evaluate_jobs.NEVER
    answers = _evaluate.evaluate(nix, attributes, limits=limited, deadline=None, eval_jobs=mode)
    wrong = [answer for answer in answers.values() if not isinstance(answer, _evaluate.Evaluation)]
    if wrong:
        raise SystemExit(str(wrong[0]))


def contestants(file: Path, hosts: int, memory: int) -> dict[str, Command]:
    """What is compared, by name. ``memory`` is what evaluators may take, in MiB."""
    own = [
        sys.executable,
        "-m",
        "benchmarks.reading",
        "--file",
        str(file),
        "--max-memory",
        str(memory),
        "--inside",
    ]
    adapters = REPOSITORY / "plugins/plugin_utils/nix/fleet"
    plain = PLAIN.format(adapters=adapters, file=file)
    evaluator = ["nix-instantiate", "--eval", "--json", "--strict", "--read-write-mode", "--expr", plain]
    found = {
        "start-up": Command([*own, "nothing"], nix_environment()),
        "listing": Command([*own, "list"], nix_environment()),
        OURS: Command([*own, str(hosts)], nix_environment()),
        ONE: Command(evaluator, nix_environment()),
    }
    if shutil.which(JOBS):
        found[WITH_JOBS] = Command([*own, str(hosts)], {**nix_environment(), "WITH_JOBS": "1"})
        found[JOBS] = jobs(adapters, file, memory)
    return found


def jobs(adapters: Path, file: Path, memory: int) -> Command:
    """nix-eval-jobs itself, with as many evaluators as there are processors, which share ``memory`` MiB."""
    systems = file.with_name(f"jobs-{file.name}")
    systems.write_text(JOBS_EXPRESSION.format(adapters=adapters, file=file))
    workers = os.cpu_count() or 1
    options = ["--workers", str(workers), "--max-memory-size", str(memory // workers)]
    return Command(
        [JOBS, *options, "--gc-roots-dir", str(file.with_suffix(".roots")), str(systems)], nix_environment()
    )


class Times:
    """Runs commands by turns, and keeps what they took."""

    def __init__(self, directory: Path, commands: Mapping[str, Command], repetitions: int) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in commands}
        self.memory: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(repetitions + MEMORY_RUNS):
            looked_at = round_ < MEMORY_RUNS
            for name, command in commands.items():
                # The first rounds warm up, and are those in which memory is looked at.
                log = directory / "log"
                outcome = run(command, log, with_memory=looked_at)
                if outcome.return_code != 0:
                    raise SystemExit(f"{name}: {log.read_text()}")
                if looked_at:
                    self.memory[name].append((outcome.memory or 0) / 2**20)
                else:
                    self.seconds[name].append(outcome.seconds)

    def table(self, title: str) -> str:
        """Seconds and MiB of each command."""
        lines = [f"{title:26}     min   median      max      MiB    again"]
        for name, times in self.seconds.items():
            spread = Spread.of(times)
            numbers = f"{spread.minimum:8.2f} {spread.median:8.2f} {spread.maximum:8.2f}"
            memory = " ".join(f"{each:8.0f}" for each in self.memory[name])
            lines.append(f"  {name:24}{numbers} {memory}")
        return "\n".join(lines)

    def ratio(self, other: str, own: str, *, less: float) -> Spread:
        """How many times as long as ``own``, without ``less`` seconds, ``other`` took, by rounds."""
        pairs = zip(self.seconds[other], self.seconds[own], strict=True)
        return Spread.of([theirs / (ours - less) for theirs, ours in pairs])

    def median(self, name: str) -> float:
        """Seconds."""
        return Spread.of(self.seconds[name]).median


def network(directory: Path, hosts: int, nixpkgs: str, weight: int) -> Path:
    """A fleet file with ``hosts`` hosts."""
    file = directory / f"network-{hosts}.nix"
    text = NETWORK.replace("WEIGHT", str(weight)).replace("HOSTS", str(hosts))
    file.write_text(text.replace("NIXPKGS", nixpkgs))
    return file


def measure(directory: Path, hosts: int, arguments: argparse.Namespace) -> None:
    """Print a table for a fleet of ``hosts`` hosts, and how far the aim is."""
    memory = limits(arguments.max_memory).memory_mib
    file = network(directory, hosts, arguments.nixpkgs or "./nixpkgs", 1 if arguments.nixpkgs else WEIGHT)
    times = Times(directory, contestants(file, hosts, memory), arguments.repetitions)
    print(f"\n{times.table(f'{hosts} hosts')}")
    start = times.median("start-up")
    for name in (OURS, WITH_JOBS):
        if name in times.seconds:
            spread = times.ratio(ONE, name, less=start)
            print(
                f"  one evaluator takes {spread.median:.2f} times as long as {name} "
                f"({spread.minimum:.2f} to {spread.maximum:.2f}; aim with two processors: {SPEED_AIM}), "
                f"which took {' and then '.join(f'{each:.0f}' for each in times.memory[name])} of {memory} MiB"
            )
    if JOBS in times.seconds:
        spread = times.ratio(JOBS, OURS, less=start)
        print(
            f"  {OURS} takes {1 / spread.median:.2f} times as long as {JOBS} "
            f"({1 / spread.maximum:.2f} to {1 / spread.minimum:.2f}; aim: at most {BEST_AIM})"
        )


def inventory(directory: Path, repetitions: int) -> None:
    """Print how long ``ansible-inventory`` takes for many hosts, which are those of the stand-in for nixpkgs."""
    network(directory, LISTING_HOSTS, "./nixpkgs", 1)
    (directory / "fleet.yml").write_text(
        f"plugin: nixferry.deploy.fleet\nfleet: network-{LISTING_HOSTS}.nix\n"
    )
    (directory / "none.yml").write_text("all:\n  hosts: {}\n")
    environment = {**nix_environment(), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
    program = [str(Path(sys.executable).parent / "ansible-inventory"), "--list", "-i"]
    times = Times(
        directory,
        {
            "an empty inventory": Command([*program, str(directory / "none.yml")], environment),
            "ansible-inventory --list": Command([*program, str(directory / "fleet.yml")], environment),
        },
        repetitions,
    )
    print(f"\n{times.table(f'{LISTING_HOSTS} hosts, stand-in')}\n  aim: {LISTING_AIM} s")


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument(
        "--hosts", default="1,10,50", help="numbers of hosts, with commas between (%(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="timed runs (%(default)s)")
    parser.add_argument(
        "--nixpkgs",
        default=os.environ.get("NIXPKGS_TREE", ""),
        help="a checkout of nixpkgs to evaluate real systems of, in place of its stand-in; or NIXPKGS_TREE",
    )
    parser.add_argument("--max-memory", type=int, help="what evaluators may take, in MiB (what is available)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        inside(given.inside, given.file, given.max_memory)
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        # What earlier runs of this user have remembered is not what is measured.
        os.environ["XDG_STATE_HOME"] = str(Path(name, "state"))
        materialise = [str(REPOSITORY / "tests/fixtures/nixpkgs/materialise"), str(Path(name, "nixpkgs"))]
        subprocess.run(materialise, check=True, timeout=MATERIALISE_DEADLINE)
        inventory(Path(name), given.repetitions)
        for hosts in map(int, given.hosts.split(",")):
            measure(Path(name), hosts, given)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
