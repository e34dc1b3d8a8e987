# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleet files of every tool are read and evaluated by this machine's Nix, and wrong ones are explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fleets import FLEETS, HOSTS, answers_of, fleet_in, lay_out, listing_of
from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._fleet_access import access_literal

PACKAGES = "network.nixpkgs = import ./nixpkgs { };"


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("fleets"))


@pytest.fixture
def network(fleets: Path, tmp_path: Path) -> Path:
    """A directory in which a file may be written that finds nixpkgs beside it."""
    (tmp_path / "nixpkgs").symlink_to(fleets / "nixpkgs")
    (tmp_path / "nixus").symlink_to(fleets / "nixus/nixus")
    return tmp_path


def write(directory: Path, text: str) -> Path:
    (directory / "network.nix").write_text(text)
    return directory


@pytest.mark.parametrize("name", FLEETS)
def test_every_format_lists_and_evaluates(fleets: Path, name: str) -> None:
    names, address = HOSTS[name]
    fleet = fleet_in(fleets, *FLEETS[name])
    listing = listing_of(fleet)
    assert list(listing.hosts) == names
    assert not listing.errors
    assert listing.hosts[names[-1]]["target_host"] == address
    answers = answers_of(fleet, names[-1])
    assert isinstance(answers[names[-1]], Evaluation), answers
    # A build that is told what the inventory has found finds the same.
    again = fleet_in(fleets, *listing.words, format_=listing.format)
    assert answers_of(again, names[-1]) == answers


def test_what_each_tool_says_of_a_host(fleets: Path) -> None:
    """The facts that a deploy goes by; what the tools' own sources say is the standard."""
    nixops = listing_of(fleet_in(fleets, "nixops")).hosts["web1"]
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

    morph = listing_of(fleet_in(fleets, "morph"))
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

    nixus = listing_of(fleet_in(fleets, "nixus")).hosts
    assert (nixus["web3"]["timeout_confirm"], nixus["web3"]["timeout_activation"]) == (33, 120)
    assert nixus["old1"]["left_out"] == "it is not enabled"

    colmena = listing_of(fleet_in(fleets, "colmena")).hosts
    assert colmena["db1"]["build_on_target"]
    assert colmena["db1"]["privilege_escalation_command"] == ["doas"]
    assert colmena["web1"]["tags"] == ["web", "edge-1"]
    assert colmena["web1"]["keys"]["token.key"]["source"] == "command"
    assert colmena["laptop"]["left_out"] == "deployment.targetHost is null"

    node = listing_of(fleet_in(fleets, ".#deploy")).hosts["web2"]
    assert node["ssh_options"] == ["-p", "2202"]
    assert (node["escalate_to"], node["timeout_confirm"], node["timeout_activation"]) == ("root", 40, 240)


@pytest.mark.parametrize("name", FLEETS)
def test_access_is_added_to_hosts_of_every_format(fleets: Path, name: str) -> None:
    host = HOSTS[name][0][-1]
    key = {"publicKey": "ssh-ed25519 AAAA alice", "hasAccessTo": {host: {"root": True}}}
    access = {"laptop": {"keys": {"alice": key}}, host: {"hostKeys": {"ed25519": "ssh-ed25519 BBBB"}}}
    plain = answers_of(fleet_in(fleets, *FLEETS[name]), host)[host]
    changed = answers_of(fleet_in(fleets, *FLEETS[name], access=access_literal(access)), host)[host]
    assert isinstance(changed, Evaluation), changed
    assert changed != plain
    # To a host that the fleet does not have.
    key["hasAccessTo"] = {"nobody": {"root": True}}
    access["nobody"] = access[host]
    refused = answers_of(fleet_in(fleets, *FLEETS[name], access=access_literal(access)), host)[host]
    assert isinstance(refused, NixferryError)
    assert "no host 'nobody' in the fleet" in refused.message


def test_arguments_reach_the_network(fleets: Path) -> None:
    hello, moin = (
        answers_of(fleet_in(fleets, "nixops", arguments=arguments), "web1")["web1"]
        for arguments in ("{ }", '{ greeting = "moin"; workers = 3; }')
    )
    assert isinstance(hello, Evaluation)
    assert isinstance(moin, Evaluation)
    assert hello != moin


