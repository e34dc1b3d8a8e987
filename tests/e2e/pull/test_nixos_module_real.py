# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module in a real nixpkgs, which NIXPKGS_TREE names: it takes the options, the units and the files."""

from __future__ import annotations

import json

from lab import nix_environment, run
from nixos_module import NIX
from trees import TREE, with_a_tree

EXPRESSION = """
let
  config = (import %(tree)s/nixos/lib/eval-config.nix {
    system = "x86_64-linux";
    modules = [
      %(module)s
      {
        networking.hostName = "web1";
        boot.loader.grub.enable = false;
        fileSystems."/" = { device = "/dev/x"; fsType = "ext4"; };
        system.stateVersion = "24.05";
        nixferry.pull = {
          enable = true;
          repository = "ssh://git@git.example.org/systems.git";
          repositoryKeyFile = "/etc/key";
          knownHosts = [ "git.example.org ssh-ed25519 AAAAB" ];
          commitKeys = [ "ssh-ed25519 AAAAB" ];
          healthChecks = [ { unit = "nginx.service"; } ];
        };
      }
    ];
  }).config;
  ours = builtins.filter (each: each.name or "" == "nixferry-pull-units") config.systemd.packages;
in {
  failed = map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions);
  packages = map (each: each.drvPath) ours;
  rules = builtins.filter (rule: builtins.match ".*nixferry.*" rule != null) config.systemd.tmpfiles.rules;
  timer = config.systemd.units."nixferry-pull.timer".wantedBy;
  resume = config.systemd.units."nixferry-pull-resume.service".wantedBy;
}
"""


@with_a_tree
def test_nixpkgs_takes_the_module() -> None:
    expression = EXPRESSION % {"tree": TREE, "module": NIX / "pull.nix"}
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    found = json.loads(run(argv, environment=nix_environment(), timeout=600).stdout)
    assert found["failed"] == []
    assert (found["timer"], found["resume"]) == (["timers.target"], ["multi-user.target"])
    assert len(found["packages"]) == 1
    assert [rule.split()[1] for rule in found["rules"]] == [
        f"/var/lib/nixferry-pull{name}" for name in ("", "/agent", "/profile")
    ]
