# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systems that are deployed: mini NixOS, evaluated from files of their own, built before anything is timed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import REPOSITORY, BenchmarkError

BUILD_DEADLINE = 900  # seconds to build the systems of all hosts


@dataclass(frozen=True)
class Systems:
    """One version of the systems of some hosts: where they are defined, and the store paths they come to."""

    directory: Path  # with default.nix, and `seed/bin/busybox`
    toplevels: dict[str, str]  # by host, in the fleet's order

    @property
    def hosts(self) -> list[str]:
        """The hosts' names."""
        return list(self.toplevels)


def attribute(host: str) -> str:
    """The attribute path of a host's system in ``Systems.directory``."""
    return f"{host}.config.system.build.toplevel"


def nix_environment() -> dict[str, str]:
    """Settings with which Nix builds here: no network; root on a machine without build users builds by itself."""
    settings = ["substituters ="]
    if os.geteuid() == 0:
        settings += ["build-users-group =", "sandbox = false"]
    return {"NIX_CONFIG": "\n".join(settings)}


def build(directory: Path, version: str, hosts: Sequence[str]) -> Systems:
    """Describe and build the systems of ``hosts``, which differ from another version's by a version number.

    The number is in a file below /etc, in a unit, which a switch restarts, and in the name of the toplevel.
    Links in ``directory`` protect the systems from the garbage collector. Raises BenchmarkError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    description = directory / "hosts.json"
    description.write_text(json.dumps({host: {"version": version} for host in hosts}, indent=1))
    _run([str(REPOSITORY / "tests/fixtures/mini-nixos/materialise"), str(directory)])
    attributes = [part for host in hosts for part in ("--attr", attribute(host))]
    links = ["--out-link", str(directory / "system")]
    paths = _run(["nix-build", "--quiet", *links, str(directory), *attributes]).split()
    toplevels = dict(zip(hosts, (os.path.realpath(path) for path in paths), strict=True))
    for host, path in toplevels.items():
        if not path.endswith(f"-nixos-system-{host}-{version}"):
            raise BenchmarkError(f"{host}: {path} is not the system of version {version}")
    return Systems(directory=directory, toplevels=toplevels)


def _run(argv: Sequence[str]) -> str:
    environment = {**os.environ, **nix_environment()}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=BUILD_DEADLINE, env=environment
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv[:2])} failed:\n{done.stderr[-4000:]}")
    return done.stdout
