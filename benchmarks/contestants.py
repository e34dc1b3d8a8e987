# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: the collection, the floor, the parts that both leave aside, and other tools."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import REPOSITORY
from benchmarks.measure import Command
from benchmarks.systems import Systems, attribute, nix_environment

HERE = Path(__file__).resolve().parent

FLOOR = "floor"
START_UP = "ansible start-up"
ONE_COMMAND = "ansible, one command"
EVALUATION = "evaluation"
NIXFERRY = "nixferry"
NIXFERRY_BUILT = "nixferry, built before"
NIXFERRY_UNWATCHED = "nixferry, settle 0"
STATUS = "nixferry, status"


@dataclass(frozen=True)
class Deployment:
    """One deploy that a contestant is to do."""

    systems: Systems
    ssh_config: Path
    address: str  # of all hosts
    ansible_config: Path
    work: Path  # an empty directory for this run's own files
    control: Path  # an empty directory for sockets of multiplexed connections, with a short name
    forks: int  # hosts at a time, for those that can be told


@dataclass(frozen=True)
class Contestant:
    """A tool that does a deploy, or a part of it.

    ``prepare`` writes what the command needs, which is not timed. ``deploys``: whether the hosts must run the
    deployment's systems afterwards. ``wraps``: whether what it makes a generation is a wrapper around the system.
    """

    name: str
    what: str
    prepare: Callable[[Deployment], Command]
    deploys: bool = True
    wraps: bool = False


def own() -> list[Contestant]:
    """What needs nothing but the lab."""
    return [
        Contestant(FLOOR, "floor.sh: one ssh connection a host, systems built before", _floor),
        Contestant(
            START_UP, "ansible-playbook with an empty play on the same inventory", _start_up, deploys=False
        ),
        Contestant(
            ONE_COMMAND, "ansible-playbook with one raw task that does nothing", _one_command, deploys=False
        ),
        Contestant(EVALUATION, "nix-instantiate of all systems in one process", _evaluation, deploys=False),
        Contestant(NIXFERRY_BUILT, "role nixos, nixos_store_path: no evaluation", _nixferry_built),
        Contestant(NIXFERRY, "role nixos, nixos_file: with evaluation", _nixferry),
        Contestant(
            NIXFERRY_UNWATCHED, "built before; services are not watched after their start", _unwatched
        ),
        Contestant(STATUS, "playbook status: what every host runs", _status, deploys=False),
    ]


def in_parallel(commands: Sequence[Sequence[str]]) -> list[str]:
    """One command that runs several at once, and fails when one of them does."""
    script = (
        'jobs=""; for command; do sh -c "$command" & jobs="$jobs $!"; done; '
        "failed=0; for job in $jobs; do wait $job || failed=1; done; exit $failed"
    )
    return ["sh", "-c", script, "sh", *map(shlex.join, commands)]


def version_of(program: str, *arguments: str) -> str:
    """The first line that a program says of its version."""
    done = subprocess.run(
        [program, *(arguments or ["--version"])], capture_output=True, text=True, check=False, timeout=60
    )
    return ((done.stdout + done.stderr).strip().splitlines() or ["unknown"])[0]


def absent(program: str) -> str:
    """Why a peer is left out; empty when its program is there."""
    return "" if shutil.which(program) else f"no {program} on PATH"


def _floor(deployment: Deployment) -> Command:
    targets = deployment.work / "targets"
    lines = (f"{host} {toplevel}\n" for host, toplevel in deployment.systems.toplevels.items())
    targets.write_text("".join(lines))
    return Command(
        [
            str(HERE / "floor.sh"),
            str(deployment.ssh_config),
            str(deployment.control),
            str(targets),
            str(deployment.forks),
        ],
        nix_environment(),
    )


def _evaluation(deployment: Deployment) -> Command:
    attributes = [part for host in deployment.systems.hosts for part in ("--attr", attribute(host))]
    return Command(["nix-instantiate", str(deployment.systems.directory), *attributes], nix_environment())


def _start_up(deployment: Deployment) -> Command:
    return _playbook(deployment, "empty.yml", {})


def _one_command(deployment: Deployment) -> Command:
    return _playbook(deployment, "one_command.yml", {})


def _nixferry(deployment: Deployment) -> Command:
    variables = {"nixos_file": str(deployment.systems.directory), "nixos_attr": attribute("{host}")}
    return _playbook(deployment, "deploy.yml", variables)


def _nixferry_built(deployment: Deployment, **more: object) -> Command:
    variables = {
        "benchmark_toplevels": deployment.systems.toplevels,
        "nixos_store_path": "{{ benchmark_toplevels[inventory_hostname] }}",
        **more,
    }
    return _playbook(deployment, "deploy.yml", variables)


def _unwatched(deployment: Deployment) -> Command:
    return _nixferry_built(deployment, benchmark_settle=0)


def checked(checks: object) -> Callable[[Deployment], Command]:
    """Prepare a deploy like that of ``_unwatched``, with health checks."""

    def prepare(deployment: Deployment) -> Command:
        return _nixferry_built(deployment, benchmark_settle=0, nixos_health_checks=checks)

    return prepare


def _status(deployment: Deployment) -> Command:
    return _playbook(deployment, "nixferry.deploy.status", {})


def _playbook(deployment: Deployment, playbook: str, variables: Mapping[str, object]) -> Command:
    """A run of a file of this directory, or of a playbook of the collection."""
    given = deployment.work / "variables.json"
    given.write_text(json.dumps({**variables, "ansible_host": deployment.address}))
    hosts = ",".join(deployment.systems.hosts)
    file = HERE / playbook
    return Command(
        [
            "ansible-playbook",
            str(file if file.exists() else playbook),
            "--limit",
            hosts,
            "--extra-vars",
            f"@{given}",
        ],
        {
            **nix_environment(),
            "ANSIBLE_CONFIG": str(deployment.ansible_config),
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build" / "collections"),
            # Connections of an earlier run would make this one look faster than it is.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(deployment.control),
            "ANSIBLE_FORKS": str(deployment.forks),
            "ANSIBLE_NOCOLOR": "1",
            "XDG_STATE_HOME": str(deployment.work / "state"),
        },
    )
