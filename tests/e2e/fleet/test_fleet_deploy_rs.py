# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes of deploy-rs are deployed with the system that their profile activates, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleets import LIMITS, answers_of, fleet_in, listing_of, nix

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import flake_attribute
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation, evaluate
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.profile import other_systems
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.variables import host_variables

# A flake with what `DEPLOY` and `SYSTEMS` are; `lib` stands for that of deploy-rs.
FLAKE = """
{
  outputs = { self }:
    let
      pkgs = import ./nixpkgs { };
      lib = import ./deploy-rs { inherit pkgs; structured = STRUCTURED; };
      evaluate = module: import ./nixpkgs/nixos/lib/eval-config.nix { modules = [ module ]; };
      called = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; };
      hello = called "hello-2.12";
      other = derivation { name = "hello-2.12"; system = "x86_64-linux"; builder = "/bin/another"; };
      twice = derivation { name = "activatable-hello-2.12"; system = "x"; builder = "x"; paths = [ hello other ]; };
    in
    { nixosConfigurations = { SYSTEMS }; deploy = { DEPLOY }; };
}
"""
SYSTEMS = """
  old = evaluate { networking.hostName = "host"; environment.etc."fleet".text = "old"; };
  new = evaluate { networking.hostName = "host"; environment.etc."fleet".text = "new"; };
"""


@pytest.fixture
def flake(fleet_files: Path, network: Path) -> Path:
    """A directory for a flake that finds nixpkgs and deploy-rs beside it."""
    (network / "deploy-rs").symlink_to(fleet_files / "deploy-rs")
    return network


def write_flake(directory: Path, deploy: str, systems: str = SYSTEMS, *, structured: bool = False) -> Path:
    text = FLAKE.replace("SYSTEMS", systems).replace("DEPLOY", deploy)
    (directory / "flake.nix").write_text(text.replace("STRUCTURED", str(structured).lower()))
    return directory


def configuration(directory: Path, name: str) -> object:
    """The derivation of a configuration of the flake, as a build of it alone finds it."""
    attribute = flake_attribute(
        f"{directory}#nixosConfigurations.{name}", "", kind=KINDS["nixos"], impure=True
    )
    return evaluate(nix(), {name: attribute}, limits=LIMITS, deadline=None)[name]


@pytest.mark.parametrize("structured", [False, True], ids=["text", "structured attributes"])
@pytest.mark.parametrize("wanted", ["old", "new"])
def test_the_system_that_the_profile_activates_is_built(flake: Path, wanted: str, structured: bool) -> None:
    """The node is called as another configuration, or as none; both systems have one name."""
    profile = f"profiles.system.path = lib.activate.nixos self.nixosConfigurations.{wanted};"
    deploy = f'nodes.old = {{ hostname = "a"; {profile} }}; nodes.db = {{ hostname = "b"; {profile} }};'
    fleet = fleet_in(write_flake(flake, deploy, structured=structured), ".#deploy", impure=True)
    answers = answers_of(fleet, "old", "db")
    expected = configuration(flake, wanted)
    assert isinstance(expected, Evaluation), expected
    assert answers == {"old": expected, "db": expected}
    assert configuration(flake, "old") != configuration(flake, "new")


@pytest.mark.parametrize(
    "activate",
    [
        "lib.activate.noop self.nixosConfigurations.new.config.system.build.toplevel",
        "lib.activate.custom self.nixosConfigurations.new.config.system.build.toplevel ''$PROFILE/x''",
        "lib.setActivate self.nixosConfigurations.new.config.system.build.toplevel ''./x''",
        "(lib.activate.nixos self.nixosConfigurations.new) // { meta = { }; }",
    ],
)
def test_every_function_that_wraps_a_system_is_understood(flake: Path, activate: str) -> None:
    write_flake(flake, f'nodes.web = {{ hostname = "a"; profiles.system.path = {activate}; }};')
    fleet = fleet_in(flake, ".#deploy", impure=True)
    assert answers_of(fleet, "web")["web"] == configuration(flake, "new")


