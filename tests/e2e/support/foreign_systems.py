# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derivations for a system that only a builder has."""

from __future__ import annotations

from workstation import FOREIGN

# A host's system with a file that leads to the output of a derivation for another system.
SYSTEMS = """
let
  foreign = derivation {
    name = "built-elsewhere";
    system = "SYSTEM";
    builder = "/bin/sh";
    args = [ "-c" ''
      read -r host </proc/sys/kernel/hostname
      read -r inside outside count </proc/self/uid_map
      [ ! -e /usr/local/lib/nix-builder ] || outside="$outside, which sees the builder's files"
      printf '%s\\n' "system=$system host=$host user=$outside" >"$out"
    '' ];
  };
  seed = builtins.path { path = ./seed; name = "mini-nixos-seed"; };
in
import ./mini-nixos.nix { inherit seed; platform = builtins.currentSystem; } {
  HOST.etc.built-elsewhere = "${foreign}";
}
""".replace("SYSTEM", FOREIGN)
