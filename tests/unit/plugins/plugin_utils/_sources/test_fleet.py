# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    Attribute,
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.adapter import adapter_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import (
    NO_ACCESS,
    OUTPUTS,
    FileFleet,
    FlakeFleet,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet_words import (
    FORMATS,
    fleet_from,
    fleet_words,
)

# MAX_ARG_STRLEN of Linux: no argument of a program may be longer.
LONGEST_ARGUMENT = 131072


class Scripted:
    """Answers like Nix, with what it was given, and remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = [json.dumps(answer) for answer in answers]
        self.asked: list[tuple[str, ...]] = []

    def run(self, arguments: Sequence[str], **_settings: object) -> NixResult:
        self.asked.append(tuple(arguments))
        return NixResult(0, self.answers.pop(0), "", tuple(arguments))


def scripted(*answers: object) -> tuple[Scripted, Nix]:
    nix = Scripted(*answers)
    return nix, cast(Nix, nix)


@pytest.mark.parametrize(
    ("given", "words"),
    [("", ()), ("a.nix", ("a.nix",)), (["a.nix", "b.nix"], ("a.nix", "b.nix")), ([""], ()), ((), ())],
)
def test_a_fleet_is_one_word_or_several(given: object, words: tuple[str, ...]) -> None:
    assert fleet_words(given) == words


@pytest.mark.parametrize("given", [3, {"a": "b"}, ["a", 3]])
def test_anything_else_is_no_fleet(given: object) -> None:
    with pytest.raises(NixferryError, match="neither a string nor a list"):
        fleet_words(given)


@pytest.mark.parametrize(
    ("word", "reference", "output", "format_"),
    [
        ("flake", "{}/flake", "", "auto"),
        ("flake/flake.nix", "{}/flake", "", "auto"),
        ("flake#colmenaHive", "{}/flake", "colmenaHive", "colmena"),
        ("flake#deploy.nodes", "{}/flake", "deploy", "deploy-rs"),
        ("#nixosConfigurations", "{}", "nixosConfigurations", "nixos"),
        ("github:example/fleet", "github:example/fleet", "", "auto"),
        ("git+ssh://git@h/f?ref=main#colmena", "git+ssh://git@h/f?ref=main", "colmena", "colmena"),
        ("a b#colmena", "{}/a b", "colmena", "colmena"),
        ("flake?dir=web#colmena", "{}/flake?dir=web", "colmena", "colmena"),
    ],
)
def test_flakes_are_recognised(tmp_path: Path, word: str, reference: str, output: str, format_: str) -> None:
    (tmp_path / "flake").mkdir()
    (tmp_path / "flake/flake.nix").touch()
    fleet = fleet_from([word], directory=str(tmp_path))
    assert isinstance(fleet, FlakeFleet)
    assert (fleet.reference, fleet.output, fleet.format) == (reference.format(tmp_path), output, format_)


@pytest.mark.parametrize(
    ("word", "file"),
    [("network.nix", "network.nix"), ("hives", "hives/hive.nix"), ("hives/../network.nix", "network.nix")],
)
def test_files_are_found(tmp_path: Path, word: str, file: str) -> None:
    (tmp_path / "hives").mkdir()
    (tmp_path / "hives/hive.nix").touch()
    (tmp_path / "network.nix").touch()
    fleet = fleet_from([word], directory=str(tmp_path))
    assert isinstance(fleet, FileFleet)
    assert fleet.files == (f"{tmp_path}/{file}",)
    # From any other directory, its own words mean the same.
    assert fleet_from(fleet.words, directory="/") == fleet


def test_an_entry_of_the_search_path_is_left_to_nix() -> None:
    fleet = fleet_from(["<fleet/network.nix>"], directory="/", include=["fleet=/srv"])
    root = fleet.attribute("web1").root
    assert isinstance(root, ExpressionRoot)
    assert "files = [ <fleet/network.nix> ]" in root.expression
    assert root.include == ("fleet=/srv",)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["none.nix"], {}, "the file .*/none.nix does not exist"),
        (["."], {}, "neither a flake.nix nor a fleet file"),
        ([".#packages"], {}, "the format of the output packages of the flake . is not known"),
        (["a.nix", ".#colmena"], {}, "is a flake, and goes with no other file"),
        (["a.nix"], {"format_": "terraform"}, "unknown fleet format 'terraform'"),
        (["a.nix"], {"impure": True}, "go with a flake"),
        (["a.nix"], {"override_inputs": {"nixpkgs": "x"}}, "go with a flake"),
        ([".#colmena"], {"include": ["nixpkgs=/x"]}, "`include` goes with fleet files"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, words: list[str], options: Any, message: str) -> None:
    (tmp_path / "a.nix").touch()
    with pytest.raises(NixferryError, match=message):
        fleet_from(words, directory=str(tmp_path), **options)


def test_a_file_name_stays_a_string(tmp_path: Path) -> None:
    (tmp_path / "a ${b}.nix").touch()
    root = fleet_from(["a ${b}.nix"], directory=str(tmp_path)).attribute("web1").root
    assert isinstance(root, ExpressionRoot)
    assert f'(/. + "{tmp_path}/a \\${{b}}.nix")' in root.expression


def test_the_first_output_that_describes_hosts_is_meant() -> None:
    asked, nix = scripted({"resolvedUrl": "path:/f"}, ["deploy", "nixosConfigurations", "packages"])
    fleet = fleet_from(["path:/f"], directory="/", write_lock_file=False).settled(nix)
    assert isinstance(fleet, FlakeFleet)
    assert (fleet.output, fleet.format) == ("deploy", "deploy-rs")
    assert "--no-write-lock-file" in asked.asked[0]


def test_the_format_chooses_among_outputs() -> None:
    _asked, nix = scripted({"resolvedUrl": "path:/f"}, ["colmenaHive", "nixosConfigurations"])
    fleet = fleet_from(["path:/f"], directory="/", format_="nixos").settled(nix)
    assert isinstance(fleet, FlakeFleet)
    assert fleet.output == "nixosConfigurations"


def test_a_known_output_is_not_looked_for() -> None:
    asked, nix = scripted()
    fleet = fleet_from(["path:/f#colmena"], directory="/")
    assert fleet.settled(nix) is fleet
    assert not asked.asked


def test_a_flake_without_such_an_output() -> None:
    _asked, nix = scripted({"resolvedUrl": "path:/f"}, ["packages"])
    with pytest.raises(NixferryError, match="no output that describes hosts; it has packages"):
        fleet_from(["path:/f"], directory="/").settled(nix)


def described(attribute: Attribute) -> tuple[str, str, bool]:
    """The output that ``attribute`` is found in, the format that it is read in, and whether access is added to it."""
    assert isinstance(attribute.root, FlakeRoot)
    assert attribute.path == ("web.1", "toplevel")
    format_ = attribute.root.adapter.rpartition('format = "')[2].partition('"')[0]
    return attribute.root.prefix, format_, f"access = {NO_ACCESS};" not in attribute.root.adapter


def test_a_node_of_deploy_rs_is_what_its_profile_activates() -> None:
    fleet = fleet_from(["path:/f#deploy"], directory="/")
    assert described(fleet.attribute("web.1")) == ("deploy", "deploy-rs", False)
    assert fleet.same_systems("web.1") == ()


def test_access_is_added_to_a_configuration_that_has_to_be_what_the_profile_activates() -> None:
    fleet = fleet_from(["path:/f#deploy"], directory="/", access=access_literal({"web.1": {}}))
    assert described(fleet.attribute("web.1")) == ("nixosConfigurations", "nixos", True)
    assert list(map(described, fleet.same_systems("web.1"))) == [
        ("deploy", "deploy-rs", False),
        ("nixosConfigurations", "nixos", False),
    ]
    assert access_literal({}) == NO_ACCESS


@pytest.mark.parametrize("format_", ["darwin", "home-manager"])
def test_some_formats_are_in_flakes_only(tmp_path: Path, format_: str) -> None:
    (tmp_path / "deploy.nix").touch()
    with pytest.raises(NixferryError, match=f"the format {format_} is that of a flake"):
        fleet_from(["deploy.nix"], directory=str(tmp_path), format_=format_)


def test_hosts_of_one_fleet_share_a_root(tmp_path: Path) -> None:
    (tmp_path / "hive.nix").touch()
    for word in ("hive.nix", ".#colmena"):
        fleet = fleet_from([word], directory=str(tmp_path))
        assert fleet.attribute("web1").root == fleet.attribute("web2").root
        assert fleet.attribute("web1").path == ("web1", "toplevel")


def test_the_adapters_are_one_argument() -> None:
    """They are an argument of `nix eval`, together with the names of many hosts."""
    text = adapter_text()
    assert len(text) < LONGEST_ARGUMENT / 3
    for part in ("colmena", "deploy-rs", "shape", "unwrap", "hive", "morph", "nixops", "nixus", "systems"):
        assert f" {part} = (" in text
    # Indentation is taken away, which a string of several lines would notice.
    assert all(line.count("''") % 2 == 0 for line in text.splitlines())
    # No path: where the text is evaluated no other file is in reach.
    assert "import ./" not in text


def test_every_output_has_a_format() -> None:
    assert set(OUTPUTS.values()) <= set(FORMATS)
