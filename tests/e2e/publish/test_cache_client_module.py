# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module for clients of caches sets what the role cache_client sets."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lab import REPOSITORY, nix_environment, run
from project import Project

MODULE = REPOSITORY / "plugins/plugin_utils/nix/cache-client.nix"
ROLE = REPOSITORY / "roles/cache_client"
KEY = "cache-1:" + "A" * 43 + "="
# Of nixpkgs' library, what the module needs.
STUBS = """
  lib = {
    mkIf = condition: value: if condition then value else { };
    mkForce = value: value;
    mkOption = option: option;
    optionalAttrs = condition: value: if condition then value else { };
    types = { str = 0; int = 0; bool = 0; listOf = x: x; nullOr = x: x; submodule = x: x; };
  };
"""
CACHE = {
    "url": "https://cache.example.org",
    "publicKeys": [KEY],
    "priority": None,
    "certificate": "",
    "certificateKey": "",
}


def module(settings: str) -> Any:
    """What the module makes of settings, a Nix expression, beside its defaults."""
    expression = (
        f"let {STUBS} of = given: import {MODULE} {{ inherit lib; config.nixferry.cacheClient = given; }}; "
        "cache = builtins.fromJSON ''" + json.dumps(CACHE) + "''; whole = given: cache // given; "
        "defaults = builtins.mapAttrs (_: option: option.default) (of { }).options.nixferry.cacheClient; "
        f"given = {settings}; in "
        "(of (defaults // given // { caches = map whole (given.caches or [ ]); })).config"
    )
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    return json.loads(run(argv, environment=nix_environment()).stdout)


def nix(value: object) -> str:
    return "(builtins.fromJSON ''" + json.dumps(value) + "'')"


def snake(name: str) -> str:
    return re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name)


def of_the_role(project: Project, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the role with the same variables."""
    given = {f"cache_client_{snake(name)}": value for name, value in settings.items() if name != "enable"}
    given["cache_client_caches"] = [
        {snake(name): value for name, value in cache.items()} for cache in settings["caches"]
    ]
    loads = [
        {"ansible.builtin.include_vars": str(ROLE / f"{part}/main.yml")} for part in ("defaults", "vars")
    ]
    shows = {"ansible.builtin.debug": {"var": "_cache_client_settings"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [*loads, shows]}]
    done = project.run_playbook(play, variables=given).assert_ok()
    return dict(done.result("debug")["_cache_client_settings"])


@pytest.mark.parametrize(
    "settings",
    [
        {"caches": [{"url": "https://cache.example.org", "publicKeys": [KEY]}]},
        {
            "exclusive": True,
            "downloadSpeed": 500,
            "fallback": True,
            "negativeTtl": 5,
            "positiveTtl": 60,
            "caches": [
                {"url": "https://a.example.org?x=y", "publicKeys": [KEY], "priority": 10},
                {"url": "https://b.example.org", "certificate": "/etc/c.pem", "certificateKey": "/etc/c.key"},
            ],
        },
    ],
    ids=["defaults", "everything"],
)
def test_the_settings_are_those_of_the_role(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "project").mkdir()
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("ansible.cfg", "[defaults]\n")
    config = module(nix({"enable": True, **settings}))
    assert [each["message"] for each in config["assertions"] if not each["assertion"]] == []
    wanted = {
        name: value for name, value in of_the_role(project, settings).items() if value not in (None, [])
    }
    found = {name: value for name, value in config["nix"]["settings"].items() if value != []}
    assert found == wanted


@pytest.mark.parametrize(
    "cache",
    [
        {"url": "https://user:password@cache.example.org"},
        {"publicKeys": ["AAAA"]},
        {"certificate": "/etc/c.pem"},
        {"certificate": "/nix/store/x", "certificateKey": "/etc/c.key"},
    ],
    ids=str,
)
def test_what_the_role_refuses_is_refused(cache: dict[str, Any]) -> None:
    config = module(nix({"enable": True, "caches": [cache]}))
    assert len([each for each in config["assertions"] if not each["assertion"]]) == 1


def test_the_options_and_the_example_of_the_page() -> None:
    spec = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    # An order, a file for secrets, and what NixOS does by itself.
    others = {"cache_client_state", "cache_client_logins", "cache_client_restart_daemon"}
    text = MODULE.read_text()
    for name in set(spec) - others:
        option = re.sub("_(.)", lambda found: found[1].upper(), name.removeprefix("cache_client_"))
        assert f"    {option} = option" in text
    assert module("{ }") == {}
    page = (REPOSITORY / "docs/docsite/rst/caches.rst").read_text()
    (example,) = re.findall(r"^\.\. code-block:: nix\n\n((?:   .*\n|\n)+)", page, re.M)
    config = module(
        f"(({textwrap.dedent(example)}).nixferry.cacheClient)".replace(
            "nixferry.nixosModules.cacheClient", "null"
        )
    )
    assert [each for each in config["assertions"] if not each["assertion"]] == []
    assert config["nix"]["settings"]["extra-substituters"] == ["https://cache.example.org?priority=10"]
