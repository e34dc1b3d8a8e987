# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Modules for an evaluation that is asked for nothing but `deployment`: a list of hosts.
#
# The module system compares all definitions of a system with all declarations before it gives any value, which is most of
# the work of listing a host. Without that check a misspelt `deployment` would be ignored, so `deployment` becomes a
# submodule: that has the check for itself. The rest is checked when the system is evaluated.
#
# Declarations go into a submodule since nixpkgs 22.05. With older ones everything is checked: the list is empty.
lib:

if builtins.compareVersions (lib.version or lib.nixpkgsVersion or "0") "22.05" < 0 then [ ]
else [{
  _file = "nixferry.deploy: what lists hosts";
  key = "nixferry.deploy/lean";
  config._module.check = false;
  options.deployment = lib.mkOption { type = lib.types.submodule { }; default = { }; };
}]