REFUSED = {
    '"/nix/store/x"': "deploy.nodes.web.profiles.system.path is a string",
    "self.nixosConfigurations.new": "is a set that is not a derivation",
    "self.nixosConfigurations.new.config.system.build.toplevel": "which deploy-rs' lib.activate has not made",
    'called "activatable-nothing"': "is made of nothing called nothing",
    "twice": "more than one thing called",
    'lib.activate.darwin { config.system.build.toplevel = called "darwin-system-25.05"; }': "which is a Mac",
    'lib.activate.home-manager { activationPackage = called "home-manager-generation"; }': "which is a home",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_does_not_tell_which_system_it_is_is_refused(flake: Path, path: str) -> None:
    write_flake(flake, f'nodes.web = {{ hostname = "a"; profiles.system.path = {path}; }};')
    fleet = fleet_in(flake, ".#deploy", impure=True)
    assert not listing_of(fleet).errors
    refused = answers_of(fleet, "web")["web"]
    assert isinstance(refused, NixferryError)
    assert "deploy.nodes.web.profiles.system" in refused.cause
    assert REFUSED[path] in refused.cause


def test_a_file_of_deploy_rs_is_built_as_well(flake: Path) -> None:
    (flake / "deploy.nix").write_text(
        f"""
        let
          lib = import ./deploy-rs {{ pkgs = import ./nixpkgs {{ }}; }};
          evaluate = module: import ./nixpkgs/nixos/lib/eval-config.nix {{ modules = [ module ]; }};
          systems = {{ {SYSTEMS} }};
        in
        {{ deploy.nodes.old = {{ hostname = "a"; profiles.system.path = lib.activate.nixos systems.new; }}; }}
        """
    )
    fleet = fleet_in(flake, "deploy.nix")
    assert listing_of(fleet).format == "deploy-rs"
    answer = answers_of(fleet, "old")["old"]
    assert isinstance(answer, Evaluation), answer
    write_flake(flake, "nodes = { };")
    assert answer == configuration(flake, "new")
    access = access_literal({"old": {"hostKeys": {"ed25519": "ssh-ed25519 AAAA"}}})
    refused = answers_of(fleet_in(flake, "deploy.nix", access=access), "old")["old"]
    assert isinstance(refused, NixferryError)
    assert "access between hosts cannot be added" in refused.cause


def test_access_is_added_only_where_the_profile_activates_the_configuration_of_that_name(
    fleet_files: Path,
) -> None:
    access = access_literal({"mail1": {"hostKeys": {"ed25519": "ssh-ed25519 AAAA"}}})
    fleet = fleet_in(fleet_files, ".#deploy", access=access)
    errors = other_systems(nix(), dict.fromkeys(("mail1", "web2"), fleet), limits=LIMITS, deadline=None)
    assert list(errors) == ["web2"]
    profile = answers_of(fleet_in(fleet_files, ".#deploy"), "web2")["web2"]
    named = answers_of(fleet_in(fleet_files, ".#nixosConfigurations"), "web2")["web2"]
    assert isinstance(profile, Evaluation)
    assert isinstance(named, Evaluation)
    assert profile.drv_path in errors["web2"].cause
    assert named.drv_path in errors["web2"].cause


# The nodes of the examples that come with deploy-rs, by what they use.
EXAMPLES = """
  fastConnection = true;
  nodes.simple = {
    hostname = "localhost";
    profiles.hello = { user = "balsoft"; path = lib.setActivate (throw "looked at") "./bin/hello"; };
  };
  nodes.system = {
    sshOpts = [ "-p" "2221" ];
    hostname = "localhost";
    interactiveSudo = true;
    profilesOrder = [ "hello" "system" ];
    profiles = {
      another = { user = "root"; profilePath = "/nix/var/nix/profiles/another"; path = throw "looked at"; };
      hello = { sshUser = "hello"; user = "hello"; path = throw "looked at"; };
      system = {
        sshUser = "admin"; user = "root"; confirmTimeout = 7; autoRollback = false; magicRollback = false;
        path = lib.activate.nixos self.nixosConfigurations.new;
      };
    };
  };
  nodes.mac = {
    hostname = "localhost";
    profiles.system.path = lib.activate.darwin { config.system.build.toplevel = called "darwin-system-25"; };
  };
"""


def test_the_examples_of_deploy_rs_are_read(flake: Path) -> None:
    fleet = fleet_in(write_flake(flake, EXAMPLES), ".#deploy", impure=True)
    listing = listing_of(fleet)
    assert not listing.errors
    system = host_variables(listing, "system", {})
    assert system.groups == ("nixos",)
    assert system.variables["ansible_user"] == "admin"
    assert system.variables["ansible_become"] is True
    assert (system.variables["nixos_timeout_confirm"], system.variables["nixos_rollback"]) == (7, False)
    assert system.variables["fleet_profiles"] == [
        {
            "name": "hello",
            "user": "hello",
            "login_user": "hello",
            "profile_path": "/nix/var/nix/profiles/per-user/hello/hello",
            "flake": f"{flake}#deploy.nodes.system.profiles.hello.path",
            "override_inputs": {},
            "impure": False,
        },
        {
            "name": "another",
            "user": "root",
            "login_user": None,
            "profile_path": "/nix/var/nix/profiles/another",
            "flake": f"{flake}#deploy.nodes.system.profiles.another.path",
            "override_inputs": {},
            "impure": False,
        },
    ]
    simple = host_variables(listing, "simple", {})
    assert simple.groups == ("profile",)
    assert [profile["name"] for profile in simple.variables["fleet_profiles"]] == ["hello"]
    assert "nixos_fleet" not in simple.variables
    answers = answers_of(fleet, "system", "mac", "simple")
    assert answers["system"] == configuration(flake, "new")
    assert "which is a Mac: it is deployed from the output darwinConfigurations" in str(answers["mac"])
    assert "no profile `system`, but hello" in str(answers["simple"])
