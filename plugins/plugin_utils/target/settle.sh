# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Services that were started and die a moment later: a program that has activated them, and exits with 0, tells
# nothing about them. They are watched for a while.

SETTLE_LOOK=3       # seconds without a restart after which the services that were started count as running
SETTLE_DEADLINE=15  # seconds after which what still starts or restarts is judged as it is

# Asks the service manager whose units the kind activates: the system's, or the user's. Silent where there is none.
ask_units() {
    have systemctl && [ -d "$ROOT/run/systemd/system" ] || return 0
    bounded 30 systemctl "$(manager_scope)" "$@" 2>/dev/null
}

# services_by PROPERTY: a line "NAME VALUE" for each service that is loaded
services_by() {
    ask_units show --property=Id --property="$1" '*.service' | {
        service='' value=''
        while IFS= read -r shown || [ -n "$shown" ]; do
            case $shown in
                Id=*) service=${shown#*=} ;;
                ?*=*) value=${shown#*=} ;;
                '')
                    say_service "$service" "$value"
                    service='' value=''
                    ;;
            esac
        done
        say_service "$service" "$value"
    }
}

# The guard's own do not count.
say_service() { # NAME VALUE
    case $1:$2 in nixferry-* | *:) ;; *) echo "$1 $2" ;; esac
}

# Units that are neither up nor down, and were not so before
restless_units() {
    ask_units list-units --state=activating,reloading,deactivating --plain --no-legend --no-pager --full |
        while read -r restless_unit _; do
            case $restless_unit in nixferry-* | '') continue ;; esac
            if ! grep -qxF -e "$restless_unit" "$DIR/old/failed_units"; then echo "$restless_unit"; fi
        done
}

# The first words of those lines of FILE that are not in OTHER; without a program for each line, as there may be many
changed_since() { # FILE OTHER
    changed_from="
$(cat "$2")
"
    while IFS= read -r changed_line; do
        case $changed_from in *"
$changed_line
"*) ;; *) echo "${changed_line%% *}" ;; esac
    done <"$1"
}

# Waits until what the activation has started runs or has failed. FLAPPING becomes the services that were still being
# restarted when it took too long: at the moment of looking they may run.
settle_units() {
    FLAPPING=''
    services_by InvocationID >"$DIR/services_now"
    # Each start has an id of its own: without a new one there is nothing to watch.
    started_services=$(changed_since "$DIR/services_now" "$DIR/old/services")
    rm -f "$DIR/services_now"
    if [ -z "$started_services" ] && [ -z "$(restless_units)" ]; then return 0; fi
    settle_until=$(in_seconds "$SETTLE_DEADLINE")
    quiet_until=$(in_seconds "$SETTLE_LOOK")
    services_by NRestarts >"$DIR/restarts"
    begin_waiting
    until passed "$settle_until"; do
        compare_failed_units
        # Failed for good; who is only waiting for the next attempt may yet succeed.
        if [ -n "$(only_failed)" ]; then break; fi
        restless=$(restless_units)
        if [ -n "$restless" ]; then
            quiet_until=$(in_seconds "$SETTLE_LOOK")
        elif passed "$quiet_until"; then
            services_by NRestarts >"$DIR/restarts_now"
            FLAPPING=$(changed_since "$DIR/restarts_now" "$DIR/restarts")
            mv -f "$DIR/restarts_now" "$DIR/restarts"
            if [ -z "$FLAPPING" ]; then break; fi
            quiet_until=$(in_seconds "$SETTLE_LOOK")
        fi
        if [ -e "$DIR/abort" ]; then break; fi
        nap
    done
    if [ -n "${restless:-}" ]; then note "still starting or stopping after the activation: $(listed "$restless")"; fi
    rm -f "$DIR/restarts"
}

# Of the units that are new in failing, those that are not just waiting to be started again
only_failed() {
    ask_units list-units --state=failed --plain --no-legend --no-pager --full | while read -r only_failed_unit _; do
        if names_unit "$NEW_FAILED" "$only_failed_unit"; then echo "$only_failed_unit"; fi
    done
}

# names_unit LINES UNIT: is it one of them?
names_unit() { case " $(listed "$1") " in *" $2 "*) ;; *) false ;; esac; }
