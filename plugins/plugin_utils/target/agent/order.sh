# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Give an installed agent an order: ORDER is held, released, cleared or forgotten. With UNTIL and REASON for a hold, DRY_RUN (1 or 0).

# ordered FILE VERB...: have the agent do it, and note that FILE was changed by that
ordered() {
    ordered_file=$1
    shift
    say changed_file "$ordered_file"
    if [ "$DRY_RUN" = 1 ]; then return 0; fi
    "$PULL/agent" "$@" </dev/null || error unwritable "the agent could not do it: see its words"
}

give_order() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=pull_agent
    exec 3>&1 1>&2
    answer_begins
    is_root || error not_root "only root can give the pull agent orders"
    [ -x "$PULL/agent" ] || error no_agent "this host has no pull agent: there is no $PULL/agent"
    case $ORDER in
        held) if [ "$(first_line "$PULL/hold")" != "$UNTIL $REASON" ]; then ordered "$PULL/hold" hold "$UNTIL" "$REASON"; fi ;;
        released) if [ -e "$PULL/hold" ]; then ordered "$PULL/hold" release; fi ;;
        cleared)
            if [ -d "$PULL/quarantine" ] || [ -e "$PULL_RUN/quarantined" ]; then ordered "$PULL/quarantine" clear; fi
            ;;
        forgotten)
            [ -e "$PULL/commit_signers" ] || [ -e "$PULL/accepted_commit" ] || error no_repository "this agent follows no branch"
            if [ -e "$PULL/accepted_commit" ]; then ordered "$PULL/accepted_commit" forget; fi
            ;;
    esac
    answer_ends
}

give_order
