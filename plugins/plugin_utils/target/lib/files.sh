# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Read and replace small files as a whole, and flush them to the disk.

# put FILE TEXT: replace FILE as a whole. On a full disk, use the reserved room.
put() { put_once "$@" || { make_room && put_once "$@"; }; }

put_once() { printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; }

# A plain write is enough here: the directory gets its name only when it is complete.
write() { printf '%s\n' "$2" >"$1"; }

# Fails if no room is kept (any more).
make_room() { [ -n "${DIR:-}" ] && [ -e "$DIR/room" ] && rm -f "$DIR/room"; }

# Print a small file, or nothing. Called so often that starting a program each time would take too long.
get() {
    [ -f "$1" ] || return 0
    while IFS= read -r got_line || [ -n "$got_line" ]; do printf '%s\n' "$got_line"; done <"$1"
}

# After damage to the disk the file may contain anything.
first_line() {
    [ -f "$1" ] || return 0
    { IFS= read -r found_line <"$1"; } 2>/dev/null && printf '%s\n' "$found_line"
}

# Move away what lies in the place of a file of the guard.
set_aside() { if [ -e "$1" ] || [ -L "$1" ]; then mv "$1" "$1.garbage.$$"; fi; }

# Print the real path; nothing if it does not exist. `readlink -f` is missing on older macOS.
resolved() {
    [ -e "$1" ] || return 0
    readlink -f "$1" 2>/dev/null || realpath "$1" 2>/dev/null || (
        path=$1
        while [ -L "$path" ]; do
            target=$(readlink "$path")
            case $target in /*) path=$target ;; *) path=${path%/*}/$target ;; esac
        done
        CDPATH='' cd -P "${path%/*}" && echo "$(pwd -P)/${path##*/}"
    )
}

# Flush to the disk what has to survive a power cut: the record, the profile and the boot default, which may lie on
# different file systems.
durable() {
    durable_profile=${PROFILE-}
    for durable_place in "$STATE" "${durable_profile%/*}" "$ROOT/boot"; do
        if [ -d "$durable_place" ] && ! sync -f "$durable_place" 2>/dev/null; then
            sync
            return
        fi
    done
}
