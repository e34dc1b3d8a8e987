# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tool of a file is recognised by what the tools really return; what is not a fleet is told in words."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fleets import PACKAGES, answers_of, fleet_in, listing_of, nix, write_network
from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.adapter import (
    adapter_options,
    adapter_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import read_fleet

# What evaluates a value of these is told by its name.
NAMES = """
let
  never = what: throw "${what} was looked at";
  host = never "a host";
  made = derivation { name = "deploy"; system = "x86_64-linux"; builder = never "a builder"; };
  # As mkDerivation of nixpkgs returns it.
  script = made // {
    meta = never "meta"; passthru = { }; stdenv = never "stdenv"; inputDerivation = never "inputs";
    overrideAttrs = _: made;
  };
  nodes = { nodes = { web1 = host; web2 = host; }; defaults = never "defaults"; deployScript = script; };
  # lib.evalModules of 2026, and of the nixpkgs that nixus names.
  evaluation = config: {
    inherit config;
    _type = "configuration"; type = { _type = "option-type"; }; class = null; graph = never "the graph"; _module = { };
    extendModules = never "extendModules"; options = { };
  };
  old = config: { inherit config; options = { }; _module = { }; };
in
"""
# What each tool returns or reads, with the hosts left as they are.
FLEETS = {
    "nixus": ("nixus", "script // evaluation nodes // { web1 = script; web2 = script; }"),
    "nixus, as it is pinned": ("nixus", "script // old nodes // { web1 = script; web2 = script; }"),
    "nixus, without meta": ("nixus", "made // old nodes // { web1 = script; }"),
    "nixus, a node called meta": ("nixus", "script // old nodes // { meta = script; }"),
    "nixus, a node called network": ("nixus", "script // old nodes // { network = script; }"),
    "nixus, its configuration alone": ("nixus", "{ inherit (old nodes) config; }"),
    "nixus, a function": ("nixus", "{ deploySystem ? null }: script // old nodes"),
    "a hive that makeHive has evaluated": (
        "colmena",
        """{
          __schema = "v0.5"; nodes = host; toplevel = host; deploymentConfig = host; metaConfig = host;
          introspect = host;
          deploymentConfigSelected = host; evalSelected = host; evalSelectedDrvPaths = host;
        }""",
    ),
    "colmena": ("colmena", "{ meta = never ''meta''; defaults = host; web1 = host; }"),
    "colmena, a function": ("colmena", "{ ... }: { meta = { }; web1 = host; }"),
    "colmena, with __functor": ("colmena", "{ __functor = self: { }: { meta = { }; web1 = host; }; }"),
    "colmena, with network": ("colmena", "{ network.nodeNixpkgs = host; web1 = host; }"),
    "colmena, a host called config": ("colmena", "{ meta = { }; config = host; deploy = host; }"),
    "morph": ("morph", "{ network = { pkgs = host; description = host; }; web1 = host; }"),
    "morph, by its lib": ("morph", "{ network.lib = host; web1 = host; }"),
    "morph, by its order": ("morph", "{ network.ordering.tags = host; web1 = host; }"),
    "morph, by its own evaluation": ("morph", "{ network = { evalConfig = host; specialArgs = host; }; }"),
    "morph, by what a host uses": (
        "morph",
        "{ network.description = host; db1 = host; web1 = { pkgs, ... }: { deployment.healthChecks = host; }; }",
    ),
    "morph, by a host that is a set": (
        "morph",
        "{ web1 = { deployment = { buildOnly = true; tags = [ ]; }; }; }",
    ),
    "morph, by its defaults": (
        "morph",
        "{ defaults = { ... }: { deployment.secrets = { }; }; web1 = host; }",
    ),
    "nixops, that speaks of secrets": (
        "nixops",
        "{ network.description = ''secrets''; web1 = { pkgs, ... }: { deployment.keys.secrets = { }; }; db1 = host; }",
    ),
    "nixops, whose hosts need arguments": (
        "nixops",
        "{ web1 = args: { deployment = args.secrets; }; web2 = { lib, ... }: lib.mkMerge [ ]; web3 = ''x''; }",
    ),
    "nixops 1.7": ("nixops", "{ network.description = host; network.enableRollback = true; web1 = host; }"),
    "nixops 2": (
        "nixops",
        "{ network = { nixpkgs = host; storage.legacy = host; lock.noop = host; }; defaults = host; web1 = host; }",
    ),
    "nixops, a function": ("nixops", "{ region ? ''x'' }: { network.description = region; web1 = host; }"),
    "nixops, hosts alone": ("nixops", "{ web1 = host; db1 = host; }"),
    "nixops, hosts with names of attributes": (
        "nixops",
        "{ network.description = host; config = host; deploy = host; nodes = host; outPath = host; }",
    ),
    "deploy-rs": ("deploy-rs", "{ deploy = { sshUser = ''deploy''; nodes = host; }; }"),
    "deploy-rs, all outputs": ("deploy-rs", "{ deploy.nodes = host; nixosConfigurations = host; }"),
}


def ask(file: Path, question: str, format_: str | None = None) -> object:
    """What the adapters say of a file."""
    expression = (
        f"({adapter_text()} {{ files = [ {file} ]; {adapter_options(format_, '{ }', '{ }')} }}).{question}"
    )
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--expr", expression]
    return json.loads(run(argv, environment=nix_environment()).stdout)


@pytest.mark.parametrize("name", FLEETS)
def test_the_tool_is_recognised_without_a_look_at_any_host(tmp_path: Path, name: str) -> None:
    format_, text = FLEETS[name]
    (tmp_path / "network.nix").write_text(NAMES + text)
    assert ask(tmp_path / "network.nix", "format") == format_


@pytest.mark.parametrize("name", [name for name, (format_, _text) in FLEETS.items() if format_ == "nixus"])
def test_hosts_of_nixus_are_those_of_its_evaluation(tmp_path: Path, name: str) -> None:
    (tmp_path / "network.nix").write_text(NAMES + FLEETS[name][1])
    assert ask(tmp_path / "network.nix", "hosts.web1 or null != null") is True
    assert ask(tmp_path / "network.nix", "list [ ]") == {
        "format": "nixus",
        "meta": {"description": "", "options": {}},
        "hosts": {},
        "names": ["web1", "web2"],
        "places": {"web1": None, "web2": None},
    }


# What does not describe hosts, and what is said of it.
STRANGE = {
    "a list": ("[ host ]", "a list"),
    "a string": ('"web1"', "a string"),
    "a number": ("3", "a number"),
    "null": ("null", "null"),
    "a path": ("./.", "a path"),
    "a function of a list": ("{ }: [ ]", "a list"),
    "a function of a function": ("_: _: { }", "a function"),
    "a function without end": ("let more = _: more; in more", "a function"),
    "a module of one host": ("{ lib, pkgs, ... }: { }", "a function that requires lib, pkgs"),
    "a derivation": ("made", "a derivation called deploy"),
    "a derivation with meta": ("script", "a derivation called deploy"),
    "one configuration": ("evaluation { system = host; }", "one configuration that has been evaluated"),
    "one old configuration": (
        "old { system = host; } // { pkgs = host; }",
        "one configuration that has been",
    ),
    "a flake": ("{ _type = ''flake''; packages = host; }", "what a flake has as its outputs"),
    "outputs": ("{ nixosConfigurations = host; packages = host; }", "what a flake has as its outputs"),
    "nixpkgs": ("import ./nixpkgs { } // { stdenv = host; }", "a package set"),
}
SETS = frozenset(
    name for name in STRANGE if name.startswith(("a derivation", "one ", "a flake", "outputs", "nixpkgs"))
)
EXPLICIT = ("auto", "nixops", "morph", "nixus", "colmena", "deploy-rs", "nixos")
# How Nix itself speaks where a type is wrong.
TYPE_ERROR = re.compile(
    r"while an? \w+ was expected|cannot coerce|expected an? \w+ but found|attribute '\w+' missing"
)


@pytest.mark.parametrize("format_", EXPLICIT)
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_set_of_hosts_is_told_in_words(network: Path, name: str, format_: str) -> None:
    text, words = STRANGE[name]
    write_network(network, NAMES + text)
    with pytest.raises(NixferryError) as raised:
        # Nothing of it is evaluated on and on.
        read_fleet(nix(), fleet_in(network, "network.nix", format_=format_), timeout=60)
    message = raised.value.cause
    assert not TYPE_ERROR.search(message), message
    if format_ == "nixus" and name in SETS:
        assert "not a result of nixus" in message
    else:
        assert f"network.nix is {words}" in message
    assert "`format`" in message or "`args`" in message


@pytest.mark.parametrize("format_", EXPLICIT)
def test_an_empty_set_is_no_fleet_or_has_no_host(network: Path, format_: str) -> None:
    """Tools that list the hosts of their file find none; the others say what is missing."""
    write_network(network, "{ }")
    fleet = fleet_in(network, "network.nix", format_=format_)
    if format_ == "nixos":
        assert listing_of(fleet).hosts == {}
        return
    with pytest.raises(NixferryError) as raised:
        listing_of(fleet)
    assert not TYPE_ERROR.search(raised.value.cause)


OF_FLAKES = ("nixosConfigurations", "colmenaHive", "colmena", "deploy", "nixopsConfigurations")


@pytest.mark.parametrize("output", OF_FLAKES)
@pytest.mark.parametrize(
    ("value", "words"), [("[ ]", "a list"), ('"x"', "a string"), ("x: y: x", "a function")]
)
def test_an_output_of_a_flake_that_is_no_set_is_told_in_words(
    tmp_path: Path, output: str, value: str, words: str
) -> None:
    (tmp_path / "flake.nix").write_text(f"{{ outputs = {{ self }}: {{ {output} = {value}; }}; }}")
    with pytest.raises(NixferryError, match=f"the flake's output is {words}"):
        listing_of(fleet_in(tmp_path, f".#{output}"))


# Values of a host that are no modules, and what is said of them.
NO_MODULES = {
    "3": "a number",
    '"web1"': "a string",
    "null": "null",
    'derivation { name = "web1"; system = "x"; builder = "x"; }': "a derivation called web1",
    "import ./nixpkgs/nixos/lib/eval-config.nix { modules = [ ]; }": "one configuration that has been evaluated",
}
NETWORKS = {
    "nixops": f"{{ {PACKAGES} web1 = VALUE; web2 = {{ }}; }}",
    "morph": "{ network.pkgs = import ./nixpkgs { }; web1 = VALUE; web2 = { }; }",
    "colmena": "{ meta.nixpkgs = import ./nixpkgs { }; web1 = VALUE; web2 = { }; }",
}


@pytest.mark.parametrize("format_", NETWORKS)
@pytest.mark.parametrize("value", NO_MODULES)
def test_a_host_that_is_no_module_is_told_by_name(network: Path, value: str, format_: str) -> None:
    fleet = fleet_in(write_network(network, NETWORKS[format_].replace("VALUE", value)), "network.nix")
    listing = listing_of(fleet)
    assert listing.format == format_
    assert list(listing.hosts) == ["web2"]
    assert f"host 'web1' is {NO_MODULES[value]}" in listing.errors["web1"].cause
    assert "`format`" in listing.errors["web1"].cause


@pytest.mark.parametrize("format_", ["nixos", "deploy-rs"])
def test_a_host_that_is_no_set_is_told_by_name(network: Path, format_: str) -> None:
    well = {
        "nixos": "import ./nixpkgs/nixos/lib/eval-config.nix { modules = [ ]; }",
        "deploy-rs": '{ hostname = "web2"; profiles.system = { }; }',
    }[format_]
    hosts = f"{{ web1 = [ ]; web2 = {well}; }}"
    write_network(network, hosts if format_ == "nixos" else f"{{ deploy.nodes = {hosts}; }}")
    listing = listing_of(fleet_in(network, "network.nix", format_=format_))
    assert list(listing.hosts) == ["web2"]
    assert "host 'web1' is a list, but in the format " in listing.errors["web1"].cause


def inventory_of(directory: Path, text: str) -> tuple[dict[str, Any], str]:
    """What ansible-inventory makes of a fleet file, and what it says besides."""
    write_network(directory, text)
    (directory / "fleet.yml").write_text("plugin: nixferry.deploy.fleet\nfleet: network.nix\n")
    argv = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", "fleet.yml", "--list"]
    settings = {**nix_environment(), "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build/collections")}
    done = run(argv, environment=settings, directory=directory)
    return json.loads(done.stdout), re.sub(r"\s+", " ", done.stderr)


