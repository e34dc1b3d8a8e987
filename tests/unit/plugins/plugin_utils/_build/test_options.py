# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.vault import EncryptedString

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.every_host import every_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.options import (
    SPECIFICATION,
    BuildOptions,
    build_options,
    setting_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FileFleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import Source


def options(*, check_mode: bool = False, **given: Any) -> BuildOptions:
    """What the action makes of a task's arguments."""
    rules = {name: value for name, value in SPECIFICATION.items() if name != "argument_spec"}
    validated = ArgumentSpecValidator(SPECIFICATION["argument_spec"], **rules).validate(given)
    assert not validated.error_messages
    return build_options(
        validated.validated_parameters, host="web1", directory="/play", check_mode=check_mode
    )


def source(built: BuildOptions, host: str) -> Source:
    found = dict(built.sources)[host]
    assert isinstance(found, Source)
    return found


def test_the_host_of_the_task_is_the_default() -> None:
    built = options(flake=".")
    assert built.hosts == ("web1",)
    assert source(built, "web1").flake == "."
    assert not built.dry_run


def test_hosts_are_taken_once_and_in_order() -> None:
    assert options(flake=".", hosts=["b", "a", "b"]).hosts == ("b", "a")


@pytest.mark.parametrize(("build_in_check_mode", "dry_run"), [(False, True), (True, False)])
def test_check_mode_is_dry_unless_told_otherwise(build_in_check_mode: bool, dry_run: bool) -> None:
    assert options(flake=".", check_mode=True, build_in_check_mode=build_in_check_mode).dry_run == dry_run


def test_a_dry_run_leaves_the_lock_file_alone() -> None:
    for check_mode in (True, False):
        built = options(flake=".", check_mode=check_mode)
        root = built.attribute("web1", source(built, "web1")).root
        assert isinstance(root, FlakeRoot)
        assert root.write_lock_file == (not check_mode)


def test_an_expression_with_all_that_belongs_to_it() -> None:
    built = options(
        expr="{ n }: n", attr="a.{host}", args={"n": 1}, include=["nixpkgs=/n"], options={"cores": 2}
    )
    attribute = built.attribute("db.example.org", source(built, "web1"))
    assert attribute.root == ExpressionRoot("{ n }: n", '{ "n" = 1; }', ("nixpkgs=/n",))
    assert attribute.path == ("a", "db.example.org")
    assert built.settings == {"cores": "2"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flake": "", "hosts": ["a"]}, "none of them may be empty"),
        ({"flake": ".", "attr": "x"}, "`attr` goes with file or expr, not with flake"),
        ({"flake": ".", "argstrs": {"a": "b"}}, "`argstrs` goes with"),
        ({"flake": ".", "include": ["a=b"]}, "`include` goes with"),
        ({"file": "f.nix", "impure": True}, "`impure` goes with flake"),
        ({"file": "f.nix", "override_inputs": {"a": "b"}}, "`override_inputs` goes with flake"),
        ({"flake": ".", "hosts": []}, "`hosts` is an empty list"),
        ({"flake": ".", "hosts": ["web2"], "build_on": "target"}, "every host builds its own system"),
        ({"flake": ".", "max_memory": 0}, "`max_memory` must be positive"),
        ({"flake": ".", "evaluators": -1}, "`evaluators` must be positive"),
        ({"expr": "x", "args": {"a": float("nan")}}, "args.a is nan"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        options(**given)


def test_hosts_with_sources_of_their_own() -> None:
    built = options(
        file="fleet.nix",
        attr="{host}",
        args={"n": 1},
        sources={"web2": {"flake": "github:o/r"}, "web3": {"args": {"n": 2}}, "web4": {}},
    )
    assert built.hosts == ("web2", "web3", "web4")
    assert (source(built, "web2").flake, source(built, "web2").file, source(built, "web2").attr) == (
        "github:o/r",
        "",
        "",
    )
    assert (source(built, "web3").file, source(built, "web3").arguments) == ("fleet.nix", '{ "n" = 2; }')
    assert source(built, "web4").arguments == '{ "n" = 1; }'


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"flake": ".", "file": "x"}, "flake and file exclude each other"),
        ({"flake": ".", "attr": "x"}, "`attr` goes with"),
        ({"flke": "."}, "flke"),
        ({}, "none of them may be empty"),
        ("flake", "not a dictionary"),
    ],
)
def test_a_wrong_source_is_that_hosts_error(entry: object, words: str) -> None:
    built = options(sources={"web1": entry, "web2": {"flake": "."}})
    error = dict(built.sources)["web1"]
    assert isinstance(error, NixferryError)
    assert words in error.cause
    assert source(built, "web2").flake == "."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (None, ""),
        ("a b", "a b"),
        (["https://a", "https://b"], "https://a https://b"),
        ([True, 1], "true 1"),
    ],
)
def test_settings_are_written_as_in_nix_conf(value: object, text: str) -> None:
    assert setting_text(value) == text


