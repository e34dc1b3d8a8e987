# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Read and replace small files as a whole, and flush them to the disk. A disk may stop taking files at any time: it is full,
# has no free inodes, became read-only, or answers with errors. What must not get lost then is kept in main memory, below
# $UNSAVED, by the same name as below $STATE. There it is read until the disk takes the file again.
# A disk that answers with errors may give nothing back either. So while an activation is under way, its record and its
# program have a copy in main memory, below $COPIES. There they are read, as long as nothing newer is unsaved.

# put FILE TEXT: replace FILE as a whole. If the disk takes no more, use what the record reserves.
put() { put_on_disk "$@" && drop_unsaved "$1" && put_copy "$@"; }

# A copy that cannot be replaced goes: the file on the disk is newer.
put_copy() {
    find_copy "$1"
    [ -n "$COPY_FILE" ] && [ -d "${COPY_FILE%/*}" ] || return 0
    { put_new "$COPY_FILE" "$2" || put_once "$COPY_FILE" "$2"; } 2>/dev/null || rm -f "$COPY_FILE"
}

drop_copy() {
    find_copy "$1"
    if [ -n "$COPY_FILE" ] && [ -e "$COPY_FILE" ]; then rm -f "$COPY_FILE"; fi
}

put_on_disk() {
    # Only for the record of an activation is it known that its readers take an empty file for a missing one.
    case $1 in "${STATE:-}/activations"/*) if put_new "$@"; then return 0; fi ;; esac
    put_once "$@" || put_spare "$@" || { make_room && { put_once "$@" || put_spare "$@"; }; }
}

# Where there is no text yet, none is replaced, and a single plain write will do, which costs no process. So other processes, and
# what follows a kill or a power cut, find an empty file, which counts as a missing one, or all of the text. A shell, or a disk, may
# write a longer text in pieces.
NEW_LENGTH=500
put_new() {
    [ ! -s "$1" ] && [ "${#2}" -le "$NEW_LENGTH" ] || return 1
    if printf '%s\n' "$2" >"$1"; then return 0; fi
    rm -f "$1"
    return 1
}

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

# append FILE LINE: like `keep`. Such a file has no copy.
append() {
    drop_copy "$1"
    find_text "$1"
    if printf '%s\n' "$2" 2>/dev/null >>"$FOUND"; then return 0; fi
    read_text "$1" 2>/dev/null
    keep "$1" "${TEXT:+$TEXT
}$2"
    drop_copy "$1"
}

# Remove FILE. Where that is impossible it counts as empty.
drop() {
    drop_unsaved "$1"
    find_copy "$1"
    rm -f ${COPY_FILE:+"$COPY_FILE"} "$1" 2>/dev/null || keep "$1" ''
}

drop_unsaved() {
    find_unsaved "$1"
    if [ -n "$UNSAVED_FILE" ] && [ -e "$UNSAVED_FILE" ]; then rm -f "$UNSAVED_FILE"; fi
}

# The same by emptying it, which costs no process
empty_out() {
    find_copy "$1"
    for emptied_file in ${COPY_FILE:+"$COPY_FILE"} "$1"; do
        if [ -e "$emptied_file" ] && ! { true >"$emptied_file"; } 2>/dev/null; then
            drop "$1"
            return
        fi
    done
    drop_unsaved "$1"
}

# Set UNSAVED_FILE to the place of FILE in main memory; empty if it has none.
find_unsaved() {
    UNSAVED_FILE=
    if [ -n "${UNSAVED:-}" ]; then
        case $1 in "$STATE"/*) UNSAVED_FILE=$UNSAVED/${1#"$STATE"/} ;; esac
    fi
}

# The same for its copy
find_copy() {
    COPY_FILE=
    if [ -n "${COPIES:-}" ]; then
        case $1 in "$STATE"/activations/*) COPY_FILE=$COPIES/${1#"$STATE"/} ;; esac
    fi
}

# Set FOUND to the place of FILE's present text.
find_text() {
    find_unsaved "$1"
    find_copy "$1"
    FOUND=$1
    if [ -n "$UNSAVED_FILE" ] && [ -e "$UNSAVED_FILE" ]; then
        FOUND=$UNSAVED_FILE
    # An empty copy is one that a kill has cut short, or one of an empty file.
    elif [ -n "$COPY_FILE" ] && { [ -s "$COPY_FILE" ] || { [ -e "$COPY_FILE" ] && [ ! -s "$1" ]; }; }; then
        FOUND=$COPY_FILE
    fi
}

# What cannot be read is not empty, and not missing either. `ls` and `cat` tell; the tests of the shell do not.
# is_unreadable FILE: is there something to read that cannot be read? Sets UNREADABLE to why.
is_unreadable() {
    find_text "$1"
    UNREADABLE=$(cat "$FOUND" 2>&1 >/dev/null) && return 1
    is_error "$UNREADABLE"
}

# is_unknown PATH: can it not be told whether PATH exists? A link itself counts. Sets UNKNOWN to why.
is_unknown() {
    UNKNOWN=$(ls -d "$1" 2>&1 >/dev/null) && return 1
    is_error "$UNKNOWN"
}

# is_error TEXT: is it the words of another error than of a file that does not exist?
is_error() { case $1 in *"No such file"* | *"Not a directory"*) false ;; esac; }

# Make the directory, with those above it, unless it is there.
make_sure_of_directory() { [ -d "$1" ] || mkdir -p "$1"; }

is_there() {
    find_text "$1"
    [ -e "$FOUND" ] || [ -e "$1" ]
}

# A plain write is enough here: the directory gets its name only when it is complete.
write() { printf '%s\n' "$2" >"$1"; }

# Fails if no room is kept (any more).
make_room() { [ -n "${DIR:-}" ] && [ -e "$DIR/room" ] && rm -f "$DIR/room"; }

# read_text FILE: set TEXT to the text of a small file, without newlines at its end; empty without the file. The guard reads
# files all the time: neither a program nor a $(...) is needed for it, which would cost a process.
# What is in main memory goes as soon as the disk has it, also between two steps of this function.
read_text() {
    find_text "$1"
    TEXT=
    if [ "$FOUND" != "$1" ] && { read_lines <"$FOUND"; } 2>/dev/null; then return 0; fi
    if [ -f "$1" ]; then read_lines <"$1"; fi
}

read_lines() {
    TEXT=
    while IFS= read -r read_line || [ -n "$read_line" ]; do TEXT=$TEXT$read_line$NEWLINE; done
    while :; do case $TEXT in *"$NEWLINE") TEXT=${TEXT%"$NEWLINE"} ;; *) return 0 ;; esac; done
}

# Print such a file.
get() {
    read_text "$1"
    if [ -n "$TEXT" ]; then printf '%s\n' "$TEXT"; fi
}

# Set FIRST_LINE to that of FILE; empty without it. After damage to the disk the file may contain anything.
read_first_line() {
    FIRST_LINE=
    [ -f "$1" ] || return 0
    { IFS= read -r FIRST_LINE <"$1"; } 2>/dev/null || FIRST_LINE=
}

# Print it.
first_line() {
    read_first_line "$1"
    if [ -n "$FIRST_LINE" ]; then printf '%s\n' "$FIRST_LINE"; fi
}

# Move away what lies in the place of a file of the guard.
set_aside() { if [ -e "$1" ] || [ -L "$1" ]; then mv "$1" "$1.garbage.$$"; fi; }

# resolve PATH: set RESOLVED to the real path; empty if it does not exist. The shell itself knows that of a directory.
# `readlink -f` is missing on older macOS.
resolve() {
    RESOLVED=
    if [ -d "$1" ]; then RESOLVED=$(CDPATH='' cd -P "$1" 2>/dev/null && pwd -P); fi
    if [ -n "$RESOLVED" ] || [ ! -e "$1" ]; then return 0; fi
    RESOLVED=$(readlink -f "$1" 2>/dev/null) || RESOLVED=$(realpath "$1" 2>/dev/null) || RESOLVED=$(
        path=$1
        while [ -L "$path" ]; do
            target=$(readlink "$path")
            case $target in /*) path=$target ;; *) path=${path%/*}/$target ;; esac
        done
        CDPATH='' cd -P "${path%/*}" && echo "$(pwd -P)/${path##*/}"
    )
}

