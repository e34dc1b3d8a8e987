# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Detect the tool of a fleet file from the values of the files. `shape` is shape.nix.
# The order matters: nixus returns the derivation of its script merged with its evaluation, and every derivation of
# nixpkgs has the attribute `meta`, which is also the name of colmena's settings. No host is evaluated.
shape: values:

let
  inherit (builtins) any concatLists elem attrNames head isAttrs length map;

  first = head values;
  network = concatLists (map (value: if isAttrs (value.network or null) then attrNames value.network else [ ]) values);
  hasAny = names: any (name: elem name network) names;
  # A host may be named `config`, so use it only if the rest of an evaluation is there, or nothing else.
  evaluation = first ? config && (first ? options || first ? drvPath || attrNames first == [ "config" ]);
  # A host may also be named `deploy`, if the file is clearly of another tool.
  nodes = !(first ? network || first ? meta) && isAttrs (first.deploy or null) && first.deploy ? nodes;
in
if length values > 1 then "nixops"
else if first ? __schema then "colmena"
else if evaluation && isAttrs first.config && first.config ? nodes then "nixus"
else if first == { } then throw "the fleet file is an empty set"
else if nodes then "deploy-rs"
# The caller reports the error.
else if shape first != null then null
else if first ? meta then "colmena"
# colmena accepts `network` as `meta`, like NixOps files; only colmena knows these.
else if hasAny [ "nodeNixpkgs" "nodeSpecialArgs" "machinesFile" "allowApplyAll" "name" ] then "colmena"
else if hasAny [ "pkgs" "lib" "evalConfig" "specialArgs" "ordering" "runCommand" "nixConfig" "buildShell" ] then "morph"
else "nixops"
