# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Reads fleet files for Nix users: (import ./fleet) { files = [ ./network.nix ]; }. Returns the result of main.nix.
# The collection itself joins the same parts to one text, for evaluations that cannot read files.
import ./main.nix {
  access = import ./access.nix;
  colmena = import ./colmena.nix;
  deploy-rs = import ./deploy-rs.nix;
  deployment = import ./deployment.nix;
  detect = import ./detect.nix;
  hive = import ./hive.nix;
  key-options = import ./key-options.nix;
  keys = import ./keys.nix;
  lean = import ./lean.nix;
  morph = import ./morph.nix;
  nixops = import ./nixops.nix;
  nixpkgs = import ./nixpkgs.nix;
  nixus = import ./nixus.nix;
  options = import ./options.nix;
  shape = import ./shape.nix;
  systems = import ./systems.nix;
  unwrap = import ./unwrap.nix;
}
