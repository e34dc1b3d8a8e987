# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleet files of every tool are read and evaluated by this machine's Nix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fleets import FLEETS, HOSTS, PACKAGES, answers_of, fleet_in, listing_of, write_network
from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal


@pytest.mark.parametrize("name", FLEETS)
def test_every_format_lists_and_evaluates(fleet_files: Path, name: str) -> None:
    names, address = HOSTS[name]
    fleet = fleet_in(fleet_files, *FLEETS[name])
    listing = listing_of(fleet)
    assert list(listing.hosts) == names
    assert not listing.errors
    assert listing.hosts[names[-1]]["target_host"] == address
    answers = answers_of(fleet, names[-1])
    assert isinstance(answers[names[-1]], Evaluation), answers
    # A build that is told what the inventory has found finds the same.
    again = fleet_in(fleet_files, *listing.words, format_=listing.format)
    assert answers_of(again, names[-1]) == answers


def test_what_each_tool_says_of_a_host(fleet_files: Path) -> None:
    """The facts that a deploy goes by; what the tools' own sources say is the standard."""
    nixops = listing_of(fleet_in(fleet_files, "nixops")).hosts["web1"]
    assert (nixops["target_user"], nixops["target_port"], nixops["substitute_on_destination"]) == (
        "root",
        2201,
        False,
    )
    assert nixops["keys"]["app-env"] == {
        "path": "/run/keys/app-env",
        "user": "daemon",
        "group": "root",
        "permissions": "0440",
        "upload_at": "pre-activation",
        "source": "text",
    }

    morph = listing_of(fleet_in(fleet_files, "morph"))
    assert morph.meta["options"] == {"max-jobs": "2"}
    assert morph.meta["ordering"] == ["db", "web"]
    assert morph.hosts["image1"]["left_out"] == "deployment.buildOnly is set"
    assert morph.hosts["web2"]["keys"]["token"]["path"] == "/var/secrets/token"
    command, request = morph.hosts["web2"]["health_checks"]
    assert command["command"] == "grep -q morph /etc/fleet"
    assert (request["own_host"], request["port"], request["path"], request["delay"]) == (
        True,
        8082,
        "/health",
        1,
    )

    nixus = listing_of(fleet_in(fleet_files, "nixus")).hosts
    assert (nixus["web3"]["timeout_confirm"], nixus["web3"]["timeout_activation"]) == (33, 120)
    assert nixus["old1"]["left_out"] == "it is not enabled"

    colmena = listing_of(fleet_in(fleet_files, "colmena")).hosts
    assert colmena["db1"]["build_on_target"]
    assert colmena["db1"]["privilege_escalation_command"] == ["doas"]
    assert colmena["web1"]["tags"] == ["web", "edge-1"]
    assert colmena["web1"]["keys"]["token.key"]["source"] == "command"
    assert colmena["laptop"]["left_out"] == "deployment.targetHost is null"

    node = listing_of(fleet_in(fleet_files, ".#deploy")).hosts["web2"]
    assert node["ssh_options"] == ["-p", "2202"]
    assert (node["escalate_to"], node["timeout_confirm"], node["timeout_activation"]) == ("root", 40, 240)


@pytest.mark.parametrize("name", FLEETS)
def test_access_is_added_to_hosts_of_every_format(fleet_files: Path, name: str) -> None:
    # The last node of deploy-rs has a configuration of another name.
    host = "mail1" if name == "deploy-rs" else HOSTS[name][0][-1]
    key = {"publicKey": "ssh-ed25519 AAAA alice", "hasAccessTo": {host: {"root": True}}}
    access = {"laptop": {"keys": {"alice": key}}, host: {"hostKeys": {"ed25519": "ssh-ed25519 BBBB"}}}
    plain = answers_of(fleet_in(fleet_files, *FLEETS[name]), host)[host]
    changed = answers_of(fleet_in(fleet_files, *FLEETS[name], access=access_literal(access)), host)[host]
    assert isinstance(changed, Evaluation), changed
    assert changed != plain
    # To a host that the fleet does not have.
    key["hasAccessTo"] = {"nobody": {"root": True}}
    access["nobody"] = access[host]
    refused = answers_of(fleet_in(fleet_files, *FLEETS[name], access=access_literal(access)), host)[host]
    assert isinstance(refused, NixferryError)
    assert "'nobody' is not a host of the fleet" in refused.cause


