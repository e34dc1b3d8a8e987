# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a fleet file, or with one of its hosts, is told with its place; the other hosts are well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fleets import PACKAGES, answers_of, fleet_in, listing_of, write_network
from lab import REPOSITORY

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import Fleet

# What is wrong with a file as a whole.
BROKEN = {
    "syntax": (f'{{\n  {PACKAGES}\n  web1 = {{ deployment.targetHost = "a" }};\n}}', r"network\.nix:3:40"),
    "no-packages": (
        "{ network.nixpkgs = import <no-such-nixpkgs> { };\n web1 = { }; }",
        r"no-such-nixpkgs.*network\.nix:1:28",
    ),
    "default-packages": (
        "{ network.description = ''''; web1 = { }; }",
        r"'nixpkgs' was not found.*network\.nix:1$",
    ),
    "default-packages-of-morph": (
        "{ web1 = { };\n network.ordering.tags = [ ]; }",
        r"'nixpkgs' was not found.*`network` has no `pkgs` at \S*network\.nix:2$",
    ),
    "default-packages-of-colmena": (
        '{ meta.description = "x"; web1 = { }; }',
        r"'nixpkgs' was not found.*`meta` has no `nixpkgs` at \S*network\.nix:1$",
    ),
    "no-network": (
        "{ web1 = { }; }",
        r"'nixpkgs' was not found.*no network\.nixpkgs in \S*network\.nix, .* a file of nixops.*`format`",
    ),
    "twice": (
        f"{{\n {PACKAGES}\n web1 = {{ ... }}: {{ }};\n web1 = {{ ... }}: {{ }};\n}}",
        r"'web1' already defined at .*network\.nix:3:2.*network\.nix:4:2",
    ),
    "key-pairs": (
        f"{{ {PACKAGES} resources.sshKeyPairs.pair = {{ }}; web1 = {{ }}; }}",
        r"resources\.sshKeyPairs \(pair\) in .*network\.nix: NixOps creates resources",
    ),
    "number": ("3", r"network\.nix is a number, but a fleet is an attribute set of hosts"),
    "empty": ("{ }", "the fleet file is an empty set"),
    "network": (
        "{\n network = 3; web1 = { }; }",
        r"`network` at .*network\.nix:2 is a number, but in the format nixops it is an attribute set",
    ),
    "meta": (
        "{\n meta = [ ]; web1 = { }; }",
        r"`meta` at .*network\.nix:2 is a list, but in the format colmena it is an attribute set",
    ),
    "resources": (
        f"{{ {PACKAGES} resources = 3; web1 = {{ }}; }}",
        r"`resources` at .* is a number, but in the format nixops it is an attribute set",
    ),
    "packages": (
        "{ network.nixpkgs = { }; web1 = { }; }",
        "network.nixpkgs should be a package set or a path",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_explained(network: Path, name: str) -> None:
    text, expected = BROKEN[name]
    with pytest.raises(NixferryError, match=f"(?s){expected}") as raised:
        listing_of(fleet_in(write_network(network, text), "network.nix"))
    assert raised.value.remedy


# What is wrong with one host: its module, and what is said of it. The second host is always well.
WRONG_HOSTS = {
    "type": ('{ deployment.targetPort = "22"; }', r"`deployment\.targetPort'(?s:.)*In `.*network\.nix'"),
    "unknown": (
        '{ deployment.targetHots = "x"; }',
        r"`deployment\.targetHots' does not exist(?s:.)*In `.*network\.nix'",
    ),
    "cloud": (
        '{ deployment.targetEnv = "ec2"; deployment.ec2.region = "eu-west-1"; }',
        r"host 'web1': deployment\.targetEnv is \"ec2\"",
    ),
    "import": ("{ imports = [ ./none.nix ]; }", r"none\.nix"),
    "recursion": (
        "{ config, ... }: {\n deployment.targetHost = config.deployment.targetHost; }",
        r"infinite recursion(?s:.)*network\.nix:3:\d+",
    ),
}


@pytest.mark.parametrize("name", WRONG_HOSTS)
def test_a_wrong_host_is_named_and_leaves_the_others_alone(network: Path, name: str) -> None:
    module, expected = WRONG_HOSTS[name]
    fleet = fleet_in(
        write_network(network, f"{{ {PACKAGES}\n web1 = {module};\n web2 = {{ }}; }}"), "network.nix"
    )
    listing = listing_of(fleet)
    assert list(listing.hosts) == ["web2"]
    assert list(listing.errors) == ["web1"]
    answers = answers_of(fleet, "web1", "web2")
    assert isinstance(answers["web2"], Evaluation)
    # The reason to be no part of the listing is a reason not to be deployed.
    for error in (listing.errors["web1"], answers["web1"]):
        assert isinstance(error, NixferryError)
        assert re.search(expected, error.cause), error.cause


# What is wrong with the one host of a file, and what is said of it.
NO_HOSTS = {
    "defaults": (
        f"{{ {PACKAGES} defaults = 3; web1 = {{ }}; }}",
        "`defaults` is a number, but in the format nixops it is a NixOS module",
    ),
    "nixus": (
        "{ config.nodes.web1 = 3; options = { }; }",
        "host 'web1' is a number, but in the format nixus it is a node of nixus",
    ),
    "profiles": (
        '{ deploy.nodes.web1 = { hostname = "a"; profiles = 3; }; }',
        r"`deploy\.nodes\.web1\.profiles` is a number, but in the format deploy-rs it is an attribute set",
    ),
    "profile": (
        '{ deploy.nodes.web1 = { hostname = "a"; profiles.system = [ ]; }; }',
        "profile 'system' is a list, but in the format deploy-rs it is a set with `path`",
    ),
}


@pytest.mark.parametrize("name", NO_HOSTS)
def test_what_is_not_a_host_is_told_in_words(network: Path, name: str) -> None:
    text, expected = NO_HOSTS[name]
    listing = listing_of(fleet_in(write_network(network, text), "network.nix"))
    assert list(listing.errors) == ["web1"]
    assert re.search(expected, listing.errors["web1"].cause), listing.errors["web1"].cause


# A fleet file of each format whose hosts have a module.
OF_EACH_FORMAT = {
    "nixops": f"{{ {PACKAGES} web1 = MODULE; web2 = {{ }}; }}",
    "morph": "{ network.pkgs = import ./nixpkgs { }; web1 = MODULE; web2 = { }; }",
    "colmena": "{ meta.nixpkgs = import ./nixpkgs { }; web1 = MODULE; web2 = { }; }",
    "nixos": f"""
        let
          flake = (import {REPOSITORY}/flake.nix).outputs {{ self = {{ }}; }};
          host = module: import ./nixpkgs/nixos/lib/eval-config.nix {{
            modules = [ flake.nixosModules.deployment module ];
          }};
        in
        {{ web1 = host MODULE; web2 = host {{ networking.hostName = "web2"; }}; }}""",
}


@pytest.mark.parametrize("format_", OF_EACH_FORMAT)
def test_a_list_is_made_of_what_hosts_say_about_their_deployment(network: Path, format_: str) -> None:
    """All else is left to the evaluation of the system: that costs several times as much."""

    def fleet_with(module: str) -> Fleet:
        named = f'{{ imports = [ {module} ]; networking.hostName = "web1"; }}'
        text = OF_EACH_FORMAT[format_].replace("MODULE", named)
        return fleet_in(write_network(network, text), "network.nix", format_=format_)

    for wrong, reason in (
        ("services.nosuch.enable = true;", "services.nosuch' does not exist"),
        ("environment.etc.file.text = throw ''no such luck'';", "no such luck"),
    ):
        fleet = fleet_with(f'{{ deployment.targetHost = "a"; {wrong} }}')
        listing = listing_of(fleet)
        assert listing.errors == {}
        assert listing.hosts["web1"]["target_host"] == "a"
        answers = answers_of(fleet, "web1", "web2")
        assert isinstance(answers["web2"], Evaluation)
        assert isinstance(answers["web1"], NixferryError)
        assert reason in answers["web1"].cause

    misspelt = listing_of(fleet_with('{ deployment.targetHots = "a"; }'))
    assert list(misspelt.hosts) == ["web2"]
    assert "deployment.targetHots' does not exist" in misspelt.errors["web1"].cause
    # What hosts say may depend on their systems.
    text = '({ config, ... }: { deployment.targetHost = "${config.networking.hostName}.example.org"; })'
    assert listing_of(fleet_with(text)).hosts["web1"]["target_host"] == "web1.example.org"


def test_a_host_is_told_with_its_place_where_the_mistake_has_none(network: Path) -> None:
    text = f"{{ {PACKAGES}\n web2 = {{ }};\n web1 = import ./host.nix; }}"
    (network / "host.nix").write_text('{ deployment.targetEnv = "ec2"; }')
    message = listing_of(fleet_in(write_network(network, text), "network.nix")).errors["web1"].cause
    assert message.endswith(f"\nweb1 is defined at {network}/network.nix:3")
    # The module system names the file alone, so the place of the host is told as well.
    (network / "host.nix").write_text('{ deployment.targetPort = "22"; }')
    errors = listing_of(fleet_in(write_network(network, text), "network.nix")).errors
    assert f"In `{network}/network.nix': " in errors["web1"].cause
    assert errors["web1"].cause.endswith(f"\nweb1 is defined at {network}/network.nix:3")


def test_a_host_of_nixus_with_a_wrong_address(network: Path) -> None:
    text = """
    import ./nixus { nixpkgs = ./nixpkgs; } {
      defaults.nixpkgs = ./nixpkgs;
      nodes.web1.host = 3;
      nodes.web2.host = "root@web2";
    }
    """
    listing = listing_of(fleet_in(write_network(network, text), "network.nix"))
    assert list(listing.hosts) == ["web2"]
    message = listing.errors["web1"].cause
    assert "`nodes.web1.host'" in message
    assert message.endswith(f"web1 is defined at {network}/network.nix:4")


def test_a_system_that_is_wrong_is_listed_all_the_same(network: Path) -> None:
    text = f"{{ {PACKAGES}\n web1.networking.hostName = 3;\n web2 = {{ }}; }}"
    fleet = fleet_in(write_network(network, text), "network.nix")
    assert list(listing_of(fleet).hosts) == ["web1", "web2"]
    answers: dict[str, Any] = answers_of(fleet, "web1", "web2")
    assert "`networking.hostName' is not of type" in answers["web1"].cause
    assert isinstance(answers["web2"], Evaluation)
