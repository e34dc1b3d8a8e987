# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Where the guard itself lies: $STATE/guard/<the first digits of its SHA-256>, root's alone. Every record has a link to the
# version that began it, its guard.sh, which also ends it, whatever versions come to the host meanwhile. A version that no
# record has any more, and that is not the current one, is removed.
#
# PROGRAM is the file; empty when the text is run from memory, NIXFERRY_PROGRAM (guard/loader.sh, guard/installed.sh).

PROGRAM=''

# The text from memory comes to its place. What lies there and is not the text, or may be changed by others, is replaced.
install_program() {
    if [ -z "${NIXFERRY_PROGRAM:-}" ]; then return 0; fi
    if [ -L "$STATE/guard" ] || [ ! -d "$STATE/guard" ] || [ ! -O "$STATE/guard" ]; then set_aside "$STATE/guard"; fi
    mkdir -p "$STATE/guard" && chmod 700 "$STATE/guard" || return 1
    PROGRAM=$STATE/guard/$NIXFERRY_PROGRAM_NAME
    if [ -f "$PROGRAM" ] && is_ours "$PROGRAM" &&
        [ "$(cat "$PROGRAM" && echo .)" = "$(printf '%s\n.' "$NIXFERRY_PROGRAM")" ]; then return 0; fi
    if [ -L "$PROGRAM" ] || [ -d "$PROGRAM" ]; then set_aside "$PROGRAM"; fi
    rm -f "$PROGRAM.new" && printf '%s\n' "$NIXFERRY_PROGRAM" >"$PROGRAM.new" && mv -f "$PROGRAM.new" "$PROGRAM"
}

# put_program FILE: the same program under another name, without a second copy where the file system can do that
put_program() {
    if [ -z "$PROGRAM" ]; then printf '%s\n' "$NIXFERRY_PROGRAM" >"$1"; else
        ln "$PROGRAM" "$1" 2>/dev/null || cp "$PROGRAM" "$1"
    fi
}

# Called with the lock held, which everyone who begins an activation holds.
prune_programs() {
    find "$STATE/guard" -type f -links 1 ! -name "${PROGRAM##*/}" -exec rm -f {} + 2>/dev/null
}