def test_the_inventory_of_a_file_of_nixus_has_its_hosts(fleet_files: Path, network: Path) -> None:
    found, _said = inventory_of(network, f"import {fleet_files}/nixus")
    assert found["nixos"]["hosts"] == ["web3"]
    assert found["_meta"]["hostvars"]["web3"]["ansible_user"] == {"__ansible_unsafe": "deploy"}


def test_a_fleet_without_hosts_is_told(network: Path) -> None:
    found, said = inventory_of(network, f"{{ {PACKAGES} }}")
    assert "nixos" not in found
    assert "the file has no hosts; it was read in the format nixops" in said


def test_access_cannot_be_added_by_an_old_nixus(fleet_files: Path, network: Path) -> None:
    """The evaluation of the nixpkgs that nixus names has no extendModules."""
    text = f'removeAttrs (import {fleet_files}/nixus) [ "extendModules" ]'
    access = access_literal({"web3": {"hostKeys": {"ed25519": "ssh-ed25519 AAAA"}}})
    write_network(network, text)
    assert isinstance(answers_of(fleet_in(network, "network.nix"), "web3")["web3"], Evaluation)
    refused = answers_of(fleet_in(network, "network.nix", access=access), "web3")["web3"]
    assert isinstance(refused, NixferryError)
    assert "nixus' option ssh.access" in refused.cause
