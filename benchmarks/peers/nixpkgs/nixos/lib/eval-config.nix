# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Evaluates the modules of one host; its system comes from the module that defines system.build.toplevel.
arguments:
(import ../../lib.nix).evalModules (arguments // {
  modules = arguments.modules ++ [{ config = { system.nixos.release = "mini"; assertions = [ ]; warnings = [ ]; }; }];
})
