# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The processes of an activation that need no more of the guard than what comes before this part. They end here: a shell
# runs a program while it reads it, and the rest would take longer to read than they have to do.

# Find the activation by the place of the program: `sh <activation>/guard.sh VERB`, or the copy of it.
use_own_activation() {
    DIR=${0%/*}
    ID=${DIR##*/}
    use_state "${DIR%/activations/*}"
    if [ "$STATE" = "$COPIES" ]; then use_state "$(state_directory)"; fi
    use_activation "$ID"
}

# run_driver FUNCTION: run a program of the activation's kind, with the variables that run_program has exported. Ends with its exit
# code.
run_driver() {
    recall request/activate_command
    # shellcheck disable=SC2034 # kinds/profile.sh reads it
    ACTIVATE_COMMAND=$TEXT
    PATH=$CALLER_PATH
    unset LC_ALL
    if [ -n "$CALLER_LOCALE" ]; then export LC_ALL="$CALLER_LOCALE"; fi
    if [ -n "$CALLER_RUNTIME_DIR" ]; then export XDG_RUNTIME_DIR="$CALLER_RUNTIME_DIR"; fi
    set +u
    "$1"
}

case ${1:-} in
    driver)
        use_own_activation
        run_driver "$2"
        driver_code=$?
        # The guard waits for the end of this process, which follows at once.
        wake_from "$3"
        exit "$driver_code"
        ;;
    # The guard's unit has stopped. In general that is because the activation has ended (see verb_stopped).
    stopped)
        use_own_activation
        if has_ended; then exit 0; fi
        ;;
esac
