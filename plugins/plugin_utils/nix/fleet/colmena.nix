# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# colmena: `meta` (or `network`), `defaults`, and hosts; a file, or the output `colmena` of a flake.
{ value, defaults, located, module, sources, purely, deployment, extra, keys, nixpkgs, options, ssh-access, searched, chosen, lean, ... }:

let
  inherit (builtins) attrNames elem filter head isAttrs isList isPath listToAttrs map mapAttrs;

  file = (head sources).name;

  meta =
    if value ? meta && value ? network then throw "only one of `meta` and `network` may be there; `network` is for files from NixOps"
    else value.meta or value.network or { };

  read = what: given:
    if purely && (isPath given || (isAttrs given && given ? outputs)) then
      throw "${what} must be an imported package set in a flake, as in `import nixpkgs { system = \"x86_64-linux\"; }`"
    else nixpkgs what { overlays = [ ]; } given;

  common = read "meta.nixpkgs"
    (if (meta.nixpkgs or null) != null then meta.nixpkgs
    else if purely then throw "meta.nixpkgs must be set in a flake"
    else searched (if value ? network then "network" else "meta") "nixpkgs");
  packagesOf = name:
    if (meta.nodeNixpkgs or { }) ? ${name} then read "meta.nodeNixpkgs.${name}" meta.nodeNixpkgs.${name} else common;

  reserved = [ "defaults" "network" "meta" ];
  names = filter (name: !elem name reserved) (attrNames value);

  evaluate = added: name:
    let
      packages = packagesOf name;
      modules = if isList value.${name} then value.${name} else [ value.${name} ];
    in
    import (packages.path + "/nixos/lib/eval-config.nix") {
      system = packages.stdenv.hostPlatform.system or packages.system;
      modules = [
        ({ lib, ... }: {
          _file = "nixferry.deploy: what colmena adds to every host";
          key = "nixferry.deploy/colmena";
          imports = [ (options { format = chosen; host = name; }) ];
          nixpkgs.overlays = lib.mkBefore (packages.overlays or [ ]);
          # Since 22.11 this merges with the host's own value.
          nixpkgs.config =
            if lib.versionAtLeast (lib.version or lib.nixpkgsVersion) "22.11pre" then lib.mkBefore (packages.config or { })
            else lib.mkOptionDefault (packages.config or { });
        })
        (located packages.lib file (defaults value))
      ] ++ map (each: located packages.lib file (module name each)) modules ++ extra names name ++ added;
      specialArgs = { inherit name; nodes = unchecked; } // (meta.specialArgs or { }) // (meta.nodeSpecialArgs.${name} or { });
    };
  evaluateAll = added: listToAttrs (map (name: { inherit name; value = evaluate added name; }) names);
  unchecked = evaluateAll [{ _module.check = false; }];
  data = name: config:
    deployment { inherit keys; format = chosen; host = name; inherit (config) deployment; ssh_access = ssh-access name config; };
in
{
  base = common;
  places = [ value ];
  meta = {
    name = meta.name or "hive";
    description = meta.description or "";
    options = if (meta.machinesFile or null) == null then { } else { builders = "@${toString meta.machinesFile}"; };
  };
  hosts = mapAttrs
    (name: node: {
      deployment = data name node.config;
      listed = data name (evaluate (lean (packagesOf name).lib) name).config;
      secrets = (keys { inherit (node.config.deployment) keys; }).complete;
      toplevel = node.config.system.build.toplevel;
    })
    (evaluateAll [ ]);
}
