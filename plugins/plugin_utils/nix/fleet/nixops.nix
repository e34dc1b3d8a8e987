# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# NixOps 1.7 and 2.0: one or several network files, or `nixopsConfigurations` of a flake.
{ arguments, call, defaults, located, module, sources, system, purely, deployment, extra, keys, nixpkgs, options, ssh-access, searched, chosen, lean, ... }:

let
  inherit (builtins)
    attrNames catAttrs concatLists concatMap concatStringsSep foldl' functionArgs genericClosure getAttr hasAttr head
    listToAttrs map mapAttrs removeAttrs;

  # In a flake, the network is named default.
  output = value: if value ? default && !(value ? network) then call "nixopsConfigurations.default" value.default else value;

  networks = map (item: item.network // { _file = item.key; }) (genericClosure {
    startSet = map (source: { key = source.name; network = if purely then output source.value else source.value; }) sources;
    operator = item: map (file: { key = toString file; network = call (toString file) (import file); }) (item.network.require or [ ]);
  });

  settings = foldl' (all: network: all // network) { } (concatMap (each: if each ? network then [ each.network ] else [ ]) networks);
  resources = foldl' (all: set: all // set) { } (catAttrs "resources" networks);

  pinned = catAttrs "nixpkgs" networks ++ catAttrs "nixpkgs" (catAttrs "network" networks);
  isFlake = pinned != [ ] && (head pinned) ? lib.nixosSystem && !((head pinned) ? path);
  packages = nixpkgs "network.nixpkgs" (if system == null then { } else { inherit system; })
    (if pinned != [ ] then head pinned
    else if purely then throw "the network in the flake has no attribute `nixpkgs`"
    else searched "network" "nixpkgs");
  lib = if isFlake then (head pinned).lib else packages.lib;
  evalConfig = if isFlake then lib.nixosSystem else import (packages.path + "/nixos/lib/eval-config.nix");

  # eval-config.nix defines nixpkgs.system itself, and before 18.09 a second definition fails, even with the same value.
  asArgument = !isFlake;
  # Arguments of modules: before 15.09 the option `_module` does not exist.
  withoutModuleArgs = !isFlake && !(functionArgs evalConfig ? specialArgs);
  moduleArguments = nodes: name: {
    inherit name nodes;
    uuid = "nixferry";
    deploymentName = "nixferry";
    resources.machines = mapAttrs (_name: node: node.config) nodes;
  };

  known = [ "network" "defaults" "resources" "require" "nixpkgs" "_file" ];
  names = attrNames (removeAttrs (foldl' (all: network: all // network) { } networks) known);

  common = nodes: name: {
    _file = "nixferry.deploy: what NixOps adds to every host";
    key = "nixferry.deploy/nixops";
    imports = [ (options { format = chosen; host = name; }) ];
    options.networking = {
      privateIPv4 = lib.mkOption { type = lib.types.str; };
      publicIPv4 = lib.mkOption { type = lib.types.nullOr lib.types.str; default = null; };
      vpnPublicKey = lib.mkOption { type = lib.types.nullOr lib.types.str; default = null; };
    };
    config = {
      networking.hostName = lib.mkOverride 900 name;
      nixpkgs = if system == null || asArgument then { } else { system = lib.mkDefault system; };
      deployment.arguments = arguments;
    } // (if withoutModuleArgs then { } else { _module.args = moduleArguments nodes name; });
  };

  evaluateAll = added:
    let
      nodes = listToAttrs (map
        (name: {
          inherit name;
          value = evalConfig ({
            # The file, for messages of the module system.
            modules = concatMap
              (network: if hasAttr name network then [{ imports = [ (module name (getAttr name network)) ]; inherit (network) _file; }] else [ ])
              networks
            ++ map (network: located lib network._file (defaults network))
              (concatMap (network: if network ? defaults then [ network ] else [ ]) networks)
            ++ [ (common nodes name) ] ++ extra names name ++ added;
          }
          // (if system != null && asArgument then { inherit system; } else { })
          // (if withoutModuleArgs then { extraArgs = moduleArguments nodes name; } else { }));
        })
        names);
    in
    nodes;
  nodes = evaluateAll [ ];
  listed = evaluateAll (lean lib);
  data = name: config:
    deployment { inherit keys; format = chosen; host = name; inherit (config) deployment; ssh_access = ssh-access name config; };

  refused = attrNames resources;
  nameOf = type: concatStringsSep ", " (attrNames resources.${type});
in
{
  base = lib;
  places = networks;
  meta = {
    description = settings.description or "";
    options = { };
  };
  hosts =
    if refused != [ ] then
      throw "resources.${head refused} (${nameOf (head refused)}) in ${concatStringsSep ", " (concatLists (map (network: if network ? resources then [ network._file ] else [ ]) networks))}: NixOps creates resources and keeps them in its state file, which is not read here. ${
        if head refused == "sshKeyPairs" then "Take the public key from `nixops export`, put it into the file as text, and remove the resource"
        else "Remove the resource, and write what the hosts need of it into the file"}"
    else mapAttrs
      (name: node: {
        deployment = data name node.config;
        listed = data name listed.${name}.config;
        secrets = (keys { inherit (node.config.deployment) keys secrets; }).complete;
        toplevel = node.config.system.build.toplevel;
      })
      nodes;
}
