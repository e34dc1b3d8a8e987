# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Small files, read and replaced as a whole, and what reaches the disk.

# put FILE TEXT: replace it as a whole. On a full disk there is room kept for that.
put() { put_once "$@" || { make_room && put_once "$@"; }; }

put_once() { printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; }

# Plainly: the directory gets its name only when it is complete.
write() { printf '%s\n' "$2" >"$1"; }

# Fails if no room is kept (any more).
make_room() { [ -n "${DIR:-}" ] && [ -e "$DIR/room" ] && rm -f "$DIR/room"; }

# The text of a small file, or nothing. This is asked for so often that a program each time would take long.
get() {
    [ -f "$1" ] || return 0
    while IFS= read -r got_line || [ -n "$got_line" ]; do printf '%s\n' "$got_line"; done <"$1"
}

# What a damaged disk left there may be anything.
first_line() {
    [ -f "$1" ] || return 0
    { IFS= read -r found_line <"$1"; } 2>/dev/null && printf '%s\n' "$found_line"
}

# What lies where something of ours belongs
set_aside() { if [ -e "$1" ] || [ -L "$1" ]; then mv "$1" "$1.garbage.$$"; fi; }

# Where a path leads in the end; nothing if it leads nowhere. `readlink -f` is missing on older macOS.
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

# What has to survive a power cut reaches the disk now: the record, the profile and the boot default, which may lie in
# file systems of their own.
durable() {
    durable_profile=${PROFILE-}
    for durable_place in "$STATE" "${durable_profile%/*}" "$ROOT/boot"; do
        if [ -d "$durable_place" ] && ! sync -f "$durable_place" 2>/dev/null; then
            sync
            return
        fi
    done
}
