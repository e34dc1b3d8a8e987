# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos-rebuild, of NixOS itself: one host a call; here all calls run at once."""

from __future__ import annotations

from benchmarks.contestants import Contestant, Deployment, in_parallel
from benchmarks.measure import Command
from benchmarks.systems import nix_environment

PROGRAM = "nixos-rebuild"


def contestants() -> list[Contestant]:
    """A whole deploy; it evaluates each host by itself."""
    return [Contestant(PROGRAM, "nixos-rebuild switch for each host, with evaluation", _switch)]


def _switch(deployment: Deployment) -> Command:
    flake = f"path:{deployment.systems.directory}"
    # It leaves a link called result where it runs: each call gets a directory of its own.
    inside = ["sh", "-c", 'mkdir "$1" && cd "$1" && shift && exec "$@"', "sh"]
    # --fast: the systems here do not bring a nixos-rebuild of their own.
    switch = [PROGRAM, "switch", "--fast", "--flake"]
    commands = [
        [*inside, str(deployment.work / host), *switch, f"{flake}#{host}", "--target-host", f"root@{host}"]
        for host in deployment.systems.hosts
    ]
    environment = {**nix_environment(), "NIX_SSHOPTS": f"-F {deployment.ssh_config}"}
    return Command(in_parallel(commands), environment)
