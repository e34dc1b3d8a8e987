# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A module system in one page: options have defaults, definitions are merged attribute by attribute and the last one
# wins. There are neither types nor priorities, which is enough where nobody makes a mistake. Names are those of
# nixpkgs' library.
let
  inherit (builtins) all attrNames concatMap filter foldl' hasAttr head isAttrs isFunction length listToAttrs
    mapAttrs stringLength substring tail;

  isOption = value: isAttrs value && (value._type or "") == "option";
  isMark = kind: value: isAttrs value && (value._type or "") == kind;
  unwrapped = value: if isMark "order" value then unwrapped value.content else value;
  # A definition that does not apply counts as none.
  applies = value: !(isMark "if" value && !value.condition);
  definition = value: unwrapped (if isMark "if" value then value.content else value);

  merge = values:
    let defined = map definition (filter applies values); in
    if defined == [ ] then null
    else if length defined > 1 && all (value: isAttrs value && !(value ? outPath) && !(value ? type)) defined then
      mapAttrs (name: _: merge (map (set: set.${name}) (filter (hasAttr name) defined)))
        (foldl' (sum: set: sum // set) { } defined)
    else lib.last defined;

  # The value of each declared option, then whatever is defined beyond them.
  evaluate = options: config:
    config // mapAttrs
      (name: option:
        if !isOption option then evaluate option (config.${name} or { })
        else
          let value = if hasAttr name config then config.${name} else option.default; in
          if option ? apply then option.apply value else value)
      options;

  evalModules = { modules, specialArgs ? { }, ... }:
    let
      arguments = { inherit lib config; options = { }; pkgs = { }; } // specialArgs;
      loaded = concatMap load modules;
      load = module:
        let
          read = if isFunction module || isAttrs module then module else import module;
          value = if isFunction read then read arguments else read;
          structured = value ? config || value ? options;
          own = if structured then value.config or { } else removeAttrs value [ "imports" "_file" "key" ];
        in
        [{ options = value.options or { }; config = own; }] ++ concatMap load (value.imports or [ ]);
      config = evaluate (merge (map (module: module.options) loaded)) (merge (map (module: module.config) loaded));
    in
    { inherit config; options = { }; };

  lib = builtins // {
    inherit evalModules;
    modules = { inherit evalModules; };
    version = "24.11";
    # Nobody looks at a type, but Nix looks up a plain name at once where it comes from `with lib.types`.
    types = { str = { }; int = { }; bool = { }; path = { }; unspecified = { }; };
    mkOption = option: option // { _type = "option"; };
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkDefault = content: { _type = "order"; inherit content; };
    mkOptionDefault = lib.mkDefault;
    mkBefore = lib.mkDefault;
    stringAfter = _: text: text;
    assertMsg = condition: message: condition || throw message;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    filterAttrs = keep: set:
      listToAttrs (map (name: { inherit name; value = set.${name}; }) (filter (name: keep name set.${name}) (attrNames set)));
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    flip = f: a: b: f b a;
    optional = condition: value: if condition then [ value ] else [ ];
    last = list: if length list == 1 then head list else lib.last (tail list);
    removeSuffix = suffix: text:
      let end = stringLength text - stringLength suffix; in
      if end >= 0 && substring end (-1) text == suffix then substring 0 end text else text;
    scrubOptionValue = value: value;
  };
in
lib
