# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Health checks that run on the host. After lib/answer.sh and this file come calls of
#   check NUMBER RETRIES DELAY LIMIT KIND TARGET     KIND is `command` (a line for sh) or `unit` (a name); times in seconds
# in a function `checks`, and `check_health`. The answer, in the guard's form, has a line for each check that ended:
#   check=NUMBER EXIT_CODE ATTEMPTS THE_END_OF_ITS_OUTPUT
# A command sees the caller's environment, with the directories of Nix added to PATH.

OUTPUT_BYTES=2000 # of the output that is reported
HEALTH_GRACE=2    # seconds between SIGTERM and SIGKILL

# timeout is in coreutils and busybox. macOS lacks it: there a command runs without a limit.
within() { # LIMIT COMMAND...
    if command -v timeout >/dev/null 2>&1; then timeout -k "$HEALTH_GRACE" "$@"; else
        shift
        "$@"
    fi
}

# For a unit that does not run, the status from systemd explains most.
# shellcheck disable=SC2016 # another shell expands it
UNIT_IS_UP='systemctl is-active --quiet "$1" || { systemctl status --no-pager --lines=5 "$1"; false; }'

check_once() { # LIMIT KIND TARGET
    case $2 in
        command) within "$1" /bin/sh -c "$3" ;;
        unit) within "$1" /bin/sh -c "$UNIT_IS_UP" sh "$3" ;;
    esac
}

check() { # NUMBER RETRIES DELAY LIMIT KIND TARGET
    attempt=0
    while :; do
        attempt=$((attempt + 1))
        output=$(check_once "$4" "$5" "$6" </dev/null 2>&1 3>&-)
        code=$?
        if [ "$code" = 0 ] || [ "$attempt" -gt "$2" ]; then break; fi
        sleep "$3"
    done
    (
        LC_ALL=C
        say check "$1 $code $attempt $(printf %s "$output" | tail -c "$OUTPUT_BYTES")"
    )
}

check_health() {
    # shellcheck disable=SC2034 # the answer ends with it
    VERB=health
    exec 3>&1
    PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/usr/bin:/sbin:/bin
    answer_begins
    checks
    answer_ends
}
