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
#   spare/       empty files, for a disk that has no inodes left (put_spare)
#   worker       the process that works on it        child    the session of the program that it runs
#   rest.*       the `sleep` of each that waits (lib/rest.sh)
#   log          the output of the programs          boot     the boot that it belongs to
#   confirm, abort   made by the controller          settled  made when no service is watched any more
#
# If the disk stops taking writes, a roll back still has to work. So all that it reads is written before anything is
# activated, and what it writes may lie in main memory (`keep`): results, notes, the final phase. Before a step that a
# power cut must not forget (save_result, enter_phase), the disk has to take the record, or the guard rolls back. Lost may
# be the output of programs.

# recall KEY: set TEXT to a part of the record, such as request/action. The other functions print, which costs a process.
recall() { read_text "$DIR/$1"; }
request() { get "$DIR/request/$1"; }
old() { get "$DIR/old/$1"; }
result() { get "$DIR/result/$1"; }
has_result() {
    recall "result/$1"
    [ -n "$TEXT" ]
}
# Without a value there is nothing to write where there was none.
set_result() { { [ -z "$2" ] && ! is_there "$DIR/result/$1"; } || keep "$DIR/result/$1" "$2"; }
# Fails if a power cut would forget it.
save_result() { put "$DIR/result/$1" "$2"; }
# asked_for KEY VALUE
asked_for() {
    recall "request/$1"
    [ "$TEXT" = "$2" ]
}
wanted() { asked_for "$1" 1; }
# Set LIMIT to the seconds of the request.
find_limit() {
    recall "request/$1"
    LIMIT=$TEXT
    if ! is_number "$LIMIT"; then LIMIT=$UNKNOWN_LIMIT; fi
}

phase() { get "$DIR/phase"; }
find_phase() {
    recall phase
    PHASE=$TEXT
}
is_in_phase() {
    recall phase
    [ "$TEXT" = "$1" ]
}

ROOM_BYTES=131072

# A record reserves some room on the disk until the activation ends. Then its end can be recorded, and the old system's
# programs can print, even when the disk fills up meanwhile.
keep_room() {
    printf "%${ROOM_BYTES}s" '' >"$DIR/room" && true >"$DIR/test" || return
    for spare_digit in 0 1 2 3 4 5 6 7 8 9; do
        true >"$DIR/spare/$spare_digit" && true >"$DIR/spare/1$spare_digit" || return
    done
}

# Remove what the record reserves, and other files that only the activation needed.
give_back_room() { rm -rf "$1/room" "$1/test" "$1/spare" "$1/child" "$1"/rest.*; } # RECORD

has_room() {
    printf '%16384s' '' 2>/dev/null >"$DIR/test"
    room_found=$?
    true 2>/dev/null >"$DIR/test"
    return "$room_found"
}

# Set RUN_LOG to the file that a program prints to. Some programs fail if they cannot print: on a full disk they get
# /dev/null.
# shellcheck disable=SC2034 # guard/program.sh reads it
find_run_log() { if has_room || { make_room && has_room; }; then RUN_LOG=$DIR/log; else RUN_LOG=/dev/null; fi; }

# The same for a command that prints little. A command whose redirection fails is not run at all.
find_log() { if true 2>/dev/null >>"$DIR/log"; then LOG_PLACE=$DIR/log; else LOG_PLACE=/dev/null; fi; }
log_place() {
    find_log
    echo "$LOG_PLACE"
}

