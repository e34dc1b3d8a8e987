# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The guard itself lies in $STATE/guard/<the first digits of its SHA-256>, in reach of its user alone. Every record has a
# link, guard.sh, to the version that began the activation. That version also ends it, even if others come meanwhile. A
# version is removed when it is not the current one and has no record any more.
#
# PROGRAM is the file; empty when the text is run from memory, NIXFERRY_PROGRAM (guard/loader.sh, guard/installed.sh).

PROGRAM=''

# Write the program from memory to its place. Replace a file there that has another text or that others can change.
install_program() {
    if [ -z "${NIXFERRY_PROGRAM:-}" ]; then return 0; fi
    if [ -L "$STATE/guard" ] || [ ! -d "$STATE/guard" ] || [ ! -O "$STATE/guard" ]; then set_aside "$STATE/guard"; fi
    mkdir -p "$STATE/guard" && chmod 700 "$STATE/guard" || return 1
    PROGRAM=$STATE/guard/$NIXFERRY_PROGRAM_NAME
    if [ -f "$PROGRAM" ] && is_ours "$PROGRAM" &&
        [ "$(cat "$PROGRAM" && echo .)" = "$(printf '%s\n.' "$NIXFERRY_PROGRAM")" ]; then return 0; fi
    if [ -L "$PROGRAM" ] || [ -d "$PROGRAM" ]; then set_aside "$PROGRAM"; fi
    rm -f "$PROGRAM.$$.new" && printf '%s\n' "$NIXFERRY_PROGRAM" >"$PROGRAM.$$.new" && mv -f "$PROGRAM.$$.new" "$PROGRAM"
}

# Is the program still there? Before this process took the lock, a deploy of another version may have removed it.
keeps_program() { [ -e "$PROGRAM" ] || { [ -n "${NIXFERRY_PROGRAM:-}" ] && install_program; }; }

# put_program FILE: link the program to FILE, or copy it where the file system has no hard links
put_program() {
    if [ -z "$PROGRAM" ]; then printf '%s\n' "$NIXFERRY_PROGRAM" >"$1"; else
        ln "$PROGRAM" "$1" 2>/dev/null || cp "$PROGRAM" "$1"
    fi
}

# Called with the lock held, like every start of an activation. Another `start` without it may be writing just now.
prune_programs() {
    find "$STATE/guard" -type f -links 1 ! -name "${PROGRAM##*/}" \( ! -name '*.new' -o -mtime +0 \) \
        -exec rm -f {} + 2>/dev/null
}
