# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Outputs of flakes with one evaluation per host: nixosConfigurations, darwinConfigurations, homeConfigurations.
# A NixOS host with the options of options.nix, or similar ones, gives its address there.
kind: { value, deployment, extend, keys, setsOf, ssh-access, chosen, ... }:

let
  systems = setsOf { all = "the set of hosts"; each = "a NixOS configuration, as `nixosSystem` and eval-config.nix return it"; } value;
  said = system:
    if !(system ? config) then
      throw "a host in the format nixos is a NixOS configuration, with an attribute `config`, but there is a set that has ${builtins.concatStringsSep ", " (builtins.attrNames system)}"
    else if kind == "nixos" && system.config ? deployment then system.config.deployment else { };
in
{
  meta = { description = ""; options = { }; };
  places = [ value ];
  hosts = builtins.mapAttrs
    (name: system: {
      deployment = deployment { inherit keys; format = chosen; host = name; deployment = said system; ssh_access = if kind == "nixos" then ssh-access name system.config else null; } // { inherit kind; };
      secrets = (keys { keys = (said system).keys or { }; secrets = (said system).secrets or { }; }).complete;
      toplevel = if kind == "nixos" then extend (builtins.attrNames value) name system else system;
    })
    (if kind == "nixos" then systems else value);
}
