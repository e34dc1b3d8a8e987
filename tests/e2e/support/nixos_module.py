# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module of the pull agent, evaluated without nixpkgs, and the same settings for the role."""

from __future__ import annotations

import json
from typing import Any

from lab import REPOSITORY, nix_environment, run

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import DIRECTORY, FILES_OF_PROGRAM
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.settings import AgentSettings

NIX = REPOSITORY / "plugins/plugin_utils/nix"
FILES = {name: f"/nix/store/{'0' * 32}-{name}" for name in FILES_OF_PROGRAM}
CHECKS = (
    HealthCheck("unit", "web.service", "web", 0, 2, 10, {}),
    HealthCheck("command", "test \"$x\" != 'a b'", "odd", 5, 1, 3, {}),
)
SETTINGS = AgentSettings(
    host="web1",
    channel="stable",
    url="https://pointers.example.org",
    kind=KINDS["nixos"],
    profile=KINDS["nixos"].profile,
    public_keys=("cache-1:AAAA", "cache-2:BBBB"),
    pointer_keys=("ssh-ed25519 AAAAB", "ssh-ed25519 AAAAC"),
    windows=("Sat,Sun 22:00-04:00", "02:00-03:00"),
    checks=CHECKS,
    timeout_confirm=600,
)


def evaluate(expression: str) -> Any:
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    return json.loads(run(argv, environment=nix_environment()).stdout)


def nix(value: object) -> str:
    """A Nix expression with this value, by way of JSON."""
    text = json.dumps(json.dumps(value)).replace("${", "\\${")
    return f"(builtins.fromJSON {text})"


STUBS = """
  lib = {
    mkIf = condition: value: if condition then value else { };
    removeSuffix = suffix: text: text;
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    toUpper = builtins.replaceStrings [ "a" "b" "c" "d" "e" "f" ] [ "A" "B" "C" "D" "E" "F" ];
    mkOption = option: option;
    types = { str = 0; int = 0; bool = 0; listOf = x: x; nullOr = x: x; enum = x: x; submodule = x: x; };
  };
  pkgs = rec {
    writeText = name: text: "/nix/store/00000000000000000000000000000000-${name}";
    writeScript = writeText;
    writeTextDir = name: text: { inherit name text; };
    symlinkJoin = join: join;
    git = "/nix/store/00000000000000000000000000000000-git";
    gnupg = "/nix/store/00000000000000000000000000000000-gnupg";
  };
"""
PULL = {
    "enable": True,
    "url": "https://pointers.example.org",
    "publicKeys": ["cache-1:AAAA"],
    "pointerKeys": ["ssh-ed25519 AAAAB a comment\n"],
    "caches": ["https://cache.example.org"],
    "healthChecks": [{"command": None, "unit": "web.service", "retries": 5, "delay": 2, "timeout": 10}],
    "windows": ["Sat,Sun 22:00-04:00", "02:00-24:00"],
}


def module(**settings: Any) -> Any:
    """What the module makes of settings; nothing of nixpkgs is needed for that."""
    return evaluate(
        f"let {STUBS} of = pull: import {NIX}/pull.nix {{ inherit lib pkgs; config = {{ "
        'networking.hostName = "web1"; nixferry = { inherit pull; }; }; }; '
        "defaults = builtins.mapAttrs (_: option: option.default) (of { }).options.nixferry.pull; "
        f"in (of (defaults // {nix({**PULL, **settings})})).config"
    )


FOLLOWING = {
    "url": "",
    "publicKeys": [],
    "pointerKeys": [],
    "healthChecks": [],
    "windows": [],
    "repository": "https://git.example.org/x.git",
    "commitKeys": ["ssh-ed25519 AAAAB a comment"],
    "minCommit": "a" * 40,
}
KEY = "ssh-ed25519 AAAAB"


def module_program(stubs: str = STUBS, **settings: Any) -> str:
    """The agent's program that the module makes, with the guard's program in it in place of its path."""
    shown = stubs.replace("writeScript = writeText;", "writeScript = name: text: text;")
    rule: str = evaluate(
        f"let {shown} of = pull: import {NIX}/pull.nix {{ inherit lib pkgs; config = {{ "
        'networking.hostName = "web1"; nixferry = { inherit pull; }; }; }; '
        "defaults = builtins.mapAttrs (_: option: option.default) (of { }).options.nixferry.pull; in "
        f"builtins.elemAt (of (defaults // {nix({**PULL, **settings})})).config.systemd.tmpfiles.rules 1"
    )
    return rule.removeprefix(f"L+ {DIRECTORY}/agent - - - - ").rstrip("\n")
