# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure copies to one host: nix_copy beside ``nix copy`` alone, over a fast link or a slow one.

``python -m benchmarks.copies --paths 300 --rate 10mbit``. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import fleet
from benchmarks.delay import NEAR
from benchmarks.fleet import REPOSITORY, BenchmarkError, Fleet
from benchmarks.measure import RUN_DEADLINE, Command, Outcome, Spread, adopt_orphans, reap_orphans, run
from benchmarks.race import close_connection, headline, say
from benchmarks.systems import nix_environment

# On a fast link nix_copy may take so many times as long as `nix copy` alone, beside Ansible with one command.
FAST_FACTOR = 1.3
MEMORY_FACTOR = 1.1
ALONE, COMPRESSED = "nix copy", "nix copy, compressed"
START, OURS = "ansible, one command", "nix_copy"
RECEIVED = "cat /sys/class/net/eth0/statistics/rx_bytes"
# Text that compresses to a third, as closures do: a hash in each line, beside what is in every line.
# One path refers to all others, so they are one closure.
CLOSURE = """
{ paths, lines, random }:
let
  line = name: number: builtins.hashString "sha256" "${name}-${toString number}" + rest;
  rest = " usr/share/locale/en/LC_MESSAGES/text.mo 0644 root root\\n";
  text = name: builtins.concatStringsSep "" (builtins.genList (line name) lines);
  small = number: builtins.toFile "part-${toString number}" (text "${salt}-${toString number}");
  large = derivation {
    name = "large";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/usr/bin:/bin; head -c ${toString random} /dev/urandom >$out" ];
    inherit salt;
  };
  salt = "SALT";
in
derivation {
  name = "all";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  parts = builtins.toFile "parts" (builtins.concatStringsSep "\\n" (builtins.genList small paths));
  args = [ "-c" "echo $parts $large >$out" ];
  large = if random == 0 then "" else large;
}
"""


@dataclass
class Times:
    """What the runs of one contestant took."""

    outcomes: list[Outcome] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    memory: float = 0.0
    first: float = 0.0
    """Seconds of the run in which memory was looked at."""
    failure: str = ""


def make_closure(paths: int, lines: int, random: int, salt: str, deadline: int) -> str:
    """Make the paths in the controller's store in so many seconds; returns the one that refers to all."""
    text = CLOSURE.replace("SALT", salt)
    expression = f"({text}) {{ paths = {paths}; lines = {lines}; random = {random}; }}"
    argv = ["nix-build", "--no-out-link", "--quiet", "--expr", expression]
    done = subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=deadline,
        env={**os.environ, **nix_environment()},
    )
    return done.stdout.strip()


def delete_closure(path: str, deadline: int) -> None:
    """Delete from the controller's store what was made, in so many seconds; nothing else is in the closure."""
    # What refers to others goes first: the derivations, which refer to the paths as well.
    closure = (
        f"nix-store --query --requisites --include-outputs $(nix-store --query --deriver {path}) | "
        "tac | xargs nix-store --delete"
    )
    subprocess.run(["sh", "-c", closure], capture_output=True, check=False, timeout=deadline)


@contextmanager
def limited(where: Fleet, rate: str) -> Iterator[None]:
    """Limit what the host receives to ``rate``, as tc writes it; empty: no limit."""
    if not rate:
        yield
        return
    host = where.hosts[0]
    index = host.ask("cat /sys/class/net/eth0/iflink")
    [other] = [
        path.name
        for path in Path("/sys/class/net").iterdir()
        if (path / "ifindex").read_text().strip() == index
    ]
    shape = f"tbf rate {rate} burst 32kbit latency 400ms"
    subprocess.run(["tc", "qdisc", "add", "dev", other, "root", *shape.split()], check=True)
    try:
        yield
    finally:
        # With the container the interface is gone.
        subprocess.run(["tc", "qdisc", "del", "dev", other, "root"], check=False)


def contestants(where: Fleet, directory: Path, path: str) -> dict[str, Command]:
    """What is compared, by name."""
    where.write_ssh_config(directory / "ssh_config", NEAR)
    alone = ["nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs"]
    alone += ["--to", f"ssh://{where.hosts[0].name}", path]
    settings = {
        "ANSIBLE_CONFIG": str(where.ansible_config),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory),
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build/collections"),
        **nix_environment(),
    }
    plays = {
        START: ("ansible.builtin.raw", "true"),
        OURS: ("nixferry.deploy.nix_copy", {"path": path}),
        "nix_copy, compress: true": ("nixferry.deploy.nix_copy", {"path": path, "compress": True}),
    }
    found = {}
    for compress in (False, True):
        options = f"-F {directory}/ssh_config -o Compression={'yes' if compress else 'no'}"
        found[COMPRESSED if compress else ALONE] = Command(
            alone, {**nix_environment(), "NIX_SSHOPTS": options}
        )
    for number, (name, (action, arguments)) in enumerate(plays.items()):
        playbook = directory / f"{number}.yml"
        playbook.write_text(
            json.dumps(
                [{"hosts": where.hosts[0].name, "gather_facts": False, "tasks": [{action: arguments}]}]
            )
        )
        found[name] = Command(["ansible-playbook", str(playbook)], settings)
    return found


