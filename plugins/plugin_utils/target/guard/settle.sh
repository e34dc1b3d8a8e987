# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Units that have failed since an activation began, and services that it has started. For systemd and for the system's
# own program, a service that dies two seconds after its start was started successfully. The guard watches them while it
# waits for the confirmation, until they have run for `settle` seconds without a restart or one has failed. So this takes
# time only if the controller is faster, and none if no service that was started runs.

# --- units that have failed -----------------------------------------------------------------------------------------

# is_ignored UNIT: does one of the patterns of the request match it? In general there are none.
is_ignored() {
    recall request/ignored_units
    [ -n "$TEXT" ] && matches_pattern "$1" "$TEXT"
}

# matches_pattern UNIT PATTERNS: names are also compared as they are, since `\` escapes in patterns.
matches_pattern() (
    set -f
    for pattern in $2; do
        # shellcheck disable=SC2254 # it is a pattern
        case $1 in "$pattern" | $pattern) exit 0 ;; esac
    done
    exit 1
)

# Compare FAILED_UNITS (find_units): set NEW_FAILED to the units that have failed since the activation began, and NEW_IGNORED
# to those of which the request says that they do not count. FLAPPING are services that systemd restarts again and again:
# they may run whenever the guard looks.
compare_failed_units() {
    recall old/failed_units
    failed_before=$TEXT
    NEW_FAILED='' NEW_IGNORED=''
    # Names may contain a backslash.
    set -f
    for now_failed in $FAILED_UNITS ${FLAPPING:-}; do
        if names_line "$failed_before$NEWLINE$NEW_FAILED$NEWLINE$NEW_IGNORED" "$now_failed"; then continue; fi
        if is_ignored "$now_failed"; then
            NEW_IGNORED="$NEW_IGNORED${NEW_IGNORED:+$NEWLINE}$now_failed"
        else
            NEW_FAILED="$NEW_FAILED${NEW_FAILED:+$NEWLINE}$now_failed"
        fi
    done
    set +f
}

note_ignored() {
    if [ "$NEW_IGNORED" = "${noted_ignored:-}" ]; then return 0; fi
    noted_ignored=$NEW_IGNORED
    note "failed units are ignored as asked: $(listed "$NEW_IGNORED")"
}

# units_message WORDS: the reason for a roll back: the failed units behind WORDS, or that they are not known
units_message() {
    if [ -n "$UNITS_PROBLEM" ]; then echo "$UNITS_PROBLEM"; else echo "$1: $(listed "$NEW_FAILED")"; fi
}

# Leave in NEW_FAILED those that systemd will not start again by itself.
leave_failed_for_good() {
    left_failed=$NEW_FAILED
    NEW_FAILED=
    set -f
    for left_unit in $left_failed; do
        if names_line "$FAILED_FOR_GOOD" "$left_unit"; then NEW_FAILED="$NEW_FAILED${NEW_FAILED:+$NEWLINE}$left_unit"; fi
    done
    set +f
}

# --- services that were started -------------------------------------------------------------------------------------

LOOK_INTERVAL=3         # seconds between two looks at services: each costs the host 20 ms
UNITS_FRESH=''          # not empty right after the list of units was asked for: the verdict on the activation needs it, too
SETTLE_PATIENCE=5       # services that still start or restart are judged as they are after so many times `settle`

# Set SETTLE_TIME and LONGEST_SETTLING, in seconds.
find_settle_time() {
    recall request/settle
    SETTLE_TIME=0
    if is_number "$TEXT" && [ "${#TEXT}" -le 6 ]; then SETTLE_TIME=$TEXT; fi
    LONGEST_SETTLING=$((SETTLE_PATIENCE * SETTLE_TIME))
}

watches_services() {
    [ -n "$KIND_CHECK_UNITS" ] || return 1
    find_settle_time
    [ "$SETTLE_TIME" != 0 ] && ! asked_for failed_units ignore
}

# SETTLING is not empty while services are watched.
begin_settling() {
    SETTLING='' flapping_services=''
    if watches_services; then
        recall old/services
        services_before=$NEWLINE$TEXT$NEWLINE
        recall old/failed_units
        failed_before=$TEXT
        if look_at_services; then SETTLING=$watched_services; else SETTLING=unknown; fi
    fi
    if [ -z "$SETTLING" ]; then
        end_settling
        return
    fi
    restarts_before=$watched_services
    in_seconds "$LONGEST_SETTLING"
    settle_until=$MOMENT
    expect_quiet
    next_look=0
    if [ "$SETTLING" != unknown ]; then find_next_look; fi
}

expect_quiet() {
    in_seconds "$SETTLE_TIME"
    quiet_until=$MOMENT
}

