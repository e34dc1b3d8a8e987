# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The service manager, on hosts that have one: start transient units, and ask about other units.

UNIT_VARIABLES='PATH HOME USER LOGNAME SUDO_USER LOCALE_ARCHIVE NIX_REMOTE NIX_SSL_CERT_FILE
    XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CONFIG_HOME DBUS_SESSION_BUS_ADDRESS NIXFERRY_ROOT NIXFERRY_PROC NIXFERRY_SH NIXFERRY_SECOND NIXFERRY_NAP
    NIXFERRY_WHOLE_PATH'

# A user's service manager ends with the last login, unless it lingers.
has_service_manager() {
    have systemd-run && [ -d "$ROOT/run/systemd/system" ] || return 1
    is_root || { [ -e "$ROOT/var/lib/systemd/linger/$(id -un)" ] && bounded 30 systemctl --user show-environment >/dev/null 2>&1; }
}

if is_root; then MANAGER_SCOPE=--system; else MANAGER_SCOPE=--user; fi

stop_unit() { if has_service_manager; then bounded 30 systemctl "$MANAGER_SCOPE" --no-block stop "$1" 2>/dev/null; fi; }

# run_unit NAME OPTION... COMMAND...: start a transient unit, which a switch leaves alone: switch-to-configuration looks
# at the files in /etc/systemd/system only, without default dependencies no other unit stops it, and `systemctl isolate`
# passes it over. Processes that a program leaves running, such as a daemon, outlive the unit (kill_program ends them).
# A service gets a bare environment.
run_unit() {
    unit_name=$1
    shift
    set -- "$MANAGER_SCOPE" --unit="$unit_name" --description="nixferry: activation $ID" --quiet --no-ask-password \
        --collect -p DefaultDependencies=no -p IgnoreOnIsolate=yes -p KillMode=process "$@"
    for variable in $UNIT_VARIABLES; do
        eval "value=\${$variable-}"
        if [ -n "$value" ]; then set -- "--setenv=$variable=$value" "$@"; fi
    done
    bounded 60 systemd-run "$@"
}

unit_environment() {
    for variable in $UNIT_VARIABLES; do
        eval "value=\${$variable-}"
        if [ -n "$value" ]; then printf 'Environment="%s=%s"\n' "$variable" "$value" | sed 's/[\\%]/&&/g'; fi
    done
}

# Print the other processes of this activation's units, in any session. Their control groups lie beside that of the service
# manager, which in a container is not always at the top. The hierarchy is that of cgroup v2, or one of two others in
# mixed set-ups.
others_in_units() {
    user_group=user.slice/user-$USER_ID.slice/user@$USER_ID.service
    # shellcheck disable=SC2013 # paths without spaces
    for manager_group in $(sed -n 's|/init.scope$|/|; s/^0:://p; s/^[0-9]*:name=systemd://p' "$PROC/1/cgroup" 2>/dev/null); do
        for hierarchy in '' unified systemd; do
            for slice in system.slice "$user_group/app.slice" "$user_group"; do
                for unit_processes in "$ROOT/sys/fs/cgroup/$hierarchy$manager_group/$slice/nixferry-$ID"*/cgroup.procs; do
                    if [ -r "$unit_processes" ]; then grep -vx "$$" "$unit_processes"; fi
                done
            done
        done
    done
}

# --- units of the system that is activated --------------------------------------------------------------------------

# "No unit" is not "unknown": systemctl may crash, hang, be killed, or find no way to the service manager, and prints nothing
# then. All functions below fail in that case.
UNITS_DEADLINE=30   # seconds until the service manager must have answered
UNITS_PAUSE=1       # seconds between two questions: it drops its callers when it executes itself again
# shellcheck disable=SC2034 # guard/settle.sh reads it, and others
UNITS_SILENT='the service manager does not tell the states of units'

# Is there a service manager for the kind's units? That of a user comes and goes with logins.
has_units() {
    have systemctl && [ -d "$ROOT/run/systemd/system" ] || return 1
    is_root || [ -e "${XDG_RUNTIME_DIR:-/run/user/$USER_ID}/systemd/private" ]
}

# ask_units WORD...: ask the service manager of the kind's units: the system's, or the user's. Set UNITS_SAID to the answer,
# which is empty without a service manager. Ask again in case of a failure.
ask_units() {
    UNITS_SAID=
    has_units || return 0
    in_seconds "$UNITS_DEADLINE"
    units_until=$MOMENT
    TIME_LEFT=$UNITS_DEADLINE
    until UNITS_SAID=$(bounded "$TIME_LEFT" systemctl "$MANAGER_SCOPE" "$@" 2>/dev/null); do
        UNITS_SAID=
        seconds_until "$units_until"
        if [ "$TIME_LEFT" -le "$UNITS_PAUSE" ]; then return 1; fi
        pause "$UNITS_PAUSE"
        seconds_until "$units_until"
    done
}