# Print the real path.
resolved() {
    resolve "$1"
    if [ -n "$RESOLVED" ]; then printf '%s\n' "$RESOLVED"; fi
}

# Where NixOS puts boot entries and the EFI system partition (boot.loader.efi.efiSysMountPoint)
BOOT_PLACES='/boot /boot/efi /efi'

# Flush to the disk what has to survive a power cut: the record, the profile and the boot default, which may lie on
# different file systems. Fails if the record may not survive.
durable() {
    if is_all_durable; then return 0; fi
    on_disk "$STATE"
    durable_result=$?
    is_system_durable
    return "$durable_result"
}

# The same by one program. If that fails, which it also does if it knows no -f, each place has to be asked.
is_all_durable() {
    durable_profile=${PROFILE-}
    set -- "$STATE"
    if [ -d "${durable_profile%/*}" ]; then set -- "$@" "${durable_profile%/*}"; fi
    for durable_place in $BOOT_PLACES; do
        if [ -d "$ROOT$durable_place" ]; then set -- "$@" "$ROOT$durable_place"; fi
    done
    sync -f "$@" 2>/dev/null
}

# The same without the record. Fails if the profile or the boot default may not survive.
is_system_durable() {
    durable_profile=${PROFILE-}
    on_disk "${durable_profile%/*}" || return
    for durable_place in $BOOT_PLACES; do on_disk "$ROOT$durable_place" || return; done
}

# on_disk PLACE: flush its file system. A write may have seemed to succeed, and only the flush tells that it did not. Where
# `sync` knows no -f it flushes everything, and tells nothing.
on_disk() {
    if [ -z "$1" ] || { [ ! -d "$1" ] && ! is_unknown "$1"; }; then return 0; fi
    flush_said=$(sync -f "$1" 2>&1) && return 0
    case $flush_said in
        *"nput/output error"* | *"I/O error"* | *"o space left"* | *"uota exceeded"* | *"ead-only file system"*) return 1 ;;
    esac
    sync
}
