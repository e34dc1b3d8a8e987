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

# Seconds that another installation may look at the disks before its program begins
TURN_SECONDS=${NIXFERRY_TURN_SECONDS:-240}
# shellcheck disable=SC2034 # lib/claim.sh writes it
ID=install

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

# take_turn: of those who look whether a program may begin, let one at a time do so, until end_turn. What ends without that
# has lost its turn.
take_turn() {
    in_seconds "$TURN_SECONDS"
    turn_until=$MOMENT
    begin_waiting
    until claim "$WORK/turn" owner_lives; do
        if [ "$?" = 2 ]; then error no_room "$WORK cannot be written to"; fi
        if passed "$turn_until"; then
            error other_run "another installation has looked at the disks of this machine for $TURN_SECONDS s"
        fi
        nap
    done
}

end_turn() { rm -f "$WORK/turn"; }

# run_program NAME SECONDS COMMAND...: run it in a session of its own, end the turn, and wait. If it runs already, such as when
# the connection broke, wait for that. Set CODE to its exit code; answer with an error if it did not end in time or was killed.
run_program() {
    program_place=$WORK/$1.program program_name=$1 program_seconds=$2
    shift 2
    in_seconds "$program_seconds"
    program_until=$MOMENT
    if ! is_under_way; then
        rm -rf "$program_place"
        if mkdir "$program_place"; then begin_program "$@"; fi
    fi
    end_turn
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

# refuse_other_programs NAME IDENTITY: a program that another administrator has begun for something else must not be taken for
# this one, and no other step of an installation goes on beside this one. Leaves program_place at that of NAME.
refuse_other_programs() {
    for program_name in disks system; do
        program_place=$WORK/$program_name.program
        read_text "$WORK/$program_name.begun"
        if is_under_way && [ "$program_name $TEXT" != "$1 $2" ]; then
            error other_run "another installation is at work on this machine ($program_name): $(listed "$TEXT")"
        fi
    done
    program_place=$WORK/$1.program
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

is_under_way() {
    if [ ! -d "$program_place" ] || [ -e "$program_place/code" ]; then return 1; fi
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