prepare_phases() {
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

# Has the activation ended, as far as can be told? One whose phase cannot be read may have been committed, and is left alone.
has_ended() {
    find_phase 2>/dev/null
    is_final "$PHASE" || { [ -z "$PHASE" ] && is_unreadable "$DIR/phase"; }
}

# Fails if a power cut would forget the new phase.
enter_phase() {
    # What `date` prints without a format, behind the seconds since the epoch
    phase_began=$(date '+%s %a %b %e %H:%M:%S %Z %Y')
    read_clock
    append "$DIR/history" "$1 ${phase_began%% *} $((CLOCK / NIXFERRY_SECOND))"
    find_log
    echo "--- nixferry: $1, ${phase_began#* }" >>"$LOG_PLACE"
    if is_in_phase "$1"; then return 0; fi
    set_phase "$1"
    phase_result=$?
    wake request
    return "$phase_result"
}

set_phase() {
    if [ -f "$DIR/phases/$1" ] && mv -f "$DIR/phases/$1" "$DIR/phase"; then
        drop_unsaved "$DIR/phase"
        put_copy "$DIR/phase" "$1"
    elif ! put "$DIR/phase" "$1"; then
        keep "$DIR/phase" "$1"
        return 1
    fi
}

START_NOTES=            # notes for the user, one a line

start_note() {
    START_NOTES="$START_NOTES$1
"
}

note() {
    append "$DIR/notes" "$1"
    find_log
    printf '%s\n' "--- nixferry: $1" >>"$LOG_PLACE"
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
    recall request/toplevel
    TOPLEVEL=$TEXT
    recall request/system
    SYSTEM=$TEXT
    recall request/profile
    PROFILE=$TEXT
    recall old/toplevel
    OLD_TOPLEVEL=$TEXT
    recall old/system
    OLD_SYSTEM=$TEXT
    recall old/boot_default
    OLD_BOOT_DEFAULT=$TEXT
}

# Make sure that the state directory exists, that only this user can change it, and that it can be written to.
prepare_state() {
    for place in "$STATE" "$STATE/activations"; do
        if [ ! -d "$place" ]; then set_aside "$place"; fi
    done
    if [ ! -f "$STATE/contact" ]; then set_aside "$STATE/contact"; fi
    if [ ! -d "$STATE" ] && mkdir -p "${STATE%/*}" && mkdir "$STATE" && ! is_ours "$STATE"; then
        # A default ACL replaces the umask.
        rmdir "$STATE"
        error unsafe_state "an access control list of ${STATE%/*} lets other users write to what is made there"
    fi
    if ! make_sure_of_directory "$STATE/activations" || ! chmod 700 "$STATE"; then
        error state_unwritable "cannot make the state directory $STATE"
    fi
    # An interrupted activation must not be overlooked.
    if ! ls "$STATE/activations" >/dev/null; then error state_unwritable "cannot read the state directory $STATE"; fi
    # Enough for the program and for the room that the record reserves
    if [ ! -f "$STATE/test" ]; then set_aside "$STATE/test"; fi
    if ! printf "%$((2 * ROOM_BYTES))s" '' >"$STATE/test"; then
        rm -f "$STATE/test"
        error state_unwritable "cannot write to the state directory $STATE"
    fi
    true >"$STATE/test"
    save_unsaved
}

# --- in main memory -------------------------------------------------------------------------------------------------

# A user without a runtime directory, as with become and no login, has a directory where every user may make one. It counts
# only if it belongs to this user: from then on no other one can replace it.
memory_place() { echo "$ROOT/dev/shm/nixferry-$USER_ID"; }

use_memory_place() {
    if is_root || [ -n "$UNSAVED" ]; then return 0; fi
    if is_ours "$(memory_place)" 2>/dev/null; then UNSAVED=$(memory_place)/unsaved; fi
}

# Called by the processes that outlive the login.
make_memory_place() {
    if is_root || [ -n "$UNSAVED" ] || [ ! -k "$ROOT/dev/shm" ]; then return 0; fi
    mkdir "$(memory_place)" 2>/dev/null
    use_memory_place
}

# Copy what an activation reads, so that it ends well whatever becomes of the disk. On a full /run there is no copy.
copy_record() {
    [ -n "$COPIES" ] && make_sure_of_directory "$COPIES/activations" && copied_to=$COPIES/activations/$ID || return 0
    if [ -e "$copied_to" ]; then rm -rf "$copied_to"; fi
    set --
    for copied in request old result phase boot dead_man reports_by guard.sh; do
        if [ -e "$DIR/$copied" ]; then set -- "$@" "$DIR/$copied"; fi
    done
    if ! { mkdir "$copied_to.new" && cp -R "$@" "$copied_to.new" && mv "$copied_to.new" "$copied_to"; } 2>/dev/null; then
        rm -rf "$copied_to.new"
    fi
}

# forget_copy ID: once the disk has the end of the record
forget_copy() {
    if [ -z "$COPIES" ] || [ ! -d "$COPIES/activations/${1:?}" ]; then return 0; fi
    if on_disk "$STATE" && is_final "$(first_line "$STATE/activations/$1/phase")"; then
        rm -rf "$COPIES/activations/$1"
    fi
}

# Is the record deleted? On a disk that answers with errors it only seems to be.
is_deleted() { # RECORD
    [ ! -d "$1" ] || return 1
    is_deleted_names=$(ls -1 "$STATE/activations" 2>/dev/null) || return 1
    ! names_line "$is_deleted_names" "${1##*/}"
}

# names_line LINES LINE: is LINE one of the LINES?
names_line() { case "$NEWLINE$1$NEWLINE" in *"$NEWLINE$2$NEWLINE"*) ;; *) false ;; esac; }

