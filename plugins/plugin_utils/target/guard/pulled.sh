# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A host that pulls: its agent would replace at its next look what a deployer has pushed.

PULL_STATE=$ROOT/var/lib/nixferry-pull # agent/state.sh says what lies there

# Does an agent keep PROFILE, and has no administrator told it to wait?
is_pulled() {
    read_first_line "$PULL_STATE/profile"
    [ "$FIRST_LINE" = "$PROFILE" ] && have systemctl || return 1
    [ "$(bounded 30 systemctl is-active nixferry-pull.timer 2>/dev/null)" = active ] || return 1
    read_first_line "$PULL_STATE/hold"
    pulled_held=$FIRST_LINE
    case ${pulled_held%% *} in
        '') return 0 ;;
        0 | *[!0-9]*) return 1 ;;
        *) [ "$(date +%s)" -ge "${pulled_held%% *}" ] ;;
    esac
}

refuse_pulled() {
    if arg_is despite_pull 1 || ! is_pulled; then return 0; fi
    error pulled "this host pulls its systems: its agent would replace $TOPLEVEL at its next look"
}