@pytest.mark.parametrize(("seconds", "timeout"), [(0, None), (10, 10)])
def test_no_timeout(seconds: int, timeout: int | None) -> None:
    assert options(flake=".", timeout=seconds).timeout == timeout


def test_relative_paths_count_from_the_playbook_unless_a_collection_has_it() -> None:
    assert base_directory("/srv/fleet") == "/srv/fleet"
    inside = "/usr/share/ansible/collections/ansible_collections/nixferry/deploy/playbooks"
    assert base_directory(inside) == os.getcwd()  # noqa: PTH109


def test_arguments_for_modules_go_with_every_evaluation() -> None:
    for given in ({"flake": "."}, {"file": "<x>"}, {"expr": "{ }"}):
        built = options(specialargs={"site": {"name": "${x}"}}, **given)
        attribute = built.attribute("web1", source(built, "web1"))
        assert attribute.special_args == '{ "site" = { "name" = "\\${x}"; }; }'
    built = options(sources={"web1": {"specialargs": {"a": 1}}, "web2": {}}, flake=".")
    attributes = [built.attribute(host, source(built, host)) for host in ("web1", "web2")]
    # One evaluator can answer for both.
    assert attributes[0].root == attributes[1].root
    assert [attribute.special_args for attribute in attributes] == ['{ "a" = 1; }', ""]
    with pytest.raises(NixferryError, match="`specialargs` goes with flake or file or expr"):
        options(store_path="/nix/store/x", specialargs={"a": 1})


@pytest.mark.parametrize("name", ["args", "argstrs", "specialargs"])
def test_a_value_from_the_vault_is_refused(name: str) -> None:
    secret = EncryptedString(ciphertext="$ANSIBLE_VAULT;1.1;AES256\n6162")
    with pytest.raises(NixferryError, match=rf"`{name}`.deep\[0\] comes from Ansible Vault"):
        options(expr="{ }", **{name: {"deep": [secret]}})


def test_builders_become_settings() -> None:
    built = options(flake=".", builders=["ssh://big x86_64-linux"], max_jobs=0, options={"cores": 2})
    assert built.settings == {"cores": "2", "builders": "ssh://big x86_64-linux", "max-jobs": "0"}


def test_a_setting_is_given_once() -> None:
    with pytest.raises(NixferryError) as caught:
        options(flake=".", builders=[], options={"builders": "@/etc/nix/machines"})
    assert "`builders`" in caught.value.cause


def test_a_fleet_is_a_source_of_all_its_hosts(tmp_path: Path) -> None:
    (tmp_path / "network.nix").touch()
    built = options(
        fleet="network.nix", fleet_format="morph", args={"n": 1}, include=["a=b"], hosts=["web1", "web2"]
    )
    fleet = source(built, "web1").fleet_in(str(tmp_path))
    assert isinstance(fleet, FileFleet)
    assert (fleet.files, fleet.format) == ((f"{tmp_path}/network.nix",), "morph")
    assert (fleet.arguments, fleet.include) == ('{ "n" = 1; }', ("a=b",))
    assert fleet == source(built, "web2").fleet_in(str(tmp_path))


def test_several_files_are_one_fleet_and_an_empty_one_is_none() -> None:
    built = options(sources={"web1": {"fleet": ["a.nix", "b.nix"]}, "web2": {"fleet": "", "flake": "."}})
    assert source(built, "web1").fleet == ("a.nix", "b.nix")
    assert source(built, "web1").fleet_format == "auto"
    assert (source(built, "web2").fleet, source(built, "web2").flake) == ((), ".")


def test_access_goes_with_a_fleet() -> None:
    access = {"web1": {"hostKeys": {"a": "ssh-rsa A"}}}
    assert '"ssh-rsa A"' in source(options(fleet="a.nix", ssh_access=access), "web1").access
    with pytest.raises(NixferryError, match="`ssh_access` goes with fleet"):
        options(flake=".", ssh_access=access)


def test_a_wrong_fleet_is_the_error_of_its_host() -> None:
    built = options(sources={"web1": {"fleet": [3]}, "web2": {"fleet": "a.nix"}})
    assert isinstance(dict(built.sources)["web1"], NixferryError)
    assert isinstance(dict(built.sources)["web2"], Source)


def test_a_named_host_builds_for_all() -> None:
    assert options(flake=".", hosts=["a", "b"], build_on="big").build_host == "big"
    assert options(flake=".").build_host == options(flake=".", build_on="target").build_host == ""
    with pytest.raises(NixferryError, match="`build_on` is empty"):
        options(flake=".", build_on="")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flake": "."}, "`all_hosts` goes with `fleet`"),
        ({"fleet": "a.nix", "hosts": ["web1"]}, "and not with `hosts`"),
        ({"fleet": "a.nix", "sources": {"web1": {}}}, "and not with `sources`"),
    ],
)
def test_all_hosts_are_those_of_a_fleet(given: dict[str, Any], words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        every_host({"hosts": None, "sources": None, "fleet": None, **given}, Nix(), "/play")
