# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole systems of a real nixpkgs, which NIXPKGS_TREE names: fleet files evaluate to them, with every Nix.

A checkout of any age will do. What it is too old for is left out, and the reason says what it lacks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fleets import FLEETS, HOSTS, answers_of, fleet_in, lay_out, listing_of, nix
from trees import TREE, with_a_tree

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

# The file and the word in it that tell whether a nixpkgs has what a format needs.
EVAL_CONFIG_ARGUMENT = ("nixos/lib/eval-config.nix", "specialArgs")
NEEDS = {
    # The network of the tests sets this option.
    "nixops": ("nixos/modules/misc/version.nix", "stateVersion"),
    "morph": EVAL_CONFIG_ARGUMENT,
    "colmena": EVAL_CONFIG_ARGUMENT,
    "colmena-flake": EVAL_CONFIG_ARGUMENT,
    "nixus": ("lib/types.nix", "submoduleWith"),
    "nixops-flake": ("flake.nix", "nixosSystem"),
    # What stands for deploy-rs in the tests builds with what stands for nixpkgs.
    "deploy-rs": ("busybox.nix", "run"),
}
# Every host is this one. The address is what only the tools' options are for.
MODULE = """
{ lib, pkgs, ... }: {
  boot.isContainer = true;
  networking.hostName = "web1";
  environment.etc."fleet".text = "the same for all\\n";
}
"""
HOST = '{ imports = [ ./module.nix ]; deployment.targetHost = "192.0.2.1"; }'
SAME = {
    "nixops": f"{{ network.nixpkgs = import ./nixpkgs {{ }}; web1 = {HOST}; }}",
    "morph": f"{{ network.pkgs = import ./nixpkgs {{ }}; web1 = {HOST}; }}",
    "colmena": f"{{ meta.nixpkgs = import ./nixpkgs {{ }}; web1 = {HOST}; }}",
}
# What a tool adds to every system: morph the list of its health checks.
ADDED = {
    "morph": """({ options, pkgs, ... }: { config.system = if options.system ? extraDependencies then {
      extraDependencies = [ (pkgs.writeText "healthcheck-commands.txt" "") ];
    } else { }; })""",
}
# Imported from as deep as in a fleet: old releases sort what they merge by that.
PLAIN = """
(import {tree}/nixos/lib/eval-config.nix {{
  modules = [ {{ imports = [ {{ imports = [ {module} ]; }} ]; }} {added} ];
}}).config.system.build.toplevel.drvPath
"""


def needs(name: str) -> None:
    """Leave the test out when the tree is too old for the fleet ``name``."""
    if TREE is None or name not in NEEDS:
        return
    file, word = NEEDS[name]
    if not (TREE / file).exists() or word not in (TREE / file).read_text():
        release = next(
            (TREE / each for each in (".version", "lib/.version") if (TREE / each).is_file()), None
        )
        version = release.read_text().strip() if release else "of an unknown release"
        pytest.skip(f"this nixpkgs ({version}) has no {word} in {file}, which {name} needs")


@with_a_tree
@pytest.mark.parametrize("name", FLEETS)
def test_every_format_evaluates_with_a_real_nixpkgs(tmp_path: Path, by: Nix, name: str) -> None:
    needs(name)
    names, address = HOSTS[name]
    fleet = fleet_in(lay_out(tmp_path / "fleets", nixpkgs=TREE), *FLEETS[name], impure=True, by=by)
    listing = listing_of(fleet, by=by)
    assert list(listing.hosts) == names
    assert listing.hosts[names[-1]]["target_host"] == address
    answers = answers_of(fleet, *names, by=by)
    for answer in answers.values():
        assert isinstance(answer, Evaluation), answer
        # It is there, and it is a NixOS system.
        assert re.search(r"-nixos-.*\.drv$", answer.drv_path)
    assert len({str(answer) for answer in answers.values()}) == len(names)


@pytest.mark.parametrize("name", SAME)
def test_a_system_is_what_the_stand_in_itself_says(tmp_path: Path, name: str) -> None:
    assert_same(lay_out(tmp_path / "fleets"), name, nix())


@with_a_tree
@pytest.mark.parametrize("name", SAME)
def test_a_real_system_is_what_a_real_nixpkgs_itself_says(tmp_path: Path, by: Nix, name: str) -> None:
    if name != "nixops":
        needs(name)
    assert_same(lay_out(tmp_path / "fleets", nixpkgs=TREE), name, by)


def assert_same(directory: Path, name: str, by: Nix) -> None:
    """The same host as the format ``name`` has it, and as eval-config.nix evaluates its module alone."""
    (directory / "module.nix").write_text(MODULE)
    (directory / "network.nix").write_text(SAME[name])
    answer = answers_of(fleet_in(directory, "network.nix", by=by), "web1", by=by)["web1"]
    assert isinstance(answer, Evaluation), answer
    expression = PLAIN.format(
        tree=directory / "nixpkgs", module=directory / "module.nix", added=ADDED.get(name, "")
    )
    request = ["nix-instantiate", "--eval", "--json", "--read-write-mode", "--expr", expression]
    assert answer.drv_path == json.loads(by.run(request, step="evaluate").stdout)
