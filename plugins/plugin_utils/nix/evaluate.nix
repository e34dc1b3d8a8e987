# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Finds the derivations behind attribute paths and describes them as data that survives JSON; or, with `data`, finds
# the values themselves.
#
# root       the start of all paths: the value of a file, an expression, or an attribute of a flake
# arguments  the arguments of functions on the path, like --arg of nix-instantiate
# prefix     the names that lead to root, for messages
# requests   { "<name>" = [ "<attribute>" ... ]; }
# specialArgs  { "<name>" = { ... }; }: further arguments for the modules of the system that a request leads to
# data       whether to return the values: without functions, a path as its name, a derivation as its store path
# bare       whether to return the derivations themselves, for a program that describes them
#
# Result: { "<name>" = { drv_path = "..."; outputs = { out = "/nix/store/..."; ... }; about = { ... }; }; }, with `data` the
# values, with `bare` the derivations. `about` is what a fleet says about the host of a system, null for anything else.
# Only what the requests need is evaluated. The text is also passed to `nix eval --apply`, which cannot read other
# files: it must stay a single expression without paths.
{ root, arguments, prefix, requests, specialArgs ? { }, data ? false, bare ? false }:

let
  inherit (builtins)
    attrNames concatStringsSep elemAt filter foldl' functionArgs genList intersectAttrs isAttrs isFunction isList
    isPath length listToAttrs map mapAttrs match seq toXML typeOf;

  # Nix's autoCallFunction: it calls only functions that name their arguments, with these arguments, or with all of them
  # if the function has `...`. Only the XML form of a function distinguishes these cases.
  call = value:
    if isAttrs value && value ? __functor then call (value.__functor value)
    else if !isFunction value then value
    else
      let
        form = toXML value;
        takesNamed = match ".*<attrspat.*" form != null;
        takesMore = match ".*<attrspat[^>]* ellipsis=\"1\".*" form != null;
      in
      if !takesNamed then value
      else value (if takesMore then arguments else intersectAttrs (functionArgs value) arguments);

  available = value:
    let
      names = attrNames value;
      first = genList (elemAt names) (if length names > 12 then 12 else length names);
    in
    if names == [ ] then "it has no attributes"
    else "it has ${concatStringsSep ", " first}${if length names > 12 then ", ..." else ""}";

  shown = path: concatStringsSep "." (prefix ++ path);

  step = path: value: attribute:
    let
      called = call value;
      where = "attribute '${attribute}' in selection path '${shown path}' not found";
    in
    if isList called && match "[0-9]+" attribute != null then elemAt called (builtins.fromJSON attribute)
    else if !isAttrs called then throw "${where}: what comes before it is a ${typeOf called}"
    else called.${attribute} or (throw "${where}: ${available called}");

  isDerivation = value: isAttrs value && value.type or null == "derivation";

  # A system's evaluation stands for its toplevel: NixOS and nix-darwin, then home-manager.
  toDerivation = path: found:
    let value = call found; in
    if isDerivation value then value
    else if isAttrs value && value ? config.system.build.toplevel then value.config.system.build.toplevel
    else if isAttrs value && value ? activationPackage then value.activationPackage
    else
      throw "${named path} is ${
        if isAttrs value then "a set that is neither a derivation nor a system: ${available value}"
        else "a ${typeOf value}, not a derivation"}";

  named = path: if prefix ++ path == [ ] then "the value" else "attribute '${shown path}'";

  # Leave values to Nix's own JSON if it makes a string of them. Do not copy a path to the store.
  plain = path: value:
    if isFunction value then throw "${named path} is a function, which is not data"
    else if isPath value then toString value
    else if isList value then genList (number: plain (path ++ [ (toString number) ]) (elemAt value number)) (length value)
    else if isAttrs value && !(value ? __toString || value ? outPath) then mapAttrs (name: plain (path ++ [ name ])) value
    else value;

  # lib.evalModules evaluates again with `extendModules`, and NixOS' and others' own functions pass that on. The first
  # evaluation on the path is the system; everything below it comes from the evaluation with the arguments.
  extend = given: value: extended:
    let evaluation = call value; in
    if given != { } && !extended && isAttrs evaluation && evaluation ? extendModules
    then { value = evaluation.extendModules { specialArgs = given; }; extended = true; }
    else { inherit value extended; };

  follow = given: path:
    let
      found = foldl'
        (state: attribute: extend given (step path state.value attribute) state.extended)
        (extend given root false)
        path;
    in
    if given == { } || found.extended then found.value
    else throw "${named path} has no use for specialArgs: nothing on the way to it is an evaluation with extendModules";

  derivationAt = name: path: toDerivation path (follow (specialArgs.${name} or { }) path);

  describe = name: path:
    let
      derivation = derivationAt name path;
      given = (specialArgs.${name} or { }) != { };
    in
    {
      drv_path = derivation.drvPath;
      outputs = listToAttrs (map
        (output: { name = output; value = (derivation.${output} or derivation).outPath; })
        (derivation.outputs or [ "out" ]));
      about = if given then null else aboutHost path;
    };

  # The system of a fleet's host is beside it; the name is that of main.nix for fleets, and no other one's.
  aboutHost = path:
    let parent = follow { } (genList (elemAt path) (length path - 1)); in
    if path != [ ] && isAttrs parent then parent.nixferryAbout or null else null;
in
seq root (mapAttrs
  (name: path:
    if data then plain path (call (follow { } path))
    else if bare then derivationAt name path
    else describe name path)
  requests)
