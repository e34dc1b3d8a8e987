# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    ExpressionRoot,
    FlakeRoot,
    arguments_literal,
    expression_attribute,
    file_attribute,
    flake_attribute,
    quoted_attribute,
    split_attribute_path,
)

NIXOS_TOPLEVEL = ("config", "system", "build", "toplevel")


@pytest.mark.parametrize(
    ("flake", "host", "kind", "reference", "path"),
    [
        (".", "web1", "nixos", ".", ("nixosConfigurations", "web1", *NIXOS_TOPLEVEL)),
        ("", "web1", "nixos", ".", ("nixosConfigurations", "web1", *NIXOS_TOPLEVEL)),
        (".#", "web1", "nixos", ".", ("nixosConfigurations", "web1", *NIXOS_TOPLEVEL)),
        (
            "/srv/fleet",
            "a.example.org",
            "nixos",
            "/srv/fleet",
            ("nixosConfigurations", "a.example.org", *NIXOS_TOPLEVEL),
        ),
        (".", "mac1", "darwin", ".", ("darwinConfigurations", "mac1", "system")),
        (".", "alice", "home-manager", ".", ("homeConfigurations", "alice", "activationPackage")),
        (".", "box", "system-manager", ".", ("systemConfigs", "box")),
        (
            ".#nixosConfigurations.web2",
            "web1",
            "nixos",
            ".",
            ("nixosConfigurations", "web2", *NIXOS_TOPLEVEL),
        ),
        (
            ".#nixosConfigurations.{host}",
            "a.b",
            "nixos",
            ".",
            ("nixosConfigurations", "a.b", *NIXOS_TOPLEVEL),
        ),
        ('.#nixosConfigurations."a.b"', "x", "nixos", ".", ("nixosConfigurations", "a.b", *NIXOS_TOPLEVEL)),
        (".#darwinConfigurations.mac2", "web1", "nixos", ".", ("darwinConfigurations", "mac2", "system")),
        (".#packages.x86_64-linux.{host}", "w", "profile", ".", ("packages", "x86_64-linux", "w")),
        (".#web1", "w", "nixos", ".", ("web1",)),
        (".#a-{host}.b", "w.x", "nixos", ".", ("a-w.x", "b")),
        ("git+ssh://git@h/{host}?ref=main#x", "web 1", "nixos", "git+ssh://git@h/web%201?ref=main", ("x",)),
    ],
)
def test_flake_references(flake: str, host: str, kind: str, reference: str, path: tuple[str, ...]) -> None:
    attribute = flake_attribute(flake, host, kind=KINDS[kind])
    assert isinstance(attribute.root, FlakeRoot)
    assert attribute.root.reference == reference
    assert (attribute.root.prefix, *attribute.path) == path


def test_a_bare_flake_means_nothing_to_a_profile() -> None:
    with pytest.raises(NixferryError, match="names no attribute"):
        flake_attribute(".", "web1", kind=KINDS["profile"])


def test_hosts_of_one_flake_share_a_root() -> None:
    roots = {flake_attribute(".", host, kind=KINDS["nixos"]).root for host in ("web1", "web2")}
    assert len(roots) == 1


def test_the_command_for_a_flake() -> None:
    root = FlakeRoot(
        "github:o/r", "node 1", override_inputs=(("nixpkgs", "path:/n"),), impure=True, write_lock_file=False
    )
    arguments = root.request({"0": ("a",)}).arguments
    assert arguments[:2] == ("nix", "eval")
    assert arguments[-1] == "github:o/r#%22node%201%22"
    assert arguments[arguments.index("--override-input") :][:3] == ("--override-input", "nixpkgs", "path:/n")
    assert {"--impure", "--no-write-lock-file", "--json"} <= set(arguments)
    assert 'requests = { "0" = [ "a" ]; }' in arguments[arguments.index("--apply") + 1]
    assert root.lock_request().arguments[:3] == ("nix", "flake", "metadata")
    plain = FlakeRoot(".", "x").request({}).arguments
    assert not {"--impure", "--no-write-lock-file", "--override-input"} & set(plain)


def test_an_expression_and_its_arguments_stay_out_of_the_command_line() -> None:
    root = ExpressionRoot("import ./x.nix # the end", '{ "token" = "abc"; }', include=("nixpkgs=/n", "/more"))
    request = root.request({"0": ()})
    assert request.arguments == (
        "nix-instantiate", "--eval", "--json", "--strict", "--read-write-mode",
        "-I", "nixpkgs=/n", "-I", "/more", "-",
    )  # fmt: skip
    assert request.input is not None
    # A comment at the end of the expression must not swallow what follows.
    assert b"(import ./x.nix # the end\n)" in request.input
    assert b'arguments = { "token" = "abc"; }' in request.input


def test_a_file_counts_from_the_directory(tmp_path: Path) -> None:
    (tmp_path / "fleet.nix").write_text("{}")
    attribute = file_attribute("fleet.nix", "nodes.{host}", "a.b", directory=str(tmp_path), arguments="{ }")
    assert attribute.root == ExpressionRoot(f'import "{tmp_path}/fleet.nix"', anywhere=True)
    assert attribute.path == ("nodes", "a.b")


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NixferryError, match=f"the file {tmp_path}/no.nix does not exist") as caught:
        file_attribute("no.nix", "", "web1", directory=str(tmp_path), arguments="{ }")
    assert "playbook's directory" in caught.value.remedy


def test_an_entry_of_the_search_path_is_no_file() -> None:
    attribute = file_attribute("<nixpkgs/nixos>", "x", "h", directory="/", arguments="{ }")
    assert attribute.root == ExpressionRoot("import <nixpkgs/nixos>", anywhere=True)


def test_an_expression_without_an_attribute_is_the_value_itself() -> None:
    assert expression_attribute("1", "", "h", arguments="{ }").path == ()


def test_arguments() -> None:
    assert arguments_literal({"ports": [80]}, {"version": 2}) == '{ "ports" = [ 80 ]; "version" = "2"; }'
    with pytest.raises(NixferryError, match="n: in args and in argstrs"):
        arguments_literal({"n": 1, "m": 1}, {"n": 2})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a.b.c", ["a", "b", "c"]),
        ('a."b.c".d', ["a", "b.c", "d"]),
        ('pre"x.y"post', ["prex.ypost"]),
        ('a.""', ["a", ""]),
    ],
)
def test_attribute_paths(text: str, names: list[str]) -> None:
    assert split_attribute_path(text) == names


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", 'a."b', '"'])
def test_broken_attribute_paths_are_refused(text: str) -> None:
    with pytest.raises(NixferryError, match="attribute path"):
        split_attribute_path(text)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters='"'), min_size=1), min_size=1))
def test_quoted_names_come_back(names: list[str]) -> None:
    assert split_attribute_path(".".join(map(quoted_attribute, names))) == names
