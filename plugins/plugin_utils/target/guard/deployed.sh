# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The record of who deployed what, kept while the generation exists. Each profile has a directory
# /var/lib/nixferry/deployed/<profile, with / written as %2f>:
#   <generation>  the deploy that made it:  TOPLEVEL TIME ACTIVATION ACTION REVISION deploy=ID DEPLOYER  in one line
#   next          the same for the deploy that is being committed
#   last          the generation that was deployed last
#   history       every deploy in order, one a line:  GENERATION and then the same;  also when the generation is gone
# TIME is in seconds since the epoch. ACTION is the requested one or `rollback`. REVISION is `-` if unknown. ID is the same
# for all hosts of one run of the controller; older records lack it. A record counts only while its generation holds its
# toplevel, so a failed commit needs no clean-up here.

HISTORY_LINES=200 # at least this many deploys are remembered, at most twice as many

# Set DEPLOYED_IN to the directory of PROFILE.
find_deployed_in() {
    DEPLOYED_IN=$STATE/deployed/
    deployed_rest=$1
    while [ -n "$deployed_rest" ]; do
        case $deployed_rest in
            /*) DEPLOYED_IN=$DEPLOYED_IN%2f deployed_rest=${deployed_rest#/} ;;
            %*) DEPLOYED_IN=$DEPLOYED_IN%25 deployed_rest=${deployed_rest#%} ;;
            *)
                deployed_part=${deployed_rest%%[/%]*}
                DEPLOYED_IN=$DEPLOYED_IN$deployed_part deployed_rest=${deployed_rest#"$deployed_part"}
                ;;
        esac
    done
}

# find_deployed PROFILE: set DEPLOYED to the record of the profile's current system; empty if it was not deployed. Sets
# DEPLOYED_IN and GENERATION, too.
find_deployed() {
    find_deployed_in "$1"
    find_generation "$1"
    DEPLOYED=
    resolve "$1"
    if [ -z "$RESOLVED" ]; then return 0; fi
    for deployed_name in "${GENERATION:-0}" next; do
        read_first_line "$DEPLOYED_IN/$deployed_name"
        case $FIRST_LINE in "$RESOLVED "*) ;; *) continue ;; esac
        read -r _ deployed_time _ _ deployed_revision _ <<EOF
$FIRST_LINE
EOF
        case $deployed_revision:$deployed_time in *:*[!0-9]* | *:????????????* | :* | *:) continue ;; esac
        DEPLOYED=$FIRST_LINE
        return
    done
}

# recorded_revision PROFILE TOPLEVEL: print the revision from which TOPLEVEL was last deployed
recorded_revision() {
    recorded_newest=0
    recorded_answer=
    find_deployed_in "$1"
    for recorded_file in "$DEPLOYED_IN"/*; do
        while read -r recorded_toplevel recorded_time _ _ recorded_revision _; do
            case $recorded_time in '' | *[!0-9]*) break ;; esac
            if [ "$recorded_toplevel" = "$2" ] && [ "$recorded_time" -ge "$recorded_newest" ]; then
                recorded_newest=$recorded_time
                recorded_answer=${recorded_revision#-}
            fi
            break
        done 2>/dev/null <"$recorded_file"
    done
    echo "$recorded_answer"
}

# Written before the commit begins, so that the generation never exists without its record, and behind enter_phase, which has
# read the clock. A full disk is the exception: no deploy fails for lack of a record.
announce_deploy() {
    recall request/action
    announced_action=$TEXT
    if wanted is_rollback; then announced_action=rollback; fi
    recall request/revision
    # shellcheck disable=SC2154 # enter_phase sets phase_began
    announced="$TOPLEVEL ${phase_began%% *} $ID $announced_action ${TEXT:--}"
    recall request/deploy
    announced="$announced ${TEXT:+deploy=$TEXT }"
    recall request/deployer
    find_deployed_in "$PROFILE"
    if ! { make_sure_of_directory "$DEPLOYED_IN" &&
        { put_new "$DEPLOYED_IN/next" "$announced$TEXT" || put_once "$DEPLOYED_IN/next" "$announced$TEXT"; }; } 2>/dev/null; then
        note "this deploy could not be recorded in $DEPLOYED_IN"
    fi
}

forget_announced_deploy() {
    find_deployed_in "$PROFILE"
    rm -f "$DEPLOYED_IN/next"
}

# A failure here does not change the outcome of the deploy.
record_deploy() {
    find_deployed_in "$PROFILE"
    find_generation "$PROFILE"
    {
        put "$DEPLOYED_IN/last" "${GENERATION:-0}"
        read_first_line "$DEPLOYED_IN/next"
        remember_deploy "$DEPLOYED_IN" "${GENERATION:-0} $FIRST_LINE"
        mv -f "$DEPLOYED_IN/next" "$DEPLOYED_IN/${GENERATION:-0}"
        for recorded_file in "$DEPLOYED_IN"/*; do
            recorded_number=${recorded_file##*/}
            case $recorded_number in 0 | *[!0-9]*) continue ;; esac
            if [ ! -L "$PROFILE-$recorded_number-link" ]; then rm -f "$recorded_file"; fi
        done
    } 2>/dev/null
}

