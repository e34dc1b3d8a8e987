# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The clock, waiting, and commands with a time limit.

# These functions set a variable and print nothing: a $(...) would cost a process each time, and they are called often.

CLOCK=0

# Set CLOCK: hundredths of a second on a clock that cannot be set; without /proc (macOS) on the wall clock. It stays as it is
# if the clock cannot be read.
if [ -r "$PROC/uptime" ]; then
    read_clock() {
        read -r clock_uptime _ <"$PROC/uptime" || return 0
        clock_fraction=${clock_uptime#*.}
        CLOCK=$((${clock_uptime%%.*} * 100 + 1$clock_fraction - 100))
    }
else
    read_clock() { CLOCK=$(date +%s)00; }
fi

# Tests let a second last less than 100 hundredths.
NIXFERRY_SECOND=${NIXFERRY_SECOND:-100}
export NIXFERRY_SECOND

UNKNOWN_LIMIT=600 # seconds, where a damaged record does not tell how long something may take

# Arithmetic with anything else ends the shell.
is_number() {
    case ${1#-} in
        0) ;;
        [1-9]*) case ${1#-} in *[!0-9]*) return 1 ;; esac ;;
        *) return 1 ;;
    esac
}

# in_seconds SECONDS: set MOMENT to the time in so many seconds
in_seconds() {
    read_clock
    if is_number "$1"; then MOMENT=$((CLOCK + $1 * NIXFERRY_SECOND)); else MOMENT=$((CLOCK + UNKNOWN_LIMIT * NIXFERRY_SECOND)); fi
}

# seconds_until MOMENT: set TIME_LEFT, rounded up
# shellcheck disable=SC2034 # other parts read it
seconds_until() {
    read_clock
    TIME_LEFT=0
    if is_number "$1"; then TIME_LEFT=$((($1 - CLOCK + NIXFERRY_SECOND - 1) / NIXFERRY_SECOND)); fi
}

passed() {
    read_clock
    [ "$CLOCK" -ge "$1" ]
}

# Look often at first, since most waits are short, then less often: each look takes a process. Tests set shorter naps.
SHORT_NAP=0.03
MIDDLE_NAP=${NIXFERRY_NAP:-0.1}
LONG_NAP=${NIXFERRY_NAP:-0.25}
NAPS=0
begin_waiting() { NAPS=0; }
nap() {
    NAPS=$((NAPS + 1))
    case $NAPS in
        [1-3]) nap_seconds=$SHORT_NAP ;;
        [4-7]) nap_seconds=$MIDDLE_NAP ;;
        *) nap_seconds=$LONG_NAP ;;
    esac
    if sleep "$nap_seconds" 2>/dev/null; then return 0; fi
    # POSIX promises whole seconds only.
    SHORT_NAP=1 MIDDLE_NAP=1 LONG_NAP=1
    sleep 1
}

pause() {
    in_seconds "$1"
    pause_until=$MOMENT
    until passed "$pause_until"; do nap; done
}

BOUNDED_GRACE=2   # seconds between SIGTERM and SIGKILL

# bounded SECONDS COMMAND...: run a program without input, such as one that asks the service manager, which may hang. Kill it
# when the time is over, and fail. `timeout` would not do: macOS lacks it, and it waits for a program that ignores SIGTERM.
bounded() {
    in_seconds "$1"
    bounded_until=$MOMENT
    shift
    "$@" </dev/null &
    bounded_process=$!
    end_in_time "$bounded_process" "$bounded_until" </dev/null >/dev/null 2>&1 3>&- &
    bounded_watch=$!
    wait "$bounded_process"
    bounded_code=$?
    { kill "$bounded_watch" && wait "$bounded_watch"; } 2>/dev/null
    return "$bounded_code"
}

# It also ends when the process does, should the one that waits for it be killed.
end_in_time() { # PROCESS MOMENT
    NAPS=10
    until passed "$2"; do
        nap
        kill -0 "$1" || return
    done
    kill -TERM "$1"
    pause "$BOUNDED_GRACE"
    kill -KILL "$1"
}
