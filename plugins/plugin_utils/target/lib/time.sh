# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The clock, waiting, and commands with a time limit.

# Hundredths of a second on a clock that cannot be set; without /proc (macOS) on the wall clock.
if [ -r "$PROC/uptime" ]; then
    now() {
        read -r now_uptime _ <"$PROC/uptime"
        now_fraction=${now_uptime#*.}
        echo $((${now_uptime%%.*} * 100 + 1$now_fraction - 100))
    }
else
    now() { echo "$(date +%s)00"; }
fi

# Tests let a second last less than 100 hundredths.
NIXFERRY_SECOND=${NIXFERRY_SECOND:-100}
export NIXFERRY_SECOND

in_seconds() { echo $(($(now) + $1 * NIXFERRY_SECOND)); }

# seconds_until MOMENT: rounded up
seconds_until() { echo $((($1 - $(now) + NIXFERRY_SECOND - 1) / NIXFERRY_SECOND)); }

passed() { [ "$(now)" -ge "$1" ]; }

# Look often at first, since most waits are short, then less often. Tests set shorter naps.
SHORT_NAP=0.03
LONG_NAP=${NIXFERRY_NAP:-0.2}
NAPS=0
begin_waiting() { NAPS=0; }
nap() {
    NAPS=$((NAPS + 1))
    if [ "$NAPS" -le 10 ]; then nap_seconds=$SHORT_NAP; else nap_seconds=$LONG_NAP; fi
    if sleep "$nap_seconds" 2>/dev/null; then return 0; fi
    # POSIX promises whole seconds only.
    SHORT_NAP=1 LONG_NAP=1
    sleep 1
}

pause() {
    pause_until=$(in_seconds "$1")
    until passed "$pause_until"; do nap; done
}

BOUNDED_GRACE=2   # seconds between SIGTERM and SIGKILL

# bounded SECONDS COMMAND...: run a program without input, such as one that asks the service manager, which may hang. Kill it
# when the time is over, and fail. `timeout` would not do: macOS lacks it, and it waits for a program that ignores SIGTERM.
bounded() {
    bounded_until=$(in_seconds "$1")
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
