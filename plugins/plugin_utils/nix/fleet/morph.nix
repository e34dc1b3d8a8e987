# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# morph: `network` with pkgs, lib, evalConfig and specialArgs, `defaults`, and hosts.
{ value, defaults, located, module, sources, deployment, extra, keys, nixpkgs, options, ssh-access, searched, chosen, lean, ... }:

let
  inherit (builtins) attrNames head listToAttrs map mapAttrs removeAttrs typeOf isString;

  network = value.network or { };
  packages = if network ? pkgs then nixpkgs "network.pkgs" { } network.pkgs else { };
  lib = network.lib or packages.lib or (import (searched "network" "pkgs" + "/lib"));
  evalConfig = import (network.evalConfig or ((packages.path or (searched "network" "pkgs")) + "/nixos/lib/eval-config.nix"));
  file = (head sources).name;

  # Hosts cannot set their own package set and platform.
  old = !(lib.versionAtLeast (lib.version or lib.nixpkgsVersion) "18.03");

  evaluate = added: name: evalConfig ({
    specialArgs = network.specialArgs or { };
    modules = [
      { _file = file; imports = [ (module name value.${name}) ]; }
      (located lib file (defaults value))
      {
        _file = "nixferry.deploy: what morph adds to every host";
        key = "nixferry.deploy/morph";
        imports = [ (options { format = chosen; host = name; }) ];
        networking.hostName = lib.mkDefault name;
        nixpkgs = if packages == { } || old then { } else { pkgs = lib.mkDefault packages; };
        _module.args = { inherit name; nodes = unchecked; };
      }
    ] ++ extra names name ++ added;
  } // (
    if !old then { system = null; }
    else if packages == { } then { }
    else { pkgs = packages; inherit (packages) system; }
  ));
  names = attrNames (removeAttrs value [ "network" "defaults" "resources" "require" "_file" ]);
  evaluateAll = added: listToAttrs (map (name: { inherit name; value = evaluate added name; }) names);
  unchecked = evaluateAll [{ _module.check = false; }];
  data = name: config:
    deployment { inherit keys; format = chosen; host = name; inherit (config) deployment; ssh_access = ssh-access name config; };

  setting = name: value:
    if isString value then value else throw "network.nixConfig.${name} should be a string, but it is a ${typeOf value}";
in
{
  base = builtins.seq evalConfig lib;
  places = [ value ];
  meta = {
    description = network.description or "";
    options = mapAttrs setting (network.nixConfig or { });
    ordering = network.ordering.tags or [ ];
  };
  hosts = mapAttrs
    (name: node: {
      deployment = data name node.config;
      listed = data name (evaluate (lean lib) name).config;
      secrets = (keys { inherit (node.config.deployment) keys secrets; }).complete;
      toplevel = node.config.system.build.toplevel;
    })
    (evaluateAll [ ]);
}
