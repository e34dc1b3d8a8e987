# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Find out whether a user other than root could change what an installed guard runs, reads or activates.

# look_for_reach PROGRAM PROFILE: set UNSAFE to what such a user can do; empty if nothing
look_for_reach() {
    walk "$1" "${2%/*}" "$(state_directory)" "$ROOT/nix/var/nix/db" "$ROOT/nix/store"
}
