# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The record of an activation. $DIR is /var/lib/nixferry/activations/<id>:
#   guard.sh     the program that begins and ends it (guard/place.sh)
#   request/KEY  the request, by the keys of lib/request.sh; never changed
#   old/KEY      the state of the host before
#   result/KEY   the results
#   phase        one of: prepared activating awaiting-confirmation committing committed rolling-back rolled-back failed
#   phases/      the phases not entered yet: a phase is entered by a rename, which works on a full disk, too
#   history      phases with the time they began, on the clock and since the host came up (see `now`)
#   notes        remarks, one a line                  room      kept free for the end (keep_room)
#   worker       the process that works on it        child    the session of the program that it runs
#   log          the output of the programs          boot     the boot that it belongs to
#   confirm, abort   made by the controller

request() { get "$DIR/request/$1"; }
old() { get "$DIR/old/$1"; }
result() { get "$DIR/result/$1"; }
set_result() { put "$DIR/result/$1" "$2"; }
wanted() { [ "$(request "$1")" = 1 ]; }

phase() { get "$DIR/phase"; }

ROOM_BYTES=131072

# A record reserves some room on the disk until the activation ends. Then its end can be recorded, and the old system's
# programs can print, even when the disk fills up meanwhile.
keep_room() { printf "%${ROOM_BYTES}s" '' >"$DIR/room"; }

has_room() {
    printf '%16384s' '' 2>/dev/null >"$DIR/test"
    room_found=$?
    rm -f "$DIR/test"
    return "$room_found"
}

# The file that a program prints to. Some programs fail if they cannot print: on a full disk they get /dev/null.
printing_place() { if has_room || { make_room && has_room; }; then echo "$DIR/log"; else echo /dev/null; fi; }

prepare_phases() {
    mkdir "$DIR/phases"
    for prepared_phase in activating awaiting-confirmation committing committed rolling-back rolled-back failed; do
        echo "$prepared_phase" >"$DIR/phases/$prepared_phase"
    done
}

is_phase() {
    case $1 in
        prepared | activating | awaiting-confirmation | committing | committed | rolling-back | rolled-back | failed) ;;
        *) false ;;
    esac
}

is_final() { case $1 in committed | rolled-back | failed) true ;; *) false ;; esac; }

# Fails if the record could not be changed: then the new phase would be unknown.
enter_phase() {
    echo "$1 $(date +%s) $(($(now) / NIXFERRY_SECOND))" >>"$DIR/history"
    echo "--- nixferry: $1, $(date)" >>"$DIR/log"
    if [ "$(phase)" = "$1" ]; then return 0; fi
    if [ -f "$DIR/phases/$1" ]; then mv -f "$DIR/phases/$1" "$DIR/phase"; else put "$DIR/phase" "$1"; fi
}

START_NOTES=            # notes for the user, one a line

start_note() {
    START_NOTES="$START_NOTES$1
"
}

note() {
    printf '%s\n' "$1" >>"$DIR/notes"
    printf '%s\n' "--- nixferry: $1" >>"$DIR/log"
}

# Add to the message what the user has to know where only the message is shown
add_message() {
    note "$1"
    set_result message "$(result message); $1"
}

# shellcheck disable=SC2034 # a roll back reads ROLLED_BACK
incomplete() {
    ROLLED_BACK=failed
    set_result incomplete 1
    add_message "$1"
}

# use_activation ID: let the functions above read and write this activation
# shellcheck disable=SC2034 # other parts read ID
use_activation() {
    ID=$1
    DIR=$STATE/activations/$1
}

# Set the variables that the kind's programs see.
# shellcheck disable=SC2034
load_variables() {
    TOPLEVEL=$(request toplevel)
    SYSTEM=$(request system)
    PROFILE=$(request profile)
    OLD_TOPLEVEL=$(old toplevel)
    OLD_SYSTEM=$(old system)
}

# Make sure that the state directory exists, that only this user can change it, and that it can be written to.
prepare_state() {
    for place in "$STATE" "$STATE/activations"; do
        if [ ! -d "$place" ]; then set_aside "$place"; fi
    done
    if [ ! -f "$STATE/contact" ]; then set_aside "$STATE/contact"; fi
    if ! mkdir -p "$STATE/activations" || ! chmod 700 "$STATE"; then
        error state_unwritable "cannot make the state directory $STATE"
    fi
    # Enough for the program and for the room that the record reserves
    if ! printf "%$((2 * ROOM_BYTES))s" '' >"$STATE/test.$$"; then
        rm -f "$STATE/test.$$"
        error state_unwritable "cannot write to the state directory $STATE"
    fi
    rm -f "$STATE/test.$$"
}

# Every activation, newest first
activations() {
    # shellcheck disable=SC2010 # a glob cannot sort by time; whatever is not an id is left out
    ls -1t "$STATE/activations" 2>/dev/null | grep -v '[^0-9A-Za-z-]'
}

# Does a process work on the activation?
is_attended() {
    owner_lives "$DIR/resumer" || { [ "$(get "$DIR/boot")" = "$(boot_identity)" ] && owner_lives "$DIR/worker"; }
}

# Activations that have begun and that no process works on any more. A damaged record does not count: its activation may
# have been committed, and is not undone.
interrupted_activations() {
    for found_id in $(activations); do
        (
            use_activation "$found_id"
            found_phase=$(phase 2>/dev/null)
            if [ ! -f "$DIR/phase" ] || is_final "$found_phase" || is_attended; then exit; fi
            if [ -z "$found_phase" ] || is_phase "$found_phase"; then echo "$found_id"; fi
        )
    done
}
