# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleet files say who may log in where, alone and together with Ansible's variables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fleets import PACKAGES, answers_of, fleet_in, listing_of, write_network
from lab import REPOSITORY

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal

# Two parts of one description, for two hosts of a file.
ENDS = {
    "web1": {"hostKeys": {"ed25519": "ssh-ed25519 BBBB"}, "hostNames": ["192.0.2.1"]},
    "db1": {
        "keys": {"backup": {"publicKey": "ssh-ed25519 AAAA db", "hasAccessTo": {"web1": {"root": True}}}}
    },
}
MODULE = REPOSITORY / "plugins/plugin_utils/nix/fleet/access.nix"
# What a file of each format is, for a module that all hosts have; and whether the file has to import the option.
SHARED = {
    "nixops": (f"{{ {PACKAGES} defaults = MODULE; web1 = {{ }}; db1 = {{ }}; }}", False),
    "morph": ("{ network.pkgs = import ./nixpkgs { }; defaults = MODULE; web1 = { }; db1 = { }; }", False),
    "colmena": ("{ meta.nixpkgs = import ./nixpkgs { }; defaults = MODULE; web1 = { }; db1 = { }; }", False),
    "nixus": (
        "import ./nixus { nixpkgs = ./nixpkgs; } { defaults = { name, ... }:"
        " { nixpkgs = ./nixpkgs; configuration = { imports = [ MODULE ]; networking.hostName = name; }; };"
        ' nodes.web1.host = "web1"; nodes.db1.host = "db1"; }',
        True,
    ),
    "nixos": (
        "let host = networking: import ./nixpkgs/nixos/lib/eval-config.nix "
        "{ modules = [ { inherit networking; } MODULE ]; };"
        ' in { web1 = host { hostName = "web1"; }; db1 = host { hostName = "db1"; }; }',
        True,
    ),
}


def shared(directory: Path, format_: str, definition: Mapping[str, Any]) -> Path:
    """A fleet file in which all hosts have this definition of nixferry.sshAccess."""
    text, imported = SHARED[format_]
    imports = f"imports = [ {MODULE} ];" if imported else ""
    module = f"({{ {imports} config.nixferry.sshAccess = {nix_literal(definition)}; }})"
    return write_network(directory, text.replace("MODULE", module))


@pytest.mark.parametrize("format_", SHARED)
def test_access_in_a_file_is_what_it_is_in_variables(network: Path, format_: str) -> None:
    """All of it in the file, all of it in variables, or one end in each: the same systems."""

    def systems(in_file: Mapping[str, Any], in_variables: Mapping[str, Any]) -> Any:
        directory = shared(network, format_, in_file)
        access = access_literal(in_variables)
        return answers_of(fleet_in(directory, "network.nix", format_=format_, access=access), "web1", "db1")

    without = systems({}, {})
    expected = systems(ENDS, {})
    for host in ("web1", "db1"):
        assert isinstance(expected[host], Evaluation), expected[host]
        assert expected[host] != without[host]
    assert systems({}, ENDS) == expected
    assert systems({"web1": ENDS["web1"]}, {"db1": ENDS["db1"]}) == expected
    # A file that holds the key ends with an end of line.
    in_a_file = {"web1": {**ENDS["web1"], "hostKeys": {"ed25519": "ssh-ed25519 BBBB\n"}}}
    assert systems(in_a_file, ENDS) == expected


@pytest.mark.parametrize("format_", SHARED)
def test_access_that_contradicts_itself_is_deployed_nowhere(network: Path, format_: str) -> None:
    other = {"web1": {"hostKeys": {"ed25519": "ssh-ed25519 CCCC"}}}
    fleet = fleet_in(
        shared(network, format_, ENDS), "network.nix", format_=format_, access=access_literal(other)
    )
    for answer in answers_of(fleet, "web1", "db1").values():
        assert isinstance(answer, NixferryError)
        assert "nixferry.sshAccess.web1.hostKeys.ed25519' has conflicting definition values" in answer.cause
        assert re.search("In `ssh_access': .*CCCC", answer.cause), answer.cause
        if not SHARED[format_][1]:
            assert re.search(r"In `[^']*network\.nix': .*BBBB", answer.cause), answer.cause


