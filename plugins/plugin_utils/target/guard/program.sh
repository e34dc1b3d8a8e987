# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the programs of a kind of system: with a time limit, in a session of their own, with all output in the log.

KILL_GRACE=5      # seconds between SIGTERM and SIGKILL
LOCKED_PAUSE=2    # seconds until the next try when another activation holds the program's lock
SHORTEST_TRY=5    # seconds that a try must have: a shorter one is cut off before it can answer "locked"

RUN_BEGAN=      # where the output of the last program begins in the log; empty if the output was dropped

# Load from the record what is activated, and how.
load_activation() {
    load_variables
    recall request/activate_command
    # shellcheck disable=SC2034 # kinds/profile.sh reads it
    ACTIVATE_COMMAND=$TEXT
    recall request/kind
    # A damaged record may have no kind.
    use_kind "$TEXT" || true
}

# run_program SECONDS FUNCTION [abortable]: run a function of the kind's driver in a new process of this program (see
# guard/driver.sh). Set OUTCOME to its exit code, `timeout` or `aborted`.
# No file is needed for that, so it works whatever the disk does.
# shellcheck disable=SC2034 # look.sh reads RUN_BEGAN, and the caller OUTCOME
run_program() {
    find_run_log
    RUN_BEGAN=
    if [ "$RUN_LOG" = "$DIR/log" ]; then find_run_began; else set_result unheard 1; fi
    find_rest worker
    (
        unset LC_ALL
        export TOPLEVEL SYSTEM OLD_TOPLEVEL OLD_SYSTEM OLD_BOOT_DEFAULT PROFILE
        find_text "$DIR/request/variables"
        export_variables "$FOUND"
        find_text "$DIR/guard.sh"
        own_session "$NIXFERRY_SH" "$FOUND" driver "${KIND}_$2" "$REST_FILE" </dev/null >>"$RUN_LOG" 2>&1
    ) 3>&- &
    run_process=$!
    find_process_start "$run_process"
    run_start=$PROCESS_START
    keep "$DIR/child" "$run_process $run_start"
    in_seconds "$1"
    run_until=$MOMENT
    begin_waiting
    while alive "$run_process" "$run_start"; do
        if [ "${3:-}" = abortable ] && is_there "$DIR/abort"; then
            end_rest
            kill_program
            OUTCOME=aborted
            return
        fi
        if passed "$run_until"; then
            end_rest
            kill_program
            OUTCOME=timeout
            return
        fi
        rest worker "$run_until"
        # Woken a moment before the process ends, or by an abort
        if [ -n "$WOKEN" ]; then nap; fi
    done
    end_rest
    wait "$run_process"
    OUTCOME=$?
    empty_out "$DIR/child"
}

# shellcheck disable=SC2034 # look.sh reads it
find_run_began() { if [ -s "$RUN_LOG" ]; then RUN_BEGAN=$(wc -c <"$RUN_LOG"); else RUN_BEGAN=0; fi; }

# Like run_program, but try again while another activation holds the program's lock. Stop if the other one has switched
# the host meanwhile: its system stays.
run_program_when_free() {
    in_seconds "$1"
    when_free_until=$MOMENT
    while :; do
        seconds_until "$when_free_until"
        run_program "$TIME_LEFT" "$2" "${3:-}"
        if ! was_locked_out; then return; fi
        note "the program is locked by another activation (exit code $OUTCOME), trying again"
        seconds_until "$when_free_until"
        if [ "$TIME_LEFT" -le $((LOCKED_PAUSE + SHORTEST_TRY)) ]; then return; fi
        pause "$LOCKED_PAUSE"
        look_for_other_system
        look_for_other_profile
        if [ -n "$OTHER_SYSTEM$OTHER_PROFILE" ]; then return; fi
    done
}

# Kill the program that this or an earlier worker has started, with all its processes.
kill_program() {
    find_text "$DIR/child"
    { read -r child child_start <"$FOUND"; } 2>/dev/null || return 0
    if alive "$child" "$child_start"; then
        kill -TERM "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null
        in_seconds "$KILL_GRACE"
        kill_at=$MOMENT
        while alive "$child" "$child_start" && ! passed "$kill_at"; do nap; done
    fi
    # The group outlives its leader if one of its processes ignored the signal.
    kill -KILL "-$child" 2>/dev/null || { alive "$child" "$child_start" && kill -KILL "$child"; }
    for other in $(others_in_units); do kill -KILL "$other" 2>/dev/null; done
    drop "$DIR/child"
}

# dry_activate KEY_OF_EXIT_CODE KEY_OF_LOG: run the kind's own dry activation in a temporary directory
dry_activate() {
    if ! kind_has dry_activate; then
        say "$2" "This kind of system cannot tell in advance what an activation would do."
        return
    fi
    OLD_TOPLEVEL=$(resolved "$PROFILE")
    OLD_SYSTEM=$(current_system "$KIND_CURRENT" "$PROFILE")
    OLD_BOOT_DEFAULT=''
    export OLD_TOPLEVEL OLD_SYSTEM OLD_BOOT_DEFAULT
    ID=${ID:-dry}
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/nixferry.XXXXXX") || error state_unwritable "cannot make a temporary directory"
    mkdir "$DIR/request" "$DIR/result"
    variables_asked_for >"$DIR/request/variables"
    if ! put_program "$DIR/guard.sh"; then error state_unwritable "cannot write to $DIR"; fi
    find_arg timeout_activation
    run_program "$ARG" dry_activate
    if [ "$OUTCOME" = timeout ]; then
        OUTCOME=''
        echo "nixferry: it did not end within $(arg timeout_activation) s" >>"$(log_place)"
    fi
    say "$1" "$OUTCOME"
    say_end_of "$2" "$DIR/log"
    rm -rf "$DIR"
}
