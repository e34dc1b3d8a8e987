# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# home-manager, as the user whose home it is. Read from modules/home-environment.nix, modules/files.nix,
# modules/lib-bash/activation-init.sh and home-manager/home-manager of home-manager: see
# tests/fixtures/mini-home-manager/README.md.

# The profile is set after the confirmation; the `home-manager` program sets it before. Home-manager's own GC root shows
# what runs. That may be a specialisation, or a generation that was only tested.
# shellcheck disable=SC2034,SC2088 # other parts read them; the tilde is meant literally
home_manager_properties() {
    KIND_REQUIRED='activate home-files'
    KIND_PROFILE='~/.local/state/nix/profiles/home-manager'
    KIND_CURRENT='~/.local/state/home-manager/gcroots/current-home profile'
    KIND_CHECK_UNITS=1
}

home_manager_state() { echo "${XDG_STATE_HOME:-$HOME/.local/state}"; }

# The generation that was activated last. The next activation removes its links that the new one lacks.
home_manager_current() { echo "$(home_manager_state)/home-manager/gcroots/current-home"; }

# Driver version 1: the caller sets the profile. Generations without `gen-version` (before 25.11) take no arguments
# and set it all the same.
home_manager_run() {
    home_manager_user
    "$1/activate" --driver-version 1
}

# The activation compares it with the user that it was built for. Not every become method sets it.
home_manager_user() {
    USER=$(id -un)
    export USER
}

home_manager_activate() { home_manager_run "$SYSTEM"; }

home_manager_dry_activate() {
    export DRY_RUN=1 VERBOSE=1
    home_manager_run "$SYSTEM"
}

home_manager_commit() { make_sure_of_profile; }

# Print the profile by home-manager's own rules: beside the user's other profiles, whose place has changed with Nix 2.14.
# On a host where the user never called Nix, that directory does not exist yet.
home_manager_find_profile() {
    profiles=$(home_manager_state)/nix/profiles
    if [ ! -d "$profiles" ]; then
        nix_version=$(nix-env --version)
        case $(id -u):${nix_version##* } in
            0:* | *:2.[0-9].* | *:2.1[0-3].*) profiles=${NIX_STATE_DIR:-/nix/var/nix}/profiles/per-user/$(id -un) ;;
        esac
    fi
    echo "$profiles/home-manager"
}

# Print the names of the new generation's units.
home_manager_units() {
    if [ -d "$SYSTEM/home-files/.config/systemd/user" ]; then
        (cd "$SYSTEM/home-files/.config/systemd/user" && for unit in *.*; do [ -d "$unit" ] || echo "$unit"; done)
    fi
}

# The user had no generation before. Home-manager's program for the removal has to be built for each generation, so the
# driver does its work. Effects of the user's own activation scripts remain.
home_manager_deactivate() {
    home_manager_user
    # shellcheck disable=SC2046 # names of units
    if [ -n "$(home_manager_units)" ]; then systemctl --user stop -- $(home_manager_units) 2>/dev/null; fi
    home_files=$(readlink -f "$SYSTEM/home-files") || return
    (cd "$home_files" && find . -type f -o -type l) | while IFS= read -r file; do
        file=${file#./}
        if [ "$(readlink "$HOME/$file")" != "$home_files/$file" ]; then continue; fi
        rm -f "$HOME/$file" || exit
        backup=$HOME/$file.${HOME_MANAGER_BACKUP_EXT:-}
        if [ -n "${HOME_MANAGER_BACKUP_EXT:-}" ] && [ -e "$backup" ]; then mv "$backup" "$HOME/$file" || exit; fi
        case $file in */*) (cd "$HOME" && rmdir -p "${file%/*}" 2>/dev/null) || true ;; esac
    done || return
    if nix-env -q 2>/dev/null | grep -qx home-manager-path; then nix-env -e home-manager-path || return; fi
    systemctl --user daemon-reload 2>/dev/null
    rm -f "$(home_manager_current)"
}

home_manager_roll_back() {
    # However far the new generation has come, its links and units are removed if the old one finds it as its
    # predecessor. Without this they are removed only if the new one was activated completely.
    current_home=$(home_manager_current)
    if [ -e "$current_home" ]; then
        nix-store --realise "$SYSTEM" --add-root "$current_home" --indirect >/dev/null || not_marked=1
    fi
    profile_link=$(readlink "$PROFILE")
    home_manager_run "$OLD_SYSTEM" || return
    # An old generation of the kind that sets the profile makes a new number for it, unless it was the newest.
    profile_made=$(readlink "$PROFILE")
    if [ -n "$profile_link" ] && [ "$profile_made" != "$profile_link" ]; then
        ln -sfn "$profile_link" "$PROFILE" && rm -f "${PROFILE%/*}/$profile_made"
    fi
    if [ -n "${not_marked:-}" ]; then
        echo "links and units of the new home may remain: it could not be made the predecessor of the old one" >&2
        return 1
    fi
}
