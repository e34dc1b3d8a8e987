# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Ask the guard: the same program as for a push by a user with few privileges (guard/installed.sh). It activates only what a
# trusted key has signed, and brings the old system back whatever becomes of this agent.
# Settings: PULL_GUARD (the program), PULL_GUARD_VERSION.

# Tests have no other namespaces.
NSENTER=${NIXFERRY_NSENTER:-nsenter}
GUARD_SECONDS=30 # for one answer, in addition to what the guard is asked to wait
ANSWER=''

# ask SECONDS VERB KEY=VALUE...: set ANSWER to the lines of the answer. Fail if it is not complete.
ask() {
    asked_seconds=$1 asked_verb=$2
    shift 2
    asked_lines=$(printf '%s\n' "version=$PULL_GUARD_VERSION" "verb=$asked_verb" "$@" "end=$asked_verb")
    case $asked_verb in start | recover | probe) asked_seconds=$((asked_seconds + 3600)) ;; esac
    # A start may have to undo what a power cut has interrupted. That must not happen inside of this unit, which has a network
    # and mounts of its own, but where process 1 is.
    # shellcheck disable=SC2016 # another shell expands it
    ANSWER=$NEWLINE$(bounded "$((asked_seconds + GUARD_SECONDS))" "$NIXFERRY_SH" -c \
        'printf "%s\n" "$1" | "$3" --target 1 --net --mount -- "$2"' sh "$asked_lines" "$PULL_GUARD" "$NSENTER")$NEWLINE
    case $ANSWER in
        *"${NEWLINE}nixferry=1$NEWLINE"*"${NEWLINE}end=$asked_verb$NEWLINE") ;;
        *) return 1 ;;
    esac
}

# answered KEY: print the first value of KEY
answered() {
    case $ANSWER in *"$NEWLINE$1="*) ;; *) return 0 ;; esac
    answered_value=${ANSWER#*"$NEWLINE$1="}
    if decode "${answered_value%%"$NEWLINE"*}"; then printf '%s\n' "$DECODED"; fi
}

new_activation_id() {
    printf 'pull-%s-%s\n' "$(date -u +%Y%m%dT%H%M%S)" "$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"
}