# The states of units that have failed, that run, or that change. Each unit that is asked about costs the service manager a
# quarter of a millisecond. So the list comes first, and only what runs is asked about.
UNIT_STATES=failed,active,activating,reloading,deactivating

# find_units [STATES]: list the units in these states, except the guard's own. Set FAILED_UNITS to those that have failed or
# fail repeatedly, FAILED_FOR_GOOD to those of them that are not started again, ACTIVE_SERVICES to the active services, and
# LIVE_SERVICES to the services that have processes or change, all one a line.
# shellcheck disable=SC2120 # no caller in this part gives states
find_units() {
    FAILED_UNITS='' FAILED_FOR_GOOD='' ACTIVE_SERVICES='' LIVE_SERVICES=''
    ask_units list-units --state="${1:-$UNIT_STATES}" --plain --no-legend --no-pager --full || return
    split_lines "$UNITS_SAID" sort_units
    FAILED_UNITS=${FAILED_UNITS%"$NEWLINE"} FAILED_FOR_GOOD=${FAILED_FOR_GOOD%"$NEWLINE"}
    ACTIVE_SERVICES=${ACTIVE_SERVICES%"$NEWLINE"}
}

sort_units() {
    # A description may contain a pattern.
    set -f
    # shellcheck disable=SC2086 # the columns are words
    for unit_line; do sort_unit $unit_line; done
    set +f
}

sort_unit() { # NAME LOADED ACTIVE SUB DESCRIPTION...
    case $1 in nixferry-*) return 0 ;; esac
    case $3:$4 in
        failed:*) FAILED_UNITS=$FAILED_UNITS$1$NEWLINE FAILED_FOR_GOOD=$FAILED_FOR_GOOD$1$NEWLINE ;;
        *:auto-restart) FAILED_UNITS=$FAILED_UNITS$1$NEWLINE ;;
    esac
    case $1:$3:$4 in
        *.service:failed:*) return 0 ;;
        *.service:active:exited) ;;
        *.service:*) LIVE_SERVICES=$LIVE_SERVICES$1$NEWLINE ;;
        *) return 0 ;;
    esac
    if [ "$3" = active ]; then ACTIVE_SERVICES=$ACTIVE_SERVICES$1$NEWLINE; fi
}

# Print units that have failed or fail repeatedly.
failed_units() {
    find_units failed,auto-restart || return
    if [ -n "$FAILED_UNITS" ]; then printf '%s\n' "$FAILED_UNITS"; fi
}

# find_states NAME...: set STATES to a line "NAME PROPERTY=VALUE..." for each of these services, except the guard's own
find_states() {
    STATES=
    # Without a name, systemctl would tell of itself.
    if [ "$#" = 0 ]; then return 0; fi
    ask_units show --property=Id --property=ActiveState --property=SubState --property=InvocationID \
        --property=NRestarts -- "$@" || return
    # An empty line follows each service.
    states_rest=$UNITS_SAID$NEWLINE$NEWLINE
    set -f
    while [ -n "$states_rest" ]; do
        # shellcheck disable=SC2086 # properties whose values have no spaces
        add_state ${states_rest%%"$NEWLINE$NEWLINE"*}
        states_rest=${states_rest#*"$NEWLINE$NEWLINE"}
    done
    set +f
    STATES=${STATES%"$NEWLINE"}
}

add_state() { # PROPERTY=VALUE...
    state_name='' state_values=''
    for state_property; do
        case $state_property in
            Id=*) state_name=${state_property#*=} ;;
            ?*=*) state_values="$state_values $state_property" ;;
        esac
    done
    case $state_name in nixferry-* | '') ;; *) STATES=$STATES$state_name$state_values$NEWLINE ;; esac
}

# Print a line "NAME ID" for each service that was started. Each start has its own id.
service_ids() {
    find_states '*.service' || return
    printf '%s\n' "$STATES" | sed -n 's/^\([^ ]*\) .*InvocationID=\([^ ]\{1,\}\).*/\1 \2/p'
}

# property NAME LINE: set VALUE to the property in a line of service_states; empty if it is missing
property() {
    VALUE="$2 "
    case $VALUE in
        *" $1="*)
            VALUE=${VALUE#*" $1="}
            VALUE=${VALUE%%" "*}
            ;;
        *) VALUE='' ;;
    esac
}
