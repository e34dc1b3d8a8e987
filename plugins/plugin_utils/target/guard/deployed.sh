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

deployed_directory() { # PROFILE
    echo "$STATE/deployed/$(printf '%s\n' "$1" | sed 's/%/%25/g; s,/,%2f,g')"
}

# deployed_record PROFILE: print the record of the profile's current system; nothing if it was not deployed
deployed_record() {
    deployed_target=$(resolved "$1")
    [ -n "$deployed_target" ] || return 0
    deployed_in=$(deployed_directory "$1")
    deployed_generation=$(generation_of "$1")
    for deployed_name in "${deployed_generation:-0}" next; do
        deployed_line=$(first_line "$deployed_in/$deployed_name")
        case $deployed_line in "$deployed_target "*) ;; *) continue ;; esac
        read -r _ deployed_time _ _ deployed_revision _ <<EOF
$deployed_line
EOF
        case $deployed_revision:$deployed_time in *:*[!0-9]* | *:????????????* | :* | *:) continue ;; esac
        echo "$deployed_line"
        return
    done
}

# recorded_revision PROFILE TOPLEVEL: print the revision from which TOPLEVEL was last deployed
recorded_revision() {
    recorded_newest=0
    recorded_answer=
    for recorded_file in "$(deployed_directory "$1")"/*; do
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

# Written before the commit begins, so that the generation never exists without its record. A full disk is the exception:
# no deploy fails for lack of a record.
announce_deploy() {
    announced_in=$(deployed_directory "$PROFILE")
    announced_action=$(request action)
    if wanted is_rollback; then announced_action=rollback; fi
    announced_revision=$(request revision)
    announced_deploy=$(request deploy)
    announced="$TOPLEVEL $(date +%s) $ID $announced_action ${announced_revision:--} ${announced_deploy:+deploy=$announced_deploy }$(request deployer)"
    if ! { mkdir -p "$announced_in" && put_once "$announced_in/next" "$announced"; } 2>/dev/null; then
        note "this deploy could not be recorded in $announced_in"
    fi
}

forget_announced_deploy() { rm -f "$(deployed_directory "$PROFILE")/next"; }

# A failure here does not change the outcome of the deploy.
record_deploy() {
    announced_in=$(deployed_directory "$PROFILE")
    recorded_generation=$(generation_of "$PROFILE")
    {
        put "$announced_in/last" "${recorded_generation:-0}"
        remember_deploy "$announced_in" "${recorded_generation:-0} $(first_line "$announced_in/next")"
        mv -f "$announced_in/next" "$announced_in/${recorded_generation:-0}"
        for recorded_file in "$announced_in"/*; do
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
    said_in=$(deployed_directory "$1")
    [ -d "$said_in" ] || return 0
    for said_file in "$said_in"/*; do
        case ${said_file##*/} in *[!0-9]*) ;; *) say deploy "${said_file##*/} $(first_line "$said_file")" ;; esac
    done
    said_record=$(deployed_record "$1")
    said_generation=$(generation_of "$1")
    if [ -n "$said_record" ]; then say deployed "${said_generation:-0} $said_record"; fi
    say deployed_last "$(first_line "$said_in/last")"
    if [ "$(arg history)" = 1 ]; then say_lines history "$(tail -n "$((2 * HISTORY_LINES))" "$said_in/history" 2>/dev/null)"; fi
}

# --- no deployer undoes the work of another unknowingly -------------------------------------------------------------

# base_of REVISION: the commit that a modified working tree is based on
base_of() { echo "${1%-dirty}"; }

# Refuse a deploy whose revision may not contain the deployed one. Only the controller knows which commit descends from
# which: it asks again with known_revision. The guard compares once more: another deploy may have come between.
check_revision() {
    checked_revision=$(arg revision)
    if [ "$(arg is_rollback)" = 1 ]; then return 0; fi
    checked_record=$(deployed_record "$PROFILE")
    if [ -z "$checked_record" ]; then
        if [ -n "$(first_line "$(deployed_directory "$PROFILE")/last")" ]; then
            start_note "the profile $PROFILE was changed by something else since the last deploy"
        fi
        return 0
    fi
    read -r _ _ _ _ found_revision found_deployer <<EOF
$checked_record
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
    if [ "$(arg any_revision)" = 1 ]; then
        start_note "replaced on request: revision $found_revision, deployed by $found_deployer"
        return 0
    fi
    found_generation=$(generation_of "$PROFILE")
    release_lock
    say deployed "${found_generation:-0} $checked_record"
    error other_revision "revision $found_revision is deployed"
}
