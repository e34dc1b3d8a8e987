# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Describe in words a value that cannot be a set of hosts; null: it may be one. Only the names of its attributes and the
# kind of set that it claims to be are checked: nothing below it is evaluated.
value:

let
  inherit (builtins) any isAttrs isString typeOf;

  words = {
    bool = "a boolean";
    float = "a number";
    int = "a number";
    lambda = "a function";
    list = "a list";
    null = "null";
    path = "a path";
    string = "a string";
  };
  # Later versions of a tool may use other names, so a value is a set of hosts until proved otherwise.
  is = attribute: name: value ? ${attribute} && isString value.${attribute} && value.${attribute} == name;
  # A module may have `config` and `options` as well, but nothing of what lib.evalModules adds to them.
  evaluated = value ? config && value ? options && any (name: value ? ${name}) [ "extendModules" "pkgs" "_module" ];
  outputs = [ "nixosConfigurations" "darwinConfigurations" "homeConfigurations" "colmenaHive" "nixopsConfigurations" ];
in
if !isAttrs value then words.${typeOf value} or "a ${typeOf value}"
else if is "type" "derivation" || value ? drvPath && value ? outPath then
  "a derivation${if value ? name && isString value.name then " called ${value.name}" else ""}"
else if is "_type" "configuration" || evaluated then "one configuration that has been evaluated already"
else if is "_type" "flake" || any (name: value ? ${name}) outputs then "what a flake has as its outputs"
else if value ? stdenv && value ? lib then "a package set"
else null
