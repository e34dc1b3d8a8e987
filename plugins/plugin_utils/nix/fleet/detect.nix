# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Detect the tool of a fleet file from the values of the files. `shape` is shape.nix, `texts` are those of the files.
# The order matters: nixus returns the derivation of its script merged with its evaluation, and every derivation of
# nixpkgs has the attribute `meta`, which is also the name of colmena's settings. No host is evaluated. A host is only
# looked at where nothing else tells NixOps and morph apart, and the text has a word that only morph knows.
shape: texts: values:

let
  inherit (builtins) any concatLists elem attrNames filter functionArgs head isAttrs isFunction length listToAttrs map
    match removeAttrs split toXML tryEval;

  first = head values;
  network = concatLists (map (value: if isAttrs (value.network or null) then attrNames value.network else [ ]) values);
  hasAny = names: any (name: elem name network) names;
  # A host may be named `config`, so use it only if the rest of an evaluation is there, or nothing else.
  evaluation = first ? config && (first ? options || first ? drvPath || attrNames first == [ "config" ]);
  # A host may also be named `deploy`, if the file is clearly of another tool.
  nodes = !(first ? network || first ? meta) && isAttrs (first.deploy or null) && first.deploy ? nodes;

  # Options of a host that only morph has (data/options.nix of morph).
  ofMorph = filter
    (word: any (text: length (split word text) > 1) texts)
    [ "buildOnly" "healthChecks" "preDeployChecks" "secrets" ];
  # A module may be a function. Its arguments are not there yet; a host that needs one to say what it defines says nothing.
  defined = host:
    let missing = listToAttrs (map (name: { inherit name; value = throw name; }) (attrNames (functionArgs host))); in
    if !isFunction host then host
    else if match ".*<attrspat.*" (toXML host) == null then { }
    else host missing;
  usesMorph = host:
    let
      found = tryEval (
        let module = defined host; in
        isAttrs module && isAttrs (module.deployment or null) && any (word: module.deployment ? ${word}) ofMorph
      );
    in
    found.success && found.value;
  hosts = removeAttrs first [ "network" ];
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
else if ofMorph != [ ] && any (name: usesMorph hosts.${name}) (attrNames hosts) then "morph"
else "nixops"
