# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# nix-darwin, as root. Read from pkgs/nix-tools/darwin-rebuild.sh, modules/system/activation-scripts.nix,
# modules/system/launchd.nix and modules/services/activate-system of nix-darwin: see
# tests/fixtures/mini-darwin/README.md.

# shellcheck disable=SC2034 # other parts read them
darwin_properties() {
    KIND_REQUIRED='activate darwin-version'
    KIND_PROFILE=/nix/var/nix/profiles/system
    KIND_CURRENT=/run/current-system
    KIND_REMAINS="links to /etc/static in /etc, and launchd services; nix-darwin's own darwin-uninstaller removes them"
}

# Systems from before 2025 have a part for the user who called sudo. Later ones keep a file that forbids to call it.
darwin_activate_system() {
    if [ -x "$1/activate-user" ] && ! grep -q '^# nix-darwin: deprecated$' "$1/activate-user"; then
        if [ -z "${SUDO_USER:-}" ]; then
            echo "$1/activate-user has to be run as an ordinary user: log in as that user and become root with sudo" >&2
            return 1
        fi
        sudo --user="$SUDO_USER" --set-home -- "$1/activate-user" || return
    fi
    "$1/activate"
}

darwin_activate() { darwin_activate_system "$SYSTEM"; }

# `darwin-rebuild` sets the profile first. Here that comes last, since the profile is what launchd activates after a
# restart (modules/services/activate-system), and nothing in an activation reads it: until the confirmation a restart
# comes back with the old system.
darwin_commit() { make_sure_of_profile; }

darwin_roll_back() {
    # An activation moves this link last, and removes the launchd services of its target. However far the new system
    # has come, its services are removed if the link makes it the predecessor of the old one.
    ln -sfn "$SYSTEM" "$ROOT/run/current-system" || not_marked=1
    darwin_activate_system "$OLD_SYSTEM" && [ -z "${not_marked:-}" ]
}