def test_a_host_that_does_not_know_its_name_gets_no_access_in_silence(network: Path) -> None:
    text = shared(network, "nixos", ENDS).joinpath("network.nix").read_text()
    fleet = fleet_in(
        write_network(network, text.replace('hostName = "db1"', 'hostName = "db"')),
        "network.nix",
        format_="nixos",
    )
    assert list(listing_of(fleet).hosts) == ["web1"]
    answers = answers_of(fleet, "web1", "db1")
    assert isinstance(answers["web1"], Evaluation)
    assert "host 'db1': nixferry.sshAccess has no part for \"db\"" in answers["db1"].cause


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"web1": {}}, "web1.hostKeys is empty, but db1 is to log in there"),
        ({"db1": {"keys": {"k": {"publicKey": "-----BEGIN", "hasAccessTo": {"web1": {"root": True}}}}}},
         "db1.keys.k.publicKey is not the one line of a public key"),
        ({"db1": {"keys": {"k": {"publicKey": "ssh-ed25519 A", "hasAccessTo": {"web9": {"root": True}}}}}},
         "'web9' is not a host of the fleet to log in to"),
        ({"db1": {"keys": {"k": {"publicKey": "ssh-ed25519 A", "hasAccessTo": {"web1": {"root": "yes"}}}}}},
         "`nixferry.sshAccess.db1.keys.k.hasAccessTo.web1.root' is not of type"),
        ({"db1": {"hostkeys": {}}}, "`nixferry.sshAccess.db1.hostkeys' does not exist"),
    ],
)  # fmt: skip
def test_access_in_a_file_that_makes_no_sense(network: Path, change: Mapping[str, Any], message: str) -> None:
    answers = answers_of(
        fleet_in(shared(network, "nixops", {**ENDS, **change}), "network.nix"), "web1", "db1"
    )
    for answer in answers.values():
        assert isinstance(answer, NixferryError)
        assert message in answer.cause


def test_the_page_says_it_as_it_is(network: Path) -> None:
    page = (REPOSITORY / "docs/docsite/rst/fleet_files.rst").read_text()
    block = next(text for text in page.split(".. code-block:: nix\n")[1:] if "nixferry.sshAccess" in text)
    example = re.split(r"\n\n(?=\S)", textwrap.dedent(block).strip("\n"))[0]
    write_network(network, example.replace("<nixpkgs>", "./nixpkgs"))
    answers = answers_of(fleet_in(network, "network.nix"), "web1", "db1")
    plain = answers_of(
        fleet_in(write_network(network, f"{{ {PACKAGES} web1 = {{ }}; db1 = {{ }}; }}"), "network.nix"),
        "web1",
        "db1",
    )
    for host in ("web1", "db1"):
        assert isinstance(answers[host], Evaluation), answers[host]
        assert answers[host] != plain[host]


def test_a_file_may_import_the_option_for_other_tools(network: Path) -> None:
    plain = answers_of(fleet_in(shared(network, "nixops", ENDS), "network.nix"), "web1", "db1")
    text = (network / "network.nix").read_text().replace("({ ", f"({{ imports = [ {MODULE} ]; ", 1)
    assert answers_of(fleet_in(write_network(network, text), "network.nix"), "web1", "db1") == plain
    hosts = listing_of(fleet_in(network, "network.nix")).hosts
    assert hosts["web1"]["ssh_access"] is not None
    assert hosts["web1"]["ssh_access"] == hosts["db1"]["ssh_access"]
    alone = f"{{ {PACKAGES} web1.nixferry.sshAccess = {nix_literal(ENDS)}; db1 = {{ }}; }}"
    hosts = listing_of(fleet_in(write_network(network, alone), "network.nix")).hosts
    assert hosts["db1"]["ssh_access"] is None
    assert hosts["web1"]["ssh_access"] is not None
