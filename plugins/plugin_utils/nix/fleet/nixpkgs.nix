# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The package set of a path to nixpkgs, of the function in it, or of the function's result.
# `what` names the place for messages.
what: arguments:

let
  inherit (builtins) isAttrs isFunction isPath isString typeOf;

  read = value:
    if isFunction value then read (value arguments)
    else if isAttrs value && value ? lib && value ? path then value
    else if isAttrs value && value ? legacyPackages then
      throw "${what} is a flake; import it for a platform, as in `import nixpkgs { system = \"x86_64-linux\"; }`"
    else if isPath value || isString value || (isAttrs value && value ? outPath) then read (import value)
    else throw "${what} should be a package set or a path to nixpkgs, but it is a ${typeOf value}${if isAttrs value then " without `lib` and `path`" else ""}";
in
read
