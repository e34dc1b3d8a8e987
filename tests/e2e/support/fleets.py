# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleet files of several tools, laid out for a test, and what they describe as data."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Answers, evaluate
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import Limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import Fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet_words import fleet_from
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing, read_fleet

FIXTURES = REPOSITORY / "tests/fixtures"
LIMITS = Limits(memory_mib=4096, evaluators=2)
# Each tool's fleet, and the host of it that the tests deploy.
FLEETS = {
    "nixops": ["nixops/network.nix"],
    "nixops-files": ["nixops/logical.nix", "nixops/physical.nix"],
    "morph": ["morph/network.nix"],
    "nixus": ["nixus"],
    "colmena": ["colmena/hive.nix"],
    "colmenaHive": ["."],
    "colmena-flake": [".#colmena"],
    "nixops-flake": [".#nixopsConfigurations"],
    "deploy-rs": [".#deploy"],
    "nixos": [".#nixosConfigurations"],
}
# What the fleets import of nixpkgs.
ENTRIES = ("default.nix", "lib/default.nix", "nixos/lib/eval-config.nix")
# The attribute of a NixOps network that stands beside nixpkgs.
PACKAGES = "network.nixpkgs = import ./nixpkgs { };"
# Hosts that each fleet has, with the address of the one that is told in the second place.
HOSTS = {
    "nixops": (["db1", "web1"], "127.0.0.1"),
    "nixops-files": (["db1", "web1"], "192.0.2.1"),
    "morph": (["image1", "web2"], "127.0.0.1"),
    "nixus": (["old1", "web3"], "deploy@127.0.0.1"),
    "colmena": (["db1", "laptop", "web1"], "127.0.0.1"),
    "colmenaHive": (["web1"], "127.0.0.1"),
    "colmena-flake": (["web1"], "192.0.2.1"),
    "nixops-flake": (["web1"], "192.0.2.1"),
    "deploy-rs": (["home1", "mail1", "web2"], "127.0.0.1"),
    "nixos": (["mail1", "web2", "web2-new", "web3"], None),
}


def lay_out(directory: Path, ports: Mapping[str, int] | None = None, nixpkgs: Path | None = None) -> Path:
    """Put the fleet files into ``directory``, with nixpkgs beside them: what stands for it, or a real one."""
    shutil.copytree(FIXTURES / "fleets", directory, dirs_exist_ok=True)
    if nixpkgs is None:
        run([str(FIXTURES / "nixpkgs/materialise"), str(directory / "nixpkgs")])
    else:
        forward(nixpkgs, directory / "nixpkgs")
    known = {"web1": 2201, "web2": 2202, "web3": 2203, "db1": 2204, "web2_http": 8082}
    system = f"{platform.machine()}-linux"
    (directory / "lab.json").write_text(json.dumps({**known, **(ports or {}), "system": system}))
    return directory


def forward(nixpkgs: Path, directory: Path) -> None:
    """Make ``directory`` one from which the files that a fleet imports of nixpkgs import those of a real one.

    With a newer Nix a flake follows no link that leads out of it, and the whole tree would be copied for each test.
    """
    for entry in ENTRIES:
        if (nixpkgs / entry).exists():
            file = directory / entry
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"import {nixpkgs / entry}\n")


def write_network(directory: Path, text: str) -> Path:
    """Make ``text`` the file network.nix of ``directory``, which is returned."""
    (directory / "network.nix").write_text(text)
    return directory


def nix(programs: Path | None = None) -> Nix:
    """Nix as the tests run it: of this machine, or what the directory ``programs`` has."""
    environment = nix_environment()
    if programs is not None:
        environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    return Nix(environment=environment)


def fleet_in(
    directory: Path,
    *words: str,
    format_: str = "auto",
    arguments: str = "{ }",
    access: str = "{ }",
    impure: bool = False,
    by: Nix | None = None,
) -> Fleet:
    """A fleet whose files are in ``directory``. ``impure`` is for flakes that read what lies beside them."""
    flake = not words[0].endswith(".nix") and "." in words[0]
    fleet = fleet_from(
        words,
        directory=str(directory),
        format_=format_,
        arguments=arguments,
        access=access,
        impure=impure and flake,
        write_lock_file=False,
    )
    return fleet.settled(by or nix())


def listing_of(fleet: Fleet, by: Nix | None = None) -> FleetListing:
    """What the fleet's hosts say of themselves."""
    return read_fleet(by or nix(), fleet, timeout=120)


def answers_of(fleet: Fleet, *hosts: str, by: Nix | None = None) -> Answers:
    """The derivations of the hosts' systems, or what is wrong with them."""
    attributes = {host: fleet.attribute(host) for host in hosts}
    return evaluate(by or nix(), attributes, limits=LIMITS, deadline=None)
