# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Health checks that run on the host. After lib/limited.sh with what it needs, and this file, come calls of
#   check NUMBER RETRIES DELAY LIMIT KIND TARGET     KIND is `command` (a line for sh) or `unit` (a name); times in seconds
# in a function `checks`, and `check_health`. The answer, in the guard's form, has a line for each check that ended:
#   check=NUMBER EXIT_CODE ATTEMPTS THE_END_OF_ITS_OUTPUT      EXIT_CODE is `timeout` if the last attempt took too long
# A command sees the caller's environment, with the directories of Nix added to PATH.

OUTPUT_BYTES=2000 # of the output that is reported

have() { command -v "$1" >/dev/null 2>&1; }

# For a unit that does not run, the status from systemd explains most.
# shellcheck disable=SC2016 # another shell expands it
UNIT_IS_UP='systemctl is-active --quiet -- "$1" || { systemctl status --no-pager --lines=5 -- "$1"; false; }'

check_once() { # LIMIT KIND TARGET
    case $2 in
        command) limited "$1" "$OUTPUT_BYTES" "$HEALTH_WORK" /bin/sh -c "$3" ;;
        unit) limited "$1" "$OUTPUT_BYTES" "$HEALTH_WORK" /bin/sh -c "$UNIT_IS_UP" sh "$3" ;;
    esac
}

check() { # NUMBER RETRIES DELAY LIMIT KIND TARGET
    attempt=0
    while :; do
        attempt=$((attempt + 1))
        check_once "$4" "$5" "$6"
        if [ "$LIMITED" = 0 ] || [ "$attempt" -gt "$2" ]; then break; fi
        sleep "$3"
    done
    (
        LC_ALL=C
        say check "$1 $LIMITED $attempt $OUTPUT"
    )
}

# Print a new directory, in main memory if possible: a full disk must not make a host unhealthy.
health_directory() {
    for health_place in "${XDG_RUNTIME_DIR:-}" /run /dev/shm "${TMPDIR:-/tmp}"; do
        if [ -n "$health_place" ] && mktemp -d "$health_place/nixferry.XXXXXX" 2>/dev/null; then return; fi
    done
    false
}

leave_health() {
    # shellcheck disable=SC2034 # end_limited reads it
    LIMIT_WORK=$HEALTH_WORK
    end_limited
    rm -rf "$HEALTH_WORK"
}

check_health() {
    # shellcheck disable=SC2034 # the answer ends with it
    VERB=health
    exec 3>&1
    PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/usr/bin:/sbin:/bin
    answer_begins
    HEALTH_WORK=$(health_directory) || error no_directory "no directory for temporary files can be written to"
    # When the connection ends meanwhile, nothing must be left.
    trap leave_health EXIT
    trap 'exit 1' HUP INT PIPE TERM
    checks
    answer_ends
}
