# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which tool a fleet file was written for, from the values of the files.
values:

let
  inherit (builtins) any concatLists concatStringsSep attrNames head isAttrs length map;

  first = head values;
  network = concatLists (map (value: if isAttrs (value.network or null) then attrNames value.network else [ ]) values);
  hasAny = names: any (name: builtins.elem name network) names;
in
if length values > 1 then "nixops"
else if first ? __schema || first ? meta then "colmena"
else if isAttrs (first.config or null) && first.config ? nodes then "nixus"
else if isAttrs (first.deploy or null) && first.deploy ? nodes then
  throw "the file has deploy-rs' attribute `deploy`: its systems are built from nixosConfigurations, so name the flake that has both"
# colmena takes `network` for `meta`, as NixOps files have it; these only colmena knows.
else if hasAny [ "nodeNixpkgs" "nodeSpecialArgs" "machinesFile" "allowApplyAll" "name" ] then "colmena"
else if hasAny [ "pkgs" "lib" "evalConfig" "specialArgs" "ordering" "runCommand" "nixConfig" "buildShell" ] then "morph"
else if first == { } then throw "the fleet file is an empty set"
else if first ? type && first.type == "derivation" then
  throw "the fleet file is a derivation, which says nothing about hosts: it has ${concatStringsSep ", " (attrNames first)}"
else "nixops"
