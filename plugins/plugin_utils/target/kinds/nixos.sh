# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# NixOS, as root. Sources: nixos/modules/system/activation/switch-to-configuration.pl and switch-to-configuration-ng of
# nixpkgs for the actions and exit codes. An exit code may also be the errno of the last fault, at any point: 11
# (EAGAIN), 4 (EINTR) and 100 (ENETDOWN) prove nothing by themselves. Releases until 24.05 wait for the lock, later ones
# refuse.

# shellcheck disable=SC2034 # other parts read them
nixos_properties() {
    KIND_REQUIRED='bin/switch-to-configuration nixos-version'
    KIND_PROFILE=/nix/var/nix/profiles/system
    KIND_CURRENT=/run/current-system
    KIND_BOOTED=/run/booted-system
    KIND_HAS_BOOT_DEFAULT=1
    KIND_CHECK_UNITS=1
    KIND_EXIT_FAILED_UNITS=4
    KIND_EXIT_REBOOT_REQUIRED=100
    KIND_EXIT_LOCKED=11
    KIND_LOCK=/run/nixos/switch-to-configuration.lock
    KIND_LOCKED_WORDS='Could not acquire lock'
    KIND_BEGUN_WORDS='activating the configuration'
    KIND_UNFINISHED=/run/nixos/start-list
}

nixos_activate() { "$SYSTEM/bin/switch-to-configuration" test; }

nixos_dry_activate() { "$SYSTEM/bin/switch-to-configuration" dry-activate; }

nixos_roll_back() { "$OLD_SYSTEM/bin/switch-to-configuration" test; }

# Run `boot` of the toplevel first and of the specialisation second. The boot loader programs get the path of the new
# default. Those that know only whole generations (systemd-boot-builder.py before 2025) ignore a specialisation's path,
# and would leave the OLD generation the default.
# The profile reaches the disk before the boot loader does: after a power cut the host must not boot a system that is not
# a generation.
nixos_commit() {
    make_sure_of_profile || return
    { sync -f "$PROFILE" || sync; } 2>/dev/null
    "$TOPLEVEL/bin/switch-to-configuration" boot || return
    [ "$SYSTEM" = "$TOPLEVEL" ] || "$SYSTEM/bin/switch-to-configuration" boot
}

# Look up the specialisation that booted by default among the children of the old toplevel: its path does not name its
# parent. Where the boot loader is unknown, this is taken to be the one that was running.
# shellcheck disable=SC3013 # every /bin/sh that runs Nix knows -ef
nixos_restore_boot_default() {
    "$OLD_TOPLEVEL/bin/switch-to-configuration" boot || return
    for child in "$OLD_TOPLEVEL"/specialisation/*; do
        if [ "$child" -ef "${OLD_BOOT_DEFAULT:-$OLD_SYSTEM}" ]; then "$child/bin/switch-to-configuration" boot || return; fi
    done
}

# The programs that install a boot loader write an entry for every generation of the profile, and make the toplevel that
# they are given the default: here it is the old one, by its own program.
nixos_prepare_boot() { make_sure_of_profile && nixos_restore_boot_default; }
