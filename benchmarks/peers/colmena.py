# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""colmena (https://colmena.cli.rs): a hive.nix; it switches every host at every run, all at once."""

from __future__ import annotations

from benchmarks.contestants import Contestant, Deployment
from benchmarks.measure import Command
from benchmarks.peers.network import nix_file
from benchmarks.systems import nix_environment

PROGRAM = "colmena"


def contestants() -> list[Contestant]:
    """A whole deploy, and what of it is evaluation."""
    return [
        Contestant(PROGRAM, "colmena apply, with evaluation", _apply),
        Contestant("colmena evaluation", "colmena build: all but the hosts", _build, deploys=False),
    ]


def _apply(deployment: Deployment) -> Command:
    # No limit on hosts that work at the same time; the default is ten.
    return _colmena(deployment, "apply", "--parallel", "0", "switch")


def _build(deployment: Deployment) -> Command:
    return _colmena(deployment, "build")


def _colmena(deployment: Deployment, *arguments: str) -> Command:
    hive = nix_file(
        deployment,
        "hive.nix",
        "{ meta.nixpkgs = nixpkgs; } // hosts (name: { deployment.targetHost = name; })",
    )
    environment = {**nix_environment(), "SSH_CONFIG_FILE": str(deployment.ssh_config)}
    return Command([PROGRAM, "--config", str(hive), *arguments], environment)
