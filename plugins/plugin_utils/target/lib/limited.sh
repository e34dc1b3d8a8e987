# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Commands of the user with a time limit that holds whatever processes they leave behind. `timeout` would not do: macOS
# lacks it, and it waits neither for nor against a process that keeps the output open.

LIMIT_GRACE=2   # seconds between SIGTERM and SIGKILL
LIMIT_DRAIN=1   # seconds for output after the end of a command

# limited SECONDS BYTES DIRECTORY COMMAND...: run COMMAND without input, in a session of its own. Set LIMITED to its exit
# code or `timeout`, and OUTPUT to the last BYTES that it printed. DIRECTORY is empty and for this alone.
# What COMMAND leaves in its process group is killed. A daemon, which has a session of its own, is left alone and not
# waited for.
# shellcheck disable=SC2034 # the caller reads LIMITED and OUTPUT
limited() {
    in_seconds "$1"
    limit_until=$MOMENT LIMIT_BYTES=$2 LIMIT_WORK=$3
    shift 3
    rm -f "$LIMIT_WORK"/*
    # `cat` is killed when it does not see the end of the output. Then `tail` still prints what came.
    {
        run_and_report "$@" | /bin/sh -c 'echo "$$" >"$1/relay"; exec cat' sh "$LIMIT_WORK" | keep_end
    } </dev/null >/dev/null 2>&1 3>&- &
    LIMITED=timeout
    begin_waiting
    until [ -e "$LIMIT_WORK/code" ] || passed "$limit_until"; do nap; done
    if [ -e "$LIMIT_WORK/code" ]; then read -r LIMITED <"$LIMIT_WORK/code"; fi
    end_limited
    await_output
    OUTPUT=$(cat "$LIMIT_WORK/output" 2>/dev/null)
}

# The end is reported by a rename, not seen by `kill -0`: a process that has become another user's cannot be asked.
run_and_report() (
    unset NIXFERRY_SECOND
    own_session "$@" 2>&1 &
    echo "$!" >"$LIMIT_WORK/child"
    wait "$!"
    echo "$?" >"$LIMIT_WORK/code.new"
    mv "$LIMIT_WORK/code.new" "$LIMIT_WORK/code"
) 2>/dev/null

keep_end() { tail -c "$LIMIT_BYTES" >"$LIMIT_WORK/output.new" && mv "$LIMIT_WORK/output.new" "$LIMIT_WORK/output"; }

# End the command if it runs, and what it has left in its group.
end_limited() {
    read -r limited_child 2>/dev/null <"$LIMIT_WORK/child" || return 0
    if [ ! -e "$LIMIT_WORK/code" ]; then
        kill -TERM "-$limited_child" 2>/dev/null || kill -TERM "$limited_child" 2>/dev/null
        in_seconds "$LIMIT_GRACE"
        limit_until=$MOMENT
        begin_waiting
        until [ -e "$LIMIT_WORK/code" ] || passed "$limit_until"; do nap; done
        if [ ! -e "$LIMIT_WORK/code" ]; then kill -KILL "$limited_child" 2>/dev/null; fi
    fi
    kill -KILL "-$limited_child" 2>/dev/null
}

await_output() {
    for output_step in wait cut; do
        in_seconds "$LIMIT_DRAIN"
        limit_until=$MOMENT
        begin_waiting
        until [ -e "$LIMIT_WORK/output" ] || passed "$limit_until"; do nap; done
        if [ -e "$LIMIT_WORK/output" ]; then return; fi
        if [ "$output_step" = wait ] && read -r relay 2>/dev/null <"$LIMIT_WORK/relay"; then kill "$relay" 2>/dev/null; fi
    done
}