def test_listing_reads_no_secret_and_no_system(network: Path) -> None:
    """Of a hundred hosts, each of which would throw."""
    write(
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
    assert "nobody may evaluate the system" in answer.message


def test_contents_of_secrets_are_not_in_the_listing(fleets: Path) -> None:
    for words in FLEETS.values():
        assert "contents of a secret" not in json.dumps(listing_of(fleet_in(fleets, *words)).data())


# What is wrong with a file as a whole.
BROKEN = {
    "syntax": (f'{{\n  {PACKAGES}\n  web1 = {{ deployment.targetHost = "a" }};\n}}', r"network\.nix:3:40"),
    "no-packages": (
        "{ network.nixpkgs = import <no-such-nixpkgs> { };\n web1 = { }; }",
        r"no-such-nixpkgs.*network\.nix:1:28",
    ),
    "default-packages": ("{ network.description = ''''; web1 = { }; }", r"'nixpkgs' was not found"),
    "twice": (
        f"{{\n {PACKAGES}\n web1 = {{ ... }}: {{ }};\n web1 = {{ ... }}: {{ }};\n}}",
        r"'web1' already defined at .*network\.nix:3:2.*network\.nix:4:2",
    ),
    "key-pairs": (
        f"{{ {PACKAGES} resources.sshKeyPairs.pair = {{ }}; web1 = {{ }}; }}",
        r"resources\.sshKeyPairs \(pair\) in .*network\.nix: NixOps creates resources",
    ),
    "number": ("3", r"network\.nix is a int, but a fleet file is a set"),
    "empty": ("{ }", "the fleet file is an empty set"),
    "deploy-rs": ('{ deploy.nodes.web1.hostname = "web1"; }', "name the flake that has both"),
    "packages": (
        "{ network.nixpkgs = { }; web1 = { }; }",
        "network.nixpkgs should be a package set or a path",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_explained(network: Path, name: str) -> None:
    text, expected = BROKEN[name]
    with pytest.raises(NixferryError, match=f"(?s){expected}") as raised:
        listing_of(fleet_in(write(network, text), "network.nix"))
    assert raised.value.remedy


# What is wrong with one host: its module, and what is said of it. The second host is always well.
WRONG_HOSTS = {
    "type": ('{ deployment.targetPort = "22"; }', r"`deployment\.targetPort'(?s:.)*In `.*network\.nix'"),
    "unknown": (
        '{ deployment.targetHots = "x"; }',
        r"`deployment\.targetHots' does not exist(?s:.)*network\.nix",
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
    fleet = fleet_in(write(network, f"{{ {PACKAGES}\n web1 = {module};\n web2 = {{ }}; }}"), "network.nix")
    listing = listing_of(fleet)
    assert list(listing.hosts) == ["web2"]
    assert list(listing.errors) == ["web1"]
    answers = answers_of(fleet, "web1", "web2")
    assert isinstance(answers["web2"], Evaluation)
    # The reason to be no part of the listing is a reason not to be deployed.
    for error in (listing.errors["web1"], answers["web1"]):
        assert isinstance(error, NixferryError)
        assert re.search(expected, error.message), error.message


def test_a_host_of_nixus_without_an_address(network: Path) -> None:
    text = """
    import ./nixus { nixpkgs = ./nixpkgs; } {
      defaults.nixpkgs = ./nixpkgs;
      nodes.web1.configuration = { };
      nodes.web2.host = "root@web2";
    }
    """
    listing = listing_of(fleet_in(write(network, text), "network.nix"))
    assert list(listing.hosts) == ["web2"]
    assert "`nodes.web1.host'" in listing.errors["web1"].message


def test_a_system_that_is_wrong_is_listed_all_the_same(network: Path) -> None:
    text = f"{{ {PACKAGES}\n web1.networking.hostName = 3;\n web2 = {{ }}; }}"
    fleet = fleet_in(write(network, text), "network.nix")
    assert list(listing_of(fleet).hosts) == ["web1", "web2"]
    answers: dict[str, Any] = answers_of(fleet, "web1", "web2")
    assert "`networking.hostName' is not of type" in answers["web1"].message
    assert isinstance(answers["web2"], Evaluation)


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
    fleet = fleet_in(write(network, text), "network.nix", format_="nixos")
    hosts = listing_of(fleet).hosts
    assert (hosts["web1"]["target_host"], hosts["web1"]["tags"]) == ("192.0.2.1", ["web"])
    assert hosts["web2"]["target_host"] == "web2"
    assert isinstance(answers_of(fleet, "web1")["web1"], Evaluation)


def test_nix_users_read_fleets_as_well(fleets: Path) -> None:
    """What the flake of this collection exports is what the collection itself sends to Nix."""

    def value(file: str, attribute: str) -> Any:
        library = f"((import {REPOSITORY}/flake.nix).outputs {{ self = null; }}).lib"
        expression = f"({library}.fleet {{ files = [ {fleets}/{file} ]; }}).{attribute}"
        argv = ["nix-instantiate", "--eval", "--json", "--strict", "--expr", expression]
        return json.loads(run(argv, environment=nix_environment()).stdout)

    assert value("morph/network.nix", "list null")["hosts"] == listing_of(fleet_in(fleets, "morph")).hosts
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
