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

# units_in STATES: print the units in these states, except the guard's own
units_in() {
    ask_units list-units --state="$1" --plain --no-legend --no-pager --full || return
    printf '%s\n' "$UNITS_SAID" | while read -r unit_found _; do
        case $unit_found in nixferry-* | '') ;; *) echo "$unit_found" ;; esac
    done
}

# Print units that have failed or fail repeatedly.
failed_units() { units_in failed,auto-restart; }

# Print a line "NAME PROPERTY=VALUE..." for each loaded service but the guard's own
service_states() {
    ask_units show --property=Id --property=ActiveState --property=SubState --property=InvocationID \
        --property=NRestarts '*.service' || return
    printf '%s\n' "$UNITS_SAID" | {
        service='' values=''
        while IFS= read -r shown || [ -n "$shown" ]; do
            case $shown in
                Id=*) service=${shown#*=} ;;
                ?*=*) values="$values $shown" ;;
                '')
                    say_service "$service" "$values"
                    service='' values=''
                    ;;
            esac
        done
        say_service "$service" "$values"
    }
}

say_service() { case $1 in nixferry-* | '') ;; *) printf '%s\n' "$1$2" ;; esac; }

# Print a line "NAME ID" for each service that was started. Each start has its own id.
service_ids() {
    service_ids_from=$(service_states) || return
    printf '%s\n' "$service_ids_from" | sed -n 's/^\([^ ]*\) .*InvocationID=\([^ ]\{1,\}\).*/\1 \2/p'
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
