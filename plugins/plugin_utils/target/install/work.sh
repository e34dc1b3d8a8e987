# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What the steps of an installation leave behind on the installer, in main memory: which ones have begun and ended, and the
# programs that run on without the connection.

WORK=$ROOT/run/nixferry/install
# shellcheck disable=SC2034 # other parts read it
TARGET=$ROOT$MOUNT_POINT
# shellcheck disable=SC2034 # other parts read it
RECORD=var/lib/nixferry/installed

make_work() {
    { mkdir -p "$WORK" && chmod 0700 "$ROOT/run/nixferry" "$WORK"; } || error no_room "$WORK cannot be made"
}

is_mounted() { # DIRECTORY: of this very name
    while read -r _ _ _ _ mounted_point _; do
        if [ "$mounted_point" = "$1" ]; then return 0; fi
    done <"$PROC/self/mountinfo"
    return 1
}

# is_recorded STEP IDENTITY: has the step ended for just this?
is_recorded() {
    read_text "$WORK/$1.done"
    [ -n "$TEXT" ] && [ "$TEXT" = "$2" ]
}

# run_program NAME SECONDS COMMAND...: run it in a session of its own, and wait. If it runs already, such as when the connection
# broke, wait for that. Set CODE to its exit code; answer with an error if it did not end in time or was killed.
run_program() {
    program_place=$WORK/$1.program program_name=$1 program_seconds=$2
    shift 2
    in_seconds "$program_seconds"
    program_until=$MOMENT
    if ! is_under_way; then
        if [ -e "$program_place" ]; then mv "$program_place" "$program_place.$$" && rm -rf "$program_place.$$"; fi
        # Of two at a time, one begins.
        if mkdir "$program_place" 2>/dev/null; then begin_program "$@"; fi
    fi
    begin_waiting
    until [ -e "$program_place/code" ]; do
        if passed "$program_until"; then
            end_program
            say_log
            error too_long "$program_name did not end within $program_seconds s, and was ended"
        fi
        nap
        if ! is_under_way && [ ! -e "$program_place/code" ]; then
            say_log
            error killed "$program_name was killed before its end"
        fi
    done
    # shellcheck disable=SC2034 # the caller reads it
    CODE=$(cat "$program_place/code")
}

# refuse_other_program NAME IDENTITY: a program that another administrator has begun for something else must not be taken for
# this one.
refuse_other_program() {
    program_place=$WORK/$1.program
    read_text "$WORK/$1.begun"
    if is_under_way && [ "$TEXT" != "$2" ]; then
        error other_run "another installation is at work on this machine: $(listed "$TEXT")"
    fi
}

begin_program() {
    (
        # shellcheck disable=SC2016 # the shell of the program expands it
        own_session "$NIXFERRY_SH" -c '
            place=$1
            shift
            "$@" >"$place/log" 2>&1
            echo "$?" >"$place/code.new"
            mv "$place/code.new" "$place/code"' sh "$program_place" "$@"
    ) </dev/null >/dev/null 2>&1 3>&- &
    program_process=$!
    find_process_start "$program_process"
    write "$program_place/process" "$program_process $PROCESS_START"
}

# Between the making of its directory and the writing of its process another one may look.
is_under_way() {
    if [ ! -d "$program_place" ] || [ -e "$program_place/code" ]; then return 1; fi
    under_way_naps=0
    while [ ! -s "$program_place/process" ] && [ "$under_way_naps" -lt 10 ]; do
        nap
        under_way_naps=$((under_way_naps + 1))
    done
    { read -r program_process program_start <"$program_place/process"; } 2>/dev/null || return 1
    alive "$program_process" "$program_start"
}

end_program() {
    { kill -TERM "-$program_process" || kill -TERM "$program_process"; } 2>/dev/null
    pause "$BOUNDED_GRACE"
    { kill -KILL "-$program_process" || kill -KILL "$program_process"; } 2>/dev/null
    rm -rf "$program_place.ended"
    mv "$program_place" "$program_place.ended"
    program_place=$program_place.ended
}

say_log() {
    if [ -s "$program_place/log" ]; then
        say_lines output "$(tail -c 16384 "$program_place/log" | tail -n 40)"
    fi
}
