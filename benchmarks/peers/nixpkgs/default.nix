# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# As much of nixpkgs as fleet tools ask for before they come to a system: a library with a module system, eval-config,
# and runCommand. The systems themselves are mini NixOS, which needs none of it.
{ seed }: # a directory with bin/busybox, the only program here
let
  lib = import ./lib.nix;
  busybox = "${seed}/bin/busybox";
  system = builtins.currentSystem;
in
{
  inherit lib system;
  path = ./.;
  overlays = [ ];
  config = { };
  runCommand = name: environment: script: derivation (environment // {
    inherit name system;
    builder = busybox;
    args = [ "sh" "-euc" ''
      mkdir() { ${busybox} mkdir "$@"; }
      ln() { ${busybox} ln "$@"; }
      ${script}
    '' ];
  });
}
