# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long reading a fleet file takes: listing its hosts, and evaluating their systems.

Needs Nix, but no hosts: ``python -m benchmarks.reading --hosts 1,10,50``. See README.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fleet import REPOSITORY
from benchmarks.measure import Command, Spread, run
from benchmarks.systems import nix_environment

MATERIALISE_DEADLINE = 60  # seconds
COLLECTIONS = REPOSITORY / ".build" / "collections"
# What one host costs the evaluator: about what a small NixOS system does in the time of its modules.
WEIGHT = 300_000
NETWORK = """
let
  host = number: { lib, ... }: {
    deployment.targetHost = "192.0.2.${toString number}";
    environment.etc.weight.text = toString (lib.foldl (sum: each: sum + each.value) 0
      (lib.genList (value: { inherit value; }) (WEIGHT + number)));
  };
in
{ network.nixpkgs = import ./nixpkgs { }; }
// builtins.listToAttrs (builtins.genList (number: { name = "host${toString number}"; value = host number; }) HOSTS)
"""
# One process that evaluates everything: what there would be without chunks.
PLAIN = "builtins.mapAttrs (_name: host: host.toplevel.drvPath) (import {adapters} {{ files = [ {file} ]; }}).hosts"


def inside(what: str, file: str) -> None:
    """In a process of its own: list the fleet or evaluate it, as the inventory plugin and nix_build do."""
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(COLLECTIONS)])
    from ansible_collections.nixferry.deploy.plugins.plugin_utils import (
        _evaluate,
        _evaluate_limits,
        _fleet,
        _fleet_source,
        _nix,
    )

    nix = _nix.Nix()
    fleet = _fleet_source.fleet_from([file], directory="/")
    if what == "nothing":
        return
    if what == "list":
        _fleet.read_fleet(nix, fleet)
        return
    # Names as they are in the network: listing is measured apart.
    attributes = {f"host{number}": fleet.attribute(f"host{number}") for number in range(int(what))}
    answers = _evaluate.evaluate(nix, attributes, limits=_evaluate_limits.default_limits(), deadline=None)
    wrong = [answer for answer in answers.values() if not isinstance(answer, _evaluate.Evaluation)]
    if wrong:
        raise SystemExit(str(wrong[0]))


def contestants(file: Path, hosts: int) -> dict[str, Command]:
    """What is compared, by name."""
    own = [sys.executable, "-m", "benchmarks.reading", "--file", str(file), "--inside"]
    adapters = REPOSITORY / "plugins/plugin_utils/nix/fleet"
    plain = PLAIN.format(adapters=adapters, file=file)
    evaluator = ["nix-instantiate", "--eval", "--json", "--strict", "--read-write-mode", "--expr", plain]
    return {
        "start-up": Command([*own, "nothing"], nix_environment()),
        "listing": Command([*own, "list"], nix_environment()),
        "evaluation": Command([*own, str(hosts)], nix_environment()),
        "one evaluator": Command(evaluator, nix_environment()),
    }


def measure(directory: Path, hosts: int, repetitions: int) -> None:
    """Print a table for a fleet of ``hosts`` hosts."""
    file = directory / f"network-{hosts}.nix"
    file.write_text(NETWORK.replace("WEIGHT", str(WEIGHT)).replace("HOSTS", str(hosts)))
    found = contestants(file, hosts)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    memory: dict[str, int] = {}
    for round_ in range(repetitions + 1):
        for name, command in found.items():
            # The first round warms up, and is the one in which memory is looked at.
            outcome = run(command, directory / f"{name}.log", with_memory=round_ == 0)
            if outcome.return_code != 0:
                raise SystemExit(f"{name}: {(directory / f'{name}.log').read_text()}")
            if round_ == 0:
                memory[name] = outcome.memory or 0
            else:
                seconds[name].append(outcome.seconds)
    print(f"\n{hosts} hosts{'':18}min   median      max      MiB")
    for name, times in seconds.items():
        spread = Spread.of(times)
        line = f"{spread.minimum:8.2f} {spread.median:8.2f} {spread.maximum:8.2f} {memory[name] / 2**20:8.0f}"
        print(f"  {name:18}{line}")
    start = Spread.of(seconds["start-up"]).median
    ours = Spread.of(seconds["evaluation"]).median - start
    print(f"  one evaluator takes {Spread.of(seconds['one evaluator']).median / ours:.2f} times as long")


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument(
        "--hosts", default="1,10,50", help="numbers of hosts, with commas between (%(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="timed runs (%(default)s)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        inside(given.inside, given.file)
        return
    with tempfile.TemporaryDirectory() as name:
        materialise = [str(REPOSITORY / "tests/fixtures/nixpkgs/materialise"), str(Path(name, "nixpkgs"))]
        subprocess.run(materialise, check=True, timeout=MATERIALISE_DEADLINE)
        for hosts in map(int, given.hosts.split(",")):
            measure(Path(name), hosts, given.repetitions)


if __name__ == "__main__":
    main(sys.argv[1:])