def measure(
    where: Fleet, commands: Mapping[str, Command], path: str, repetitions: int, deadline: int
) -> dict[str, Times]:
    """Let the contestants take turns. The first round is that in which memory is looked at, and is not timed.

    A contestant that fails, or takes more than ``deadline`` seconds, is left out from then on.
    """
    times = {name: Times() for name in commands}
    with tempfile.TemporaryDirectory() as logs:
        for round_ in range(repetitions + 1):
            for name, command in commands.items():
                taken = times[name]
                if taken.failure:
                    continue
                try:
                    outcome, received = _once(
                        where,
                        command,
                        path if "copy" in name else "",
                        Path(logs),
                        inspect=round_ == 0,
                        deadline=deadline,
                    )
                except (BenchmarkError, OSError, subprocess.SubprocessError) as error:
                    taken.failure = headline(error)
                    say(f"{name}: {error}")
                    continue
                if round_ == 0:
                    taken.first, taken.memory = outcome.seconds, (outcome.memory or 0) / 2**20
                else:
                    taken.outcomes.append(outcome)
                    taken.received.append(received)
    return times


def _once(
    where: Fleet, command: Command, path: str, logs: Path, *, inspect: bool, deadline: int
) -> tuple[Outcome, int]:
    """Run a contestant on an empty host, which must have ``path`` then; return with it the bytes the host received."""
    host, log = where.hosts[0], logs / "log"
    host.ask("nix-collect-garbage >/dev/null 2>&1")
    before = int(host.ask(RECEIVED))
    try:
        outcome = run(command, log, with_memory=inspect, deadline=deadline)
    finally:
        for socket in Path(command.environment.get("ANSIBLE_SSH_CONTROL_PATH_DIR", logs)).glob("*"):
            if socket.is_socket():
                close_connection(socket)
        reap_orphans()
    if outcome.return_code != 0:
        raise BenchmarkError(f"exit {outcome.return_code}\n{log.read_text(errors='replace')}")
    if path:
        host.ask(f"nix-store --check-validity {path}")
    return outcome, int(host.ask(RECEIVED)) - before


def table(times: Mapping[str, Times]) -> str:
    """One line a contestant; ``first`` is the run in which memory was looked at."""
    columns = ("first s", "median s", "min", "max", "cpu s", "received MiB", "peak MiB")
    widths = (9, 9, 8, 8, 8, 14, 10)
    lines = [" " * 26 + "".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))]
    for name, taken in times.items():
        cells = [""] * 5
        if taken.outcomes:
            spread = Spread.of(outcome.seconds for outcome in taken.outcomes)
            cpu = Spread.of(outcome.cpu_seconds for outcome in taken.outcomes).median
            cells = [f"{each:.2f}" for each in (spread.median, spread.minimum, spread.maximum, cpu)]
            cells.append(f"{Spread.of(taken.received).median / 2**20:.1f}")
        cells = [f"{taken.first:.2f}", *cells, f"{taken.memory:.0f}"]
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:26}{'  ' + taken.failure if taken.failure else row}")
    return "\n".join(lines)


def aims(times: Mapping[str, Times], *, slow: bool) -> list[str]:
    """Say whether ``nix_copy`` is as fast and small as it should be, if all that it is judged by took part."""
    alone, factor = (COMPRESSED, 1.0) if slow else (ALONE, FAST_FACTOR)
    if not all(name in times and not times[name].failure for name in (OURS, alone, START)):
        return [f"no aim without {OURS}, {alone} and {START}"]
    told = []
    if times[OURS].outcomes:
        ours, theirs, start = (
            Spread.of(run.seconds for run in times[name].outcomes).median for name in (OURS, alone, START)
        )
        told.append(_line("s", ours, factor * theirs + start, f"{factor} x {alone} + {START}"))
    # Nix itself takes more memory for more paths; what is ours must not.
    memory = times[alone].memory + times[START].memory
    told.append(
        _line("MiB", times[OURS].memory, MEMORY_FACTOR * memory, f"{MEMORY_FACTOR} x ({alone} + {START})")
    )
    return told


def _line(unit: str, value: float, allowed: float, how: str) -> str:
    verdict = "met" if value <= allowed else "MISSED"
    return f"aim {verdict}: {OURS}: {value:.2f} {unit}, at most {allowed:.2f} = {how}"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copies", description=__doc__)
    parser.add_argument("--paths", type=int, default=300, help="store paths (%(default)s)")
    parser.add_argument("--kib", type=int, default=100, help="size of each of them (%(default)s)")
    parser.add_argument(
        "--random-mib", type=int, default=0, help="one more, which does not compress (%(default)s)"
    )
    parser.add_argument("--rate", default="", help="of the link, such as 10mbit; unlimited without")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only this contestant; may be given several times"
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=3,
        help="timed runs of each; 0: only look at the memory (%(default)s)",
    )
    parser.add_argument(
        "--deadline",
        type=int,
        default=RUN_DEADLINE,
        help="seconds for one copy, and to make the paths (%(default)s)",
    )
    parser.add_argument("--lab-name", default="bench", help="the lab to start (%(default)s)")
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab running, for the next time")
    return parser.parse_args()


def main() -> int:
    """Print the table."""
    arguments = options()
    adopt_orphans()
    path = make_closure(
        arguments.paths,
        arguments.kib * 1024 // 120,
        arguments.random_mib * 2**20,
        f"{os.getpid()}",
        arguments.deadline,
    )
    try:
        where = fleet.start(arguments.lab_name, 1)
        # Short, for the sockets in it.
        with (
            tempfile.TemporaryDirectory(prefix="nixferry-", ignore_cleanup_errors=True) as directory,
            limited(where, arguments.rate),
        ):
            commands = contestants(where, Path(directory), path)
            chosen = {name: commands[name] for name in arguments.only or commands}
            times = measure(where, chosen, path, arguments.repetitions, arguments.deadline)
            print(table(times))
            print(*aims(times, slow=bool(arguments.rate)), sep="\n")
            failed = any(taken.failure for taken in times.values())
    except BenchmarkError as error:
        say(f"error: {error}")
        failed = True
    finally:
        delete_closure(path, arguments.deadline)
        if not arguments.keep_lab:
            fleet.stop(arguments.lab_name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