# Write to the disk what it did not take before, of activations that have ended. The phase comes last.
save_unsaved() {
    for unsaved_record in "${UNSAVED:-/nonexistent}"/activations/*; do
        if [ ! -d "$unsaved_record" ]; then continue; fi
        saved_record=$STATE/activations/${unsaved_record##*/}
        if ! is_deleted "$saved_record"; then
            if ! is_final "$(get "$saved_record/phase")" || owner_lives "$saved_record/worker" ||
                owner_lives "$unsaved_record/worker"; then continue; fi
            for unsaved_file in "$unsaved_record"/result/* "$unsaved_record/notes" "$unsaved_record/history" "$unsaved_record/phase"; do
                saved_file=$saved_record/${unsaved_file#"$unsaved_record"/}
                if [ -f "$unsaved_file" ]; then put_once "$saved_file" "$(get "$saved_file")" || continue 2; fi
            done
            give_back_room "$saved_record"
        fi
        rm -rf "$unsaved_record"
    done
    for copied_record in "${COPIES:-/nonexistent}"/activations/*; do
        if [ ! -d "$copied_record" ] || owner_lives "$copied_record/worker"; then continue; fi
        if is_deleted "$STATE/activations/${copied_record##*/}"; then rm -rf "$copied_record"; else
            forget_copy "${copied_record##*/}"
        fi
    done
}

# Every activation, newest first
activations() { split_lines "$(ls -1t "$STATE/activations" 2>/dev/null)" print_ids; }

# What is not an id is not an activation.
print_ids() { for listed_id; do case $listed_id in *[!0-9A-Za-z-]*) ;; *) echo "$listed_id" ;; esac; done; }

# Is the process that has claimed the activation alive? Then OWNER_PID is its number.
worker_lives() {
    if owner_lives "$DIR/worker"; then return 0; fi
    find_unsaved "$DIR/worker"
    if [ -n "$UNSAVED_FILE" ] && owner_lives "$UNSAVED_FILE"; then return 0; fi
    find_copy "$DIR/worker"
    [ -n "$COPY_FILE" ] && owner_lives "$COPY_FILE"
}

# Does a process work on the activation?
is_attended() {
    if owner_lives "$DIR/resumer"; then return 0; fi
    recall boot
    is_this_boot "$TEXT" && worker_lives
}

# Might there be one that has not ended? In general there is none, and no process is needed to see that.
is_any_unfinished() {
    for unfinished_record in "$STATE/activations"/*; do
        read_text "$unfinished_record/phase" 2>/dev/null
        if ! is_final "$TEXT"; then return 0; fi
    done
    false
}

# Activations that have begun and that no process works on any more. A damaged record does not count: its activation may
# have been committed, and is not undone.
interrupted_activations() {
    if ! is_any_unfinished; then return 0; fi
    for found_id in $(activations); do
        # Most have ended. No process is needed to see that.
        read_text "$STATE/activations/$found_id/phase" 2>/dev/null
        if is_final "$TEXT"; then continue; fi
        (
            use_activation "$found_id"
            if ! is_there "$DIR/phase" || has_ended || is_attended; then exit; fi
            found_phase=$(phase 2>/dev/null)
            if [ -z "$found_phase" ] || is_phase "$found_phase"; then echo "$found_id"; fi
        )
    done
}
