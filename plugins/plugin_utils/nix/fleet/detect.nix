# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which tool a fleet file was written for, from the values of the files. `shape` is shape.nix.
# The order matters: nixus returns the derivation of its script with its evaluation on top, and every derivation that
# nixpkgs makes has the attribute `meta`, which colmena calls its own settings. Nothing of a host is looked at.
shape: values:

let
  inherit (builtins) any concatLists elem attrNames head isAttrs length map;

  first = head values;
  network = concatLists (map (value: if isAttrs (value.network or null) then attrNames value.network else [ ]) values);
  hasAny = names: any (name: elem name network) names;
  # A host may be called `config`, so it is not looked at unless the rest of an evaluation is there, or nothing else.
  evaluation = first ? config && (first ? options || first ? drvPath || attrNames first == [ "config" ]);
  # Nor one called `deploy`, where the file says that it is of another tool.
  nodes = !(first ? network || first ? meta) && isAttrs (first.deploy or null) && first.deploy ? nodes;
in
if length values > 1 then "nixops"
else if first ? __schema then "colmena"
else if evaluation && isAttrs first.config && first.config ? nodes then "nixus"
else if first == { } then throw "the fleet file is an empty set"
else if nodes then "deploy-rs"
# The caller says what it is.
else if shape first != null then null
else if first ? meta then "colmena"
# colmena takes `network` for `meta`, as NixOps files have it; these only colmena knows.
else if hasAny [ "nodeNixpkgs" "nodeSpecialArgs" "machinesFile" "allowApplyAll" "name" ] then "colmena"
else if hasAny [ "pkgs" "lib" "evalConfig" "specialArgs" "ordering" "runCommand" "nixConfig" "buildShell" ] then "morph"
else "nixops"
