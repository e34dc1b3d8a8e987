# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Wait for another process of the same activation. Looking again and again would cost a process each time. So the one that waits
# starts one `sleep` and records it, and the other one kills that `sleep` when there is something to see.
#
# The guard waits for the controller's requests and for the program that it runs, and is woken as `worker`. A request waits for
# the guard, and is woken as `request`. $DIR/rest.worker and $DIR/rest.request have one line each, about the last `sleep`:
#   PROCESS START BOOT
# Where the record has a copy in main memory, they lie there instead.
#
# This saves time and nothing depends on it. The one that waits looks at what it waits for, and at its deadline, whenever the
# `sleep` ends, and that ends by itself soon. So a record that is missing, cut short, outdated or of another boot costs a moment,
# and so does a process that was killed before it could wake another one. If the record cannot be written, the naps are short.

LONGEST_REST=200 # hundredths of a second
SHORTEST_REST=3
REST=''          # the `sleep`, between its start and its end
# shellcheck disable=SC2034 # guard/program.sh reads it
WOKEN=''         # not empty if the last `sleep` was killed

# Set REST_FILE to the record of the `sleep` of WHO.
find_rest() { # WHO
    find_copy "$DIR/rest.$1"
    REST_FILE=$COPY_FILE
    if [ -z "$COPY_FILE" ] || [ ! -d "${COPY_FILE%/*}" ]; then REST_FILE=$DIR/rest.$1; fi
}

# rest WHO MOMENT: wait for something to see, until MOMENT at the latest. The caller looks before each call. The first call only
# starts the `sleep`, and the second one waits for its end. What comes before the `sleep` is recorded is seen between the two,
# and what comes later ends the `sleep`.
# shellcheck disable=SC2034 # guard/program.sh reads WOKEN
rest() {
    WOKEN=''
    if [ -z "$REST" ]; then
        begin_rest "$@" || nap
        return
    fi
    { wait "$REST"; } 2>/dev/null
    rest_code=$?
    REST=''
    if [ "$rest_code" -gt 128 ]; then
        WOKEN=1
    # POSIX promises whole seconds only.
    elif [ "$rest_code" != 0 ]; then
        nap
    fi
}

begin_rest() { # WHO MOMENT
    read_clock
    rest_time=$LONGEST_REST
    if [ "$2" -lt "$((CLOCK + LONGEST_REST))" ]; then rest_time=$(($2 - CLOCK)); fi
    if [ "$rest_time" -lt "$SHORTEST_REST" ]; then rest_time=$SHORTEST_REST; fi
    rest_fraction=$((100 + rest_time % 100))
    sleep "$((rest_time / 100)).${rest_fraction#1}" >/dev/null 2>&1 3>&- &
    REST=$!
    find_boot_identity
    find_process_start "$REST"
    find_rest "$1"
    if [ -n "$PROCESS_START" ] && { printf '%s\n' "$REST $PROCESS_START $BOOT_IDENTITY" >"$REST_FILE"; } 2>/dev/null; then
        return 0
    fi
    end_rest
    false
}

# Called at the end of each wait: leave no `sleep` behind.
end_rest() {
    if [ -z "$REST" ]; then return 0; fi
    { kill "$REST" && wait "$REST"; } 2>/dev/null
    REST=''
}

# wake WHO: called after each step that WHO may wait for
wake() {
    find_rest "$1"
    wake_from "$REST_FILE"
}

# wake_from FILE: end the `sleep` that FILE records. Its start and its boot are compared, so that no other process is ever killed.
wake_from() {
    { read -r wake_process wake_start wake_boot <"$1"; } 2>/dev/null || return 0
    case $wake_process in '' | *[!0-9]*) return 0 ;; esac
    if is_this_boot "$wake_boot" && alive "$wake_process" "$wake_start"; then kill "$wake_process" 2>/dev/null; fi
    return 0
}