def test_arguments_reach_the_network(fleet_files: Path) -> None:
    hello, moin = (
        answers_of(fleet_in(fleet_files, "nixops", arguments=arguments), "web1")["web1"]
        for arguments in ("{ }", '{ greeting = "moin"; workers = 3; }')
    )
    assert isinstance(hello, Evaluation)
    assert isinstance(moin, Evaluation)
    assert hello != moin


def test_listing_reads_no_secret_and_no_system(network: Path) -> None:
    """Of a hundred hosts, each of which would throw."""
    write_network(
        network,
        f"""
        let host = number: {{ lib, ... }}: {{
          deployment.targetHost = "192.0.2.${{toString number}}";
          deployment.keys.token.text = throw "nobody may read the secret";
          system.build.toplevel = lib.mkForce (throw "nobody may evaluate the system");
        }}; in
        {{ {PACKAGES} }}
        // builtins.listToAttrs
          (builtins.genList (number: {{ name = "web${{toString number}}"; value = host number; }}) 100)
        """,
    )
    fleet = fleet_in(network, "network.nix")
    listing = listing_of(fleet)
    assert len(listing.hosts) == 100
    assert not listing.errors
    assert listing.hosts["web42"]["target_host"] == "192.0.2.42"
    answer = answers_of(fleet, "web42")["web42"]
    assert isinstance(answer, NixferryError)
    assert "nobody may evaluate the system" in answer.cause


def test_contents_of_secrets_are_not_in_the_listing(fleet_files: Path) -> None:
    for words in FLEETS.values():
        assert "contents of a secret" not in json.dumps(listing_of(fleet_in(fleet_files, *words)).data())


def test_hosts_without_a_tool_have_the_options_of_this_collection(network: Path) -> None:
    text = f"""
    let
      modules = ((import {REPOSITORY}/flake.nix).outputs {{ self = null; }}).nixosModules;
      evaluate = module: import ./nixpkgs/nixos/lib/eval-config.nix {{ modules = [ modules.deployment module ]; }};
    in
    {{
      web1 = evaluate {{ deployment.targetHost = "192.0.2.1"; deployment.tags = [ "web" ]; }};
      web2 = evaluate {{ networking.hostName = "web2"; }};
    }}
    """
    fleet = fleet_in(write_network(network, text), "network.nix", format_="nixos")
    hosts = listing_of(fleet).hosts
    assert (hosts["web1"]["target_host"], hosts["web1"]["tags"]) == ("192.0.2.1", ["web"])
    assert hosts["web2"]["target_host"] == "web2"
    assert isinstance(answers_of(fleet, "web1")["web1"], Evaluation)


def test_nix_users_read_fleets_as_well(fleet_files: Path) -> None:
    """What the flake of this collection exports is what the collection itself sends to Nix."""

    def value(file: str, attribute: str) -> Any:
        library = f"((import {REPOSITORY}/flake.nix).outputs {{ self = null; }}).lib"
        expression = f"({library}.fleet {{ files = [ {fleet_files}/{file} ]; }}).{attribute}"
        argv = ["nix-instantiate", "--eval", "--json", "--strict", "--expr", expression]
        return json.loads(run(argv, environment=nix_environment()).stdout)

    assert (
        value("morph/network.nix", "list null")["hosts"] == listing_of(fleet_in(fleet_files, "morph")).hosts
    )
    # Where the contents of secrets are is known to who asks for just that.
    assert value("morph/network.nix", "hosts.web2.secrets.token")["file"] == "../secrets/token"
    assert value("nixops/network.nix", "hosts.web1.secrets.app-env")["text"] == "contents of a secret"
    assert value("colmena/hive.nix", 'hosts.web1.secrets."token.key"')["command"] == [
        "cat",
        "../secrets/token",
    ]


def test_a_flake_without_hosts(tmp_path: Path) -> None:
    (tmp_path / "flake.nix").write_text("{ outputs = { self }: { packages = { }; lib = throw 3; }; }")
    with pytest.raises(NixferryError, match="no output that describes hosts; it has lib, packages"):
        fleet_in(tmp_path, ".")
