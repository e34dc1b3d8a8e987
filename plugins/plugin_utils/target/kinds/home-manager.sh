# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# home-manager, as the user whose home it is. Read from modules/home-environment.nix, modules/files.nix,
# modules/lib-bash/activation-init.sh and home-manager/home-manager of home-manager: see
# tests/fixtures/mini-home-manager/README.md.

STATE_HOME=${XDG_STATE_HOME:-$HOME/.local/state}
# The generation that was activated last. What it has linked and the next one lacks is removed from the home.
CURRENT_HOME=$STATE_HOME/home-manager/gcroots/current-home

# The activation compares it with the user that it was built for; not every way to become a user sets it.
USER=$(id -un)
export USER

# Driver version 1: the caller sets the profile. Generations without `gen-version` (before 25.11) take no arguments
# and set it all the same.
activate_home() { "$1/activate" --driver-version 1; }

# Where home-manager has its profile, by its own rules: beside the user's other profiles, and where those are has
# changed with Nix 2.14. On a host where the user never called Nix, that directory does not exist yet.
find_profile() {
    profiles=$STATE_HOME/nix/profiles
    if [ ! -d "$profiles" ]; then
        nix_version=$(nix-env --version)
        case $(id -u):${nix_version##* } in
            0:* | *:2.[0-9].* | *:2.1[0-3].*) profiles=${NIX_STATE_DIR:-/nix/var/nix}/profiles/per-user/$USER ;;
        esac
    fi
    echo "$profiles/home-manager"
}

# Units of the new generation, by name
units_of_home() {
    if [ -d "$SYSTEM/home-files/.config/systemd/user" ]; then
        (cd "$SYSTEM/home-files/.config/systemd/user" && for unit in *.*; do [ -d "$unit" ] || echo "$unit"; done)
    fi
}

# The user had no generation before. The program that removes one has to be built for it, so its work is done here: but
# for what an activation script of the user's own has done.
deactivate() {
    # shellcheck disable=SC2046 # names of units
    if [ -n "$(units_of_home)" ]; then systemctl --user stop $(units_of_home) 2>/dev/null; fi
    home_files=$(readlink -f "$SYSTEM/home-files") || exit
    (cd "$home_files" && find . -type f -o -type l) | while IFS= read -r file; do
        file=${file#./}
        if [ "$(readlink "$HOME/$file")" != "$home_files/$file" ]; then continue; fi
        rm -f "$HOME/$file" || exit
        backup=$HOME/$file.${HOME_MANAGER_BACKUP_EXT:-}
        if [ -n "${HOME_MANAGER_BACKUP_EXT:-}" ] && [ -e "$backup" ]; then mv "$backup" "$HOME/$file" || exit; fi
        case $file in */*) (cd "$HOME" && rmdir -p "${file%/*}" 2>/dev/null) || true ;; esac
    done || exit
    if nix-env -q 2>/dev/null | grep -qx home-manager-path; then nix-env -e home-manager-path || exit; fi
    systemctl --user daemon-reload 2>/dev/null
    rm -f "$CURRENT_HOME"
}

roll_back() {
    # However far the new generation has come, what it has linked and started goes, if the old one takes it for its
    # predecessor. Without this it only goes when the new one had come to its end.
    if [ -e "$CURRENT_HOME" ]; then
        nix-store --realise "$SYSTEM" --add-root "$CURRENT_HOME" --indirect >/dev/null || exit
    fi
    profile_link=$(readlink "$PROFILE")
    activate_home "$OLD_SYSTEM" || exit
    # An old generation of the kind that sets the profile makes a new number for it, unless it was the newest.
    profile_made=$(readlink "$PROFILE")
    if [ -n "$profile_link" ] && [ "$profile_made" != "$profile_link" ]; then
        ln -sfn "$profile_link" "$PROFILE" && rm -f "${PROFILE%/*}/$profile_made"
    fi
}
