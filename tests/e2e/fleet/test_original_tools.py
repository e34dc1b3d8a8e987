# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems are those of the tools that the files were written for: the first deploy after a move changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fleets import fleet_in, listing_of
from lab import REPOSITORY
from trees import TOOLS, TREE, with_tools

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

PACKAGES = f'import {TREE} {{ system = "x86_64-linux"; }}'
HOSTS = """
  web1 = { pkgs, name, ... }: {
    imports = [ ./web.nix ]; environment.systemPackages = [ pkgs.jq ];
    services.nginx.enable = true; deployment.targetHost = "192.0.2.1"; environment.etc.name.text = name;
  };
  web2 = { pkgs, nodes, ... }: {
    environment.etc.other.text = nodes.web1.config.networking.hostName;
    CHECK
  };
"""
# The order of a list tells how deep the modules are that define it: those of the network, what they import, and window
# managers, which a module of nixpkgs imports.
MODULES = {
    "common.nix": "{ pkgs, ... }: { environment.systemPackages = [ pkgs.git ]; }",
    "web.nix": "{ pkgs, ... }: { environment.systemPackages = [ pkgs.tmux ]; }",
}
COMMON = """
  boot.isContainer = true; system.stateVersion = "24.05"; services.xserver.windowManager.i3.enable = true;
  imports = [ ./common.nix ];
"""
CHECK = 'deployment.healthChecks.cmd = [ { cmd = [ "${pkgs.hello}/bin/hello" ]; description = "hello"; } ];'
# The network of each tool, and what evaluates it with the tool's own code to systems.
NETWORKS = {
    "morph": (
        f"{{ network.pkgs = {PACKAGES}; defaults = {{ {COMMON} }}; {HOSTS.replace('CHECK', CHECK)} }}",
        f"(import {TOOLS}/morph/data/eval-machines.nix {{ networkExpr = ./network.nix; }}).nodes",
    ),
    "colmena": (
        f"{{ meta.nixpkgs = {PACKAGES}; defaults = {{ {COMMON} }}; {HOSTS.replace('CHECK', '')} }}",
        f"(import {TOOLS}/colmena/src/nix/hive/eval.nix {{ rawHive = import ./network.nix; }}).nodes",
    ),
    # NixOps adds its service for keys to every system. The keys are placed in another way here.
    "nixops": (
        f"{{ network.nixpkgs = {PACKAGES}; "
        f"defaults = {{ disabledModules = [ {TOOLS}/nixops/nix/keys.nix ]; {COMMON} }}; "
        f"{HOSTS.replace('CHECK', '')} }}",
        f'(import {TOOLS}/nixops/nix/eval-machine-info.nix {{ networkExprs = [ ./network.nix ]; uuid = "u"; '
        'deploymentName = "d"; args = { }; pluginNixExprs = [ ]; }).nodes',
    ),
    # What nixus copies to a host: the system, and programs for its own use.
    "nixus": (
        f"""import ./nixus {{ }} {{
          defaults = {{ name, ... }}: {{
            nixpkgs = {TREE}; configuration = {{ {COMMON} networking.hostName = name; }};
          }};
          nodes = {{
            web1 = {{ host = "root@192.0.2.1"; configuration = {{ pkgs, ... }}: {{
              imports = [ ./web.nix ]; environment.systemPackages = [ pkgs.jq ]; services.nginx.enable = true;
            }}; }};
            web2.configuration = {{ nodes, ... }}: {{ environment.etc.other.text = nodes.web1.networking.hostName; }};
          }};
        }}""",
        """
          let system = path: builtins.match "nixos-system-.*" path.name != null; in
          builtins.mapAttrs
            (_: node: { config.system.build.toplevel = builtins.head (builtins.filter system node.closurePaths); })
            (import ./network.nix).config.nodes
        """,
    ),
}


@with_tools
@pytest.mark.parametrize("tool", NETWORKS)
def test_the_system_of_the_original_tool(tmp_path: Path, by: Nix, tool: str) -> None:
    network, theirs = NETWORKS[tool]
    for name, text in {"network.nix": network, **MODULES}.items():
        (tmp_path / name).write_text(text)
    # nixus fetches a nixpkgs of its own.
    shutil.copytree(f"{TOOLS}/nixus", tmp_path / "nixus")
    (tmp_path / "nixus/nixpkgs.nix").write_text(str(TREE))
    (tmp_path / "both.nix").write_text(f"""
        let
          path = system: builtins.unsafeDiscardStringContext system.drvPath;
          ours = import {REPOSITORY}/plugins/plugin_utils/nix/fleet {{ files = [ ./network.nix ]; }};
        in
        {{
          inherit (ours) format;
          hosts = builtins.mapAttrs (name: node: {{
            theirs = path node.config.system.build.toplevel;
            ours = path ours.hosts.${{name}}.toplevel;
          }}) ({theirs});
        }}
    """)
    argv = ["nix-instantiate", "--eval", "--strict", "--json", str(tmp_path / "both.nix")]
    found = json.loads(by.run(argv, step=Step.EVALUATE).stdout)
    # No format is given: what the tool itself reads or returns tells it.
    assert found["format"] == tool
    assert set(found["hosts"]) == {"web1", "web2"}
    for name, systems in found["hosts"].items():
        assert systems["ours"] == systems["theirs"], name
    listed = listing_of(fleet_in(tmp_path, "network.nix", by=by), by=by).hosts
    assert "192.0.2.1" in listed["web1"]["target_host"]
