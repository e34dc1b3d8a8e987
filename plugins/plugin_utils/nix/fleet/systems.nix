# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Outputs of flakes with one evaluation per host: nixosConfigurations, darwinConfigurations, homeConfigurations.
# A NixOS host with the options of options.nix, or similar ones, gives its address there.
kind: { value, deployment, extend, keys, setsOf, ssh-access, chosen, lean, ... }:

let
  systems = setsOf { all = "the set of hosts"; each = "a NixOS configuration, as `nixosSystem` and eval-config.nix return it"; } value;
  # What a configuration says about its deployment, of which nothing else is asked.
  said = config: if kind == "nixos" then config.deployment or { } else { };
  data = name: config:
    deployment {
      inherit keys;
      format = chosen;
      host = name;
      deployment = said config;
      ssh_access = if kind == "nixos" then ssh-access name config else null;
    } // { inherit kind; };
  configOf = system:
    system.config or (throw "a host in the format nixos is a NixOS configuration, with an attribute `config`, but there is a set with the attributes [ ${toString (builtins.attrNames system)} ]");
  # The declarations of a system cost less than its values. Most systems declare nothing that is asked for here.
  leanConfigOf = system:
    if kind != "nixos" || !(system ? options && system ? config) then configOf system
    else if !(system.options ? deployment || system.options ? nixferry) then { }
    # An option of that name takes no further declarations.
    else if system ? extendModules && system ? lib && (system.options.deployment._type or null) == null then (system.extendModules { modules = lean system.lib; }).config
    else configOf system;
in
{
  meta = { description = ""; options = { }; };
  places = [ value ];
  hosts = builtins.mapAttrs
    (name: system: {
      deployment = data name (configOf system);
      listed = data name (leanConfigOf system);
      secrets = (keys { keys = (said (configOf system)).keys or { }; secrets = (said (configOf system)).secrets or { }; }).complete;
      toplevel = if kind == "nixos" then extend (builtins.attrNames value) name system else system;
    })
    (if kind == "nixos" then systems else value);
}
