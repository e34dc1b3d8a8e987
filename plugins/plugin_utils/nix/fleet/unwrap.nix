# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The derivation of the system inside the result of deploy-rs' functions `lib.activate.*`.
#
# They make a directory of links, with buildEnv of nixpkgs, to the system and to two scripts of deploy-rs. Its name is the
# system's name with a prefix. The way in which buildEnv gets the paths differs between releases, and the system itself is
# not an attribute of the result. But the inputs of a derivation are in its own attributes, as text with a context: the
# system is the input with the remaining name. `where` names the host and the profile for messages.
where: path:

let
  inherit (builtins) appendContext attrNames filter getContext head isAttrs isList isString length listToAttrs map match
    replaceStrings split storeDir toJSON typeOf unsafeDiscardStringContext;

  refuse = why: throw "${where}.path ${why}. What is deployed is the system that deploy-rs' own lib.activate.nixos wraps: write `path = deploy-rs.lib.<platform>.activate.nixos self.nixosConfigurations.<name>;`, or name the output nixosConfigurations instead of deploy";

  called = match "activatable-(.+)" path.name;
  name = head called;
  # Characters with a meaning in regular expressions.
  pattern = replaceStrings [ "." "+" "?" ] [ "\\." "\\+" "\\?" ] name;

  text = toJSON path.drvAttrs;
  derivations = filter (drv: match ".*/[0-9a-z]{32}-${pattern}\\.drv" drv != null) (attrNames (getContext text));
  outputs = attrNames (listToAttrs (map (found: { name = head found; value = null; })
    (filter isList (split "(${storeDir}/[0-9a-z]{32}-${pattern})($|[^0-9A-Za-z+._?=-])" (unsafeDiscardStringContext text)))));

  derivation = head derivations;
  unwrapped = {
    inherit name;
    inherit (path) system;
    type = "derivation";
    drvPath = appendContext derivation { ${derivation}.allOutputs = true; };
    outPath = appendContext (head outputs) { ${derivation}.outputs = [ "out" ]; };
    outputs = [ "out" ];
    outputName = "out";
    out = unwrapped;
  };
in
if !isAttrs path then refuse "is a ${typeOf path}, which does not tell what it activates"
else if !(path ? drvAttrs && path ? name && isString path.name) then refuse "is a set that is not a derivation"
else if called == null then refuse "is the derivation ${path.name}, which deploy-rs' lib.activate has not made"
else if match "darwin-system-.*" name != null then
  throw "${where} activates ${name}, which is a Mac: it is deployed from the output darwinConfigurations, not from deploy"
else if match "home-manager-generation.*" name != null then
  throw "${where} activates ${name}, which is a home: it is deployed from the output homeConfigurations, not from deploy"
else if length derivations != 1 || length outputs != 1 then
  refuse "is the derivation ${path.name}, but it is made of ${if derivations == [ ] then "nothing" else "more than one thing"} called ${name}"
else unwrapped
