# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Read and replace small files as a whole, and flush them to the disk. A disk may stop taking files at any time: it is full,
# has no free inodes, became read-only, or answers with errors. What must not get lost then is kept in main memory, below
# $UNSAVED, by the same name as below $STATE. There it is read until the disk takes the file again.

# put FILE TEXT: replace FILE as a whole. If the disk takes no more, use what the record reserves.
put() { put_on_disk "$@" && drop_unsaved "$1"; }

put_on_disk() { put_once "$@" || put_spare "$@" || { make_room && { put_once "$@" || put_spare "$@"; }; }; }

put_once() {
    if printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; then return 0; fi
    rm -f "$1.new"
    return 1
}

# Without free inodes a file that exists can still be renamed and overwritten.
put_spare() {
    for spare_file in "${DIR:-}"/spare/*; do
        if [ -f "$spare_file" ] && mv -f "$spare_file" "$1.new" 2>/dev/null; then
            if printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; then return 0; fi
            mv -f "$1.new" "$spare_file"
            return 1
        fi
    done
    false
}

# keep FILE TEXT: put, or else keep the text in main memory
keep() {
    if put "$@" 2>/dev/null; then return 0; fi
    find_unsaved "$1"
    [ -n "$UNSAVED_FILE" ] && mkdir -p "${UNSAVED_FILE%/*}" && put_once "$UNSAVED_FILE" "$2"
}

# append FILE LINE: like `keep`
append() {
    find_text "$1"
    if printf '%s\n' "$2" 2>/dev/null >>"$FOUND"; then return 0; fi
    append_before=$(get "$1")
    keep "$1" "${append_before:+$append_before
}$2"
}

# Remove FILE. Where that is impossible it counts as empty.
drop() {
    drop_unsaved "$1"
    rm -f "$1" 2>/dev/null || keep "$1" ''
}

drop_unsaved() {
    find_unsaved "$1"
    if [ -n "$UNSAVED_FILE" ] && [ -e "$UNSAVED_FILE" ]; then rm -f "$UNSAVED_FILE"; fi
}

# Set UNSAVED_FILE to the place of FILE in main memory; empty if it has none.
find_unsaved() {
    UNSAVED_FILE=
    if [ -n "${UNSAVED:-}" ]; then
        case $1 in "$STATE"/*) UNSAVED_FILE=$UNSAVED/${1#"$STATE"/} ;; esac
    fi
}

# Set FOUND to the place of FILE's present text.
find_text() {
    find_unsaved "$1"
    FOUND=$1
    if [ -n "$UNSAVED_FILE" ] && [ -e "$UNSAVED_FILE" ]; then FOUND=$UNSAVED_FILE; fi
}

is_there() {
    find_text "$1"
    [ -e "$FOUND" ]
}

# A plain write is enough here: the directory gets its name only when it is complete.
write() { printf '%s\n' "$2" >"$1"; }

# Fails if no room is kept (any more).
make_room() { [ -n "${DIR:-}" ] && [ -e "$DIR/room" ] && rm -f "$DIR/room"; }

# Print a small file, or nothing. Called so often that starting a program each time would take too long.
get() {
    find_text "$1"
    [ -f "$FOUND" ] || return 0
    while IFS= read -r got_line || [ -n "$got_line" ]; do printf '%s\n' "$got_line"; done <"$FOUND"
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