# What happens between two looks shows in the number of restarts, so one look at the end of a short time is enough.
find_next_look() {
    in_seconds "$LOOK_INTERVAL"
    next_look=$MOMENT
    if [ "$quiet_until" -gt "$CLOCK" ] && [ "$quiet_until" -lt "$next_look" ]; then next_look=$quiet_until; fi
}

# A controller that asks for a hold waits for this file.
end_settling() {
    SETTLING=''
    keep "$DIR/settled" 1
    wake request
}

# Set watched_services to lines "NAME RESTARTS", RESTLESS_SERVICES to those of them that start or stop, and
# WAITING_SERVICES to those that systemd will start again. Fails if they are not known.
look_at_services() {
    watched_services='' RESTLESS_SERVICES='' WAITING_SERVICES=''
    if [ -z "$UNITS_FRESH" ] && ! find_units; then return 1; fi
    UNITS_FRESH=''
    if ! split_lines "$LIVE_SERVICES" find_states; then return 1; fi
    split_lines "$STATES" look_at_each
    watched_services=${watched_services:+$NEWLINE$watched_services}
}

look_at_each() { for service_line; do look_at_service "$service_line"; done; }

look_at_service() { # LINE
    property InvocationID "$1"
    service_id=$VALUE
    property SubState "$1"
    service_state=$VALUE
    case $service_state in
        auto-restart*) ;;
        running | start* | reload* | stop* | final* | condition)
            # Each start has its own id.
            case $service_id$services_before in "$NEWLINE"* | *" InvocationID=$service_id"*) return 0 ;; esac
            ;;
        # It has no process that could fail.
        *) return 0 ;;
    esac
    service_name=${1%% *}
    if names_line "$failed_before" "$service_name"; then return 0; fi
    property NRestarts "$1"
    service_restarts=${VALUE:-0}
    if is_login_service "$service_name" || restarts_by_itself || is_ignored "$service_name"; then return 0; fi
    watched_services=$watched_services$service_name\ $service_restarts$NEWLINE
    case $service_state in
        running) return 0 ;;
        auto-restart*) WAITING_SERVICES=$WAITING_SERVICES$NEWLINE$service_name ;;
    esac
    RESTLESS_SERVICES="$RESTLESS_SERVICES $service_name"
}

# systemd restarted it before the activation already, and the activation did not: that would have reset the number.
restarts_by_itself() {
    case $services_before in *"$NEWLINE$service_name "*) ;; *) return 1 ;; esac
    service_before=${services_before#*"$NEWLINE$service_name "}
    property NRestarts " ${service_before%%"$NEWLINE"*}"
    [ "${VALUE:-0}" -gt 0 ] && [ "$service_restarts" -ge "$VALUE" ]
}

# Look at the services. Fails if units have failed, with their names in NEW_FAILED, or if they are not known (UNITS_PROBLEM).
settle() {
    if [ -z "$SETTLING" ] || ! passed "$next_look"; then return 0; fi
    if ! look_at_services; then
        in_seconds 1
        next_look=$MOMENT
        if ! passed "$settle_until"; then return 0; fi
        UNITS_PROBLEM=$UNITS_SILENT
        return 1
    fi
    # The number of restarts also shows a service that runs whenever the guard looks.
    restarted_now=
    if [ "$watched_services" != "$restarts_before" ]; then restarted_now=$(restarted_services); fi
    restarts_before=$watched_services
    flapping_services=${restarted_now:-$flapping_services}
    settled='' FLAPPING=''
    if [ -n "$RESTLESS_SERVICES$restarted_now" ]; then
        expect_quiet
    elif passed "$quiet_until"; then
        settled=1
    fi
    find_next_look
    if [ -z "$settled" ] && passed "$settle_until"; then
        settled=1 FLAPPING=$flapping_services
    fi
    UNITS_PROBLEM=
    compare_failed_units
    if [ -z "$settled" ] && ! has_failed_for_good; then return 0; fi
    if [ -n "$RESTLESS_SERVICES" ]; then note "still starting or stopping after the activation:$RESTLESS_SERVICES"; fi
    note_ignored
    set_result failed_units "$NEW_FAILED"
    if [ -n "$NEW_FAILED" ]; then return 1; fi
    end_settling
}

# Print those of watched_services that were restarted since the last look.
restarted_services() {
    printf %s "$watched_services" | while read -r restarted_name restarted_number; do
        case $restarts_before in
            *"$NEWLINE$restarted_name $restarted_number$NEWLINE"*) ;;
            *"$NEWLINE$restarted_name "*) echo "$restarted_name" ;;
        esac
    done
}

# A service that waits for its next attempt may still succeed.
has_failed_for_good() {
    for settle_failed in $NEW_FAILED; do
        if ! names_line "$WAITING_SERVICES" "$settle_failed"; then return 0; fi
    done
    false
}
