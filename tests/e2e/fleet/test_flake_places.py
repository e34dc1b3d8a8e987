# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A flake may lie in a directory with any name that Nix reads, and its files are told as they are called in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleets import fleet_in, listing_of, nix
from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

FLAKE = """
{
  outputs = { self }: {
    deploy.nodes = import ./nodes.nix self;
  };
}
"""
NODES = """
self:
let toplevel = derivation { name = "nixos-system"; system = "x86_64-linux"; builder = "/bin/sh"; }; in
{
  web1 = {
    hostname = builtins.trace "evaluation warning: replace what ${self}/nodes.nix:3 says" "192.0.2.1";
    profiles.system.path = derivation {
      name = "activatable-nixos-system"; system = "x86_64-linux"; builder = "/bin/sh"; inherit toplevel;
    };
  };
  web2 = { hostname = "192.0.2.2"; profiles.system.path = throw "no such luck"; };
}
"""
CHECK_DEADLINE = 300  # seconds


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    """A flake in a directory whose name Nix 2.8 reads in a URL only."""
    directory = tmp_path / "ann@example:1"
    directory.mkdir()
    (directory / "flake.nix").write_text(FLAKE)
    (directory / "nodes.nix").write_text(NODES)
    return directory


@pytest.mark.parametrize("tracked", [False, True], ids=["directory", "repository"])
def test_a_flake_in_a_directory_with_an_at_sign(flake: Path, tracked: bool) -> None:
    if tracked:
        run(["git", "-C", str(flake), "init", "--quiet"])
        run(["git", "-C", str(flake), "add", "."])
        # Nix copies what is tracked, as it does with a path: it cannot copy a pipe.
        os.mkfifo(flake / "pipe")
    for words in (".#deploy", str(flake)):
        hosts = listing_of(fleet_in(flake, words)).hosts
        assert [host["target_host"] for host in hosts.values()] == ["192.0.2.1", "192.0.2.2"]


def test_a_directory_that_this_nix_may_not_read(tmp_path: Path) -> None:
    directory = tmp_path / "my fleet"
    directory.mkdir()
    (directory / "flake.nix").write_text("{ outputs = { self }: { deploy.nodes = { }; }; }")
    if nix().version() >= (2, 26):
        assert listing_of(fleet_in(directory, ".#deploy")).hosts == {}
        return
    with pytest.raises(NixferryError, match="is not a valid URL") as raised:
        listing_of(fleet_in(directory, ".#deploy"))
    assert "rename the directory" in raised.value.remedy


def test_places_are_those_of_the_flake(flake: Path, tmp_path: Path) -> None:
    """What check_fleet shows leads to the file that the user has, not to the copy that Nix evaluates."""
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [
            program,
            REPOSITORY / "playbooks/check_fleet.yml",
            "--extra-vars",
            json.dumps({"fleet": str(flake)}),
        ],
        cwd=tmp_path,
        env={**os.environ, **nix_environment(), "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=CHECK_DEADLINE,
        check=False,
    )
    assert "works  web1: 192.0.2.1, read as deploy-rs at nodes.nix:5;" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "evaluation warning: replace what nodes.nix:3 says" in done.stderr
    assert "no such luck" in done.stdout
    assert "-source/" not in done.stdout.partition('"output":')[0]