# remember_deploy DIRECTORY LINE: add LINE to the history. After a power cut it may be there twice. A line that a full disk
# has cut short does not damage the next one.
remember_deploy() {
    case $2 in *" /"*) ;; *) return 0 ;; esac
    if [ -n "$(tail -c 1 "$1/history" 2>/dev/null)" ]; then echo >>"$1/history"; fi
    printf '%s\n' "$2" >>"$1/history"
    if [ "$(wc -l <"$1/history")" -gt "$((2 * HISTORY_LINES))" ]; then
        tail -n "$HISTORY_LINES" "$1/history" >"$1/history.new" && mv -f "$1/history.new" "$1/history"
    fi
}

# say_deployed PROFILE: report every deployed generation, the record of the current one, and the last deploy
say_deployed() {
    find_deployed "$1"
    [ -d "$DEPLOYED_IN" ] || return 0
    for said_file in "$DEPLOYED_IN"/*; do
        case ${said_file##*/} in
            *[!0-9]*) ;;
            *)
                read_first_line "$said_file"
                say deploy "${said_file##*/} $FIRST_LINE"
                ;;
        esac
    done
    if [ -n "$DEPLOYED" ]; then say deployed "${GENERATION:-0} $DEPLOYED"; fi
    read_first_line "$DEPLOYED_IN/last"
    say deployed_last "$FIRST_LINE"
    if arg_is history 1; then say_lines history "$(tail -n "$((2 * HISTORY_LINES))" "$DEPLOYED_IN/history" 2>/dev/null)"; fi
}

# --- no deployer undoes the work of another unknowingly -------------------------------------------------------------

# base_of REVISION: the commit that a modified working tree is based on
base_of() { echo "${1%-dirty}"; }

# Refuse a deploy whose revision may not contain the deployed one. Only the controller knows which commit descends from
# which: it asks again with known_revision. The guard compares once more: another deploy may have come between.
check_revision() {
    if arg_is is_rollback 1; then return 0; fi
    find_arg revision
    checked_revision=$ARG
    find_deployed "$PROFILE"
    if [ -z "$DEPLOYED" ]; then
        read_first_line "$DEPLOYED_IN/last"
        if [ -n "$FIRST_LINE" ]; then
            start_note "the profile $PROFILE was changed by something else since the last deploy"
        fi
        return 0
    fi
    read -r _ _ _ _ found_revision found_deployer <<EOF
$DEPLOYED
EOF
    case $found_deployer in
        deploy=*" "*) found_deployer=${found_deployer#* } ;;
        deploy=*) found_deployer= ;;
    esac
    if [ -z "$checked_revision" ] || [ "$found_revision" = - ]; then return 0; fi
    case $(base_of "$found_revision") in
        "$(base_of "$checked_revision")" | "$(base_of "$(arg known_revision)")")
            if [ "$found_revision" != "$(base_of "$found_revision")" ] && [ "$found_deployer" != "$(arg deployer)" ]; then
                start_note "the replaced system came from a modified working tree of $found_deployer, which is in no commit"
            fi
            return 0
            ;;
    esac
    if arg_is any_revision 1; then
        start_note "replaced on request: revision $found_revision, deployed by $found_deployer"
        return 0
    fi
    release_lock
    say deployed "${GENERATION:-0} $DEPLOYED"
    error other_revision "revision $found_revision is deployed"
}
