# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""morph (https://github.com/DBCDK/morph): a network file; it switches every host at every run, one after the other."""

from __future__ import annotations

from benchmarks.contestants import Contestant, Deployment
from benchmarks.measure import Command
from benchmarks.peers.network import nix_file
from benchmarks.systems import nix_environment

PROGRAM = "morph"


def contestants() -> list[Contestant]:
    """A whole deploy, and what of it is evaluation."""
    return [
        Contestant(PROGRAM, "morph deploy, with evaluation", _deploy),
        Contestant("morph evaluation", "morph build: all but the hosts", _build, deploys=False),
    ]


def _deploy(deployment: Deployment) -> Command:
    return _morph(deployment, "deploy", "switch")


def _build(deployment: Deployment) -> Command:
    return _morph(deployment, "build")


def _morph(deployment: Deployment, command: str, *arguments: str) -> Command:
    network = nix_file(
        deployment,
        "network.nix",
        "{ network.pkgs = nixpkgs; } // hosts (name: { deployment.targetHost = name; })",
    )
    environment = {
        **nix_environment(),
        "SSH_CONFIG_FILE": str(deployment.ssh_config),
        "SSH_USER": "root",
    }
    return Command([PROGRAM, command, str(network), *arguments], environment)
