# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# nix-darwin, as root. Read from pkgs/nix-tools/darwin-rebuild.sh, modules/system/activation-scripts.nix,
# modules/system/launchd.nix and modules/services/activate-system of nix-darwin: see
# tests/fixtures/mini-darwin/README.md.

CURRENT_SYSTEM=${NIXFERRY_ROOT:-}/run/current-system

# Systems from before 2025 have a part for the user who called sudo; later ones keep a file that says not to call it.
activate_system() {
    if [ -x "$1/activate-user" ] && ! grep -q '^# nix-darwin: deprecated$' "$1/activate-user"; then
        if [ -z "${SUDO_USER:-}" ]; then
            echo "$1/activate-user has to be run as an ordinary user: log in as that user and become root with sudo" >&2
            exit 1
        fi
        sudo --user="$SUDO_USER" --set-home -- "$1/activate-user" || exit
    fi
    "$1/activate"
}

roll_back() {
    # An activation moves this link last, and removes the launchd services of what it leads to. However far the new
    # system has come, its services go if the old one takes it for its predecessor.
    ln -sfn "$SYSTEM" "$CURRENT_SYSTEM" || exit
    activate_system "$OLD_SYSTEM"
}
