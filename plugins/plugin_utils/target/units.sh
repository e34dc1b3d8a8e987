# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The guard as units of systemd, where that runs.

DEAD_MAN_INTERVAL=10    # seconds between looks at whether the guard is still alive
UNIT_VARIABLES='PATH HOME USER LOGNAME SUDO_USER LOCALE_ARCHIVE NIX_REMOTE NIX_SSL_CERT_FILE
    XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CONFIG_HOME DBUS_SESSION_BUS_ADDRESS NIXFERRY_ROOT NIXFERRY_PROC NIXFERRY_SH NIXFERRY_SECOND NIXFERRY_NAP'

# A user's service manager ends with the last login, unless it lingers.
has_service_manager() {
    have systemd-run && [ -d "$ROOT/run/systemd/system" ] || return 1
    is_root || { [ -e "$ROOT/var/lib/systemd/linger/$(id -un)" ] && systemctl --user show-environment >/dev/null 2>&1; }
}

manager_scope() { if is_root; then echo --system; else echo --user; fi; }

stop_unit() { if has_service_manager; then bounded 30 systemctl "$(manager_scope)" --no-block stop "$1" 2>/dev/null; fi; }

disarm_dead_man() { stop_unit "nixferry-$ID-deadman.timer"; }

# run_unit NAME OPTION... COMMAND...: a transient unit that is left alone when a new system comes:
# switch-to-configuration looks at the files in /etc/systemd/system only, and without default dependencies nothing
# that stops takes it along. What a program has left running, such as a daemon, outlives the unit: whoever wants it
# ended does so (kill_program). A service gets a bare environment.
run_unit() {
    unit_name=$1
    shift
    set -- "$(manager_scope)" --unit="$unit_name" --description="nixferry: activation $ID" --quiet --no-ask-password \
        --collect -p DefaultDependencies=no -p KillMode=process "$@"
    for variable in $UNIT_VARIABLES; do
        eval "value=\${$variable-}"
        if [ -n "$value" ]; then set -- "--setenv=$variable=$value" "$@"; fi
    done
    systemd-run "$@"
}

# The dead-man first. When the guard's main process is gone, by whatever signal, ExecStopPost sees to the rest.
start_units() {
    run_unit "nixferry-$ID-deadman" --on-active="$DEAD_MAN_INTERVAL" --on-unit-inactive="$DEAD_MAN_INTERVAL" \
        --timer-property=AccuracySec=1s "$NIXFERRY_SH" "$DIR/guard.sh" rescue || return 1
    stop_post="ExecStopPost=$NIXFERRY_SH $DIR/guard.sh stopped"
    # Before systemd 240 there is no type that reports a program which could not be started.
    run_unit "nixferry-$ID" -p "$stop_post" -p KillSignal=SIGKILL -p "TimeoutStopSec=$(longest_duration)" \
        --service-type=exec "$NIXFERRY_SH" "$DIR/guard.sh" run 2>/dev/null ||
        run_unit "nixferry-$ID" -p "$stop_post" "$NIXFERRY_SH" "$DIR/guard.sh" run
}

# Processes of this activation's units other than this one: what its programs have started, in whatever session.
# Their groups lie beside that of the service manager, in a container not always at the top; the hierarchy is the one
# of cgroup v2, or in mixed set-ups one of two more.
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

# --- after a power cut -------------------------------------------------------------------------------------------
# Where no boot loader remembers the old system, the activation itself has changed what the next boot finds. A unit
# that exists as long as the activation then undoes it. NixOS takes no units but its own, and has a boot loader. A user's
# service manager starts with the host if it lingers, which is when there is one in the sense of has_service_manager.

if is_root; then
    UNITS=$ROOT/etc/systemd/system BOOT_TARGET=multi-user.target
else
    UNITS=${XDG_CONFIG_HOME:-${HOME:-/nonexistent}/.config}/systemd/user BOOT_TARGET=default.target
fi
# NixOS owns all of that, but has its systemd read this as well, as every other does: it is where `systemctl set-property`
# puts its files. See the table in systemd.unit(5), and the patch of its search path in nixpkgs.
CONTROL_UNITS=/etc/systemd/system.control
# Also where a boot ends that goes wrong
REBOOT_TARGETS='multi-user.target rescue.target emergency.target'

boot_unit() { echo "nixferry-$ID-recover.service"; }

install_boot_unit() {
    if wanted has_boot_default || ! has_service_manager; then return 0; fi
    if ! is_root && [ ! -e "$UNITS" ]; then mkdir -p "$UNITS"; fi
    if [ -L "$UNITS" ] || [ ! -d "$UNITS" ] || [ ! -w "$UNITS" ]; then return 0; fi
    if ! mkdir -p "$UNITS/$BOOT_TARGET.wants" || ! boot_unit_text >"$UNITS/$(boot_unit)" ||
        ! ln -s "../$(boot_unit)" "$UNITS/$BOOT_TARGET.wants/$(boot_unit)"; then
        remove_boot_unit
        note "after a power cut only the next deploy can undo this one: $UNITS takes no unit"
    fi
    sync -f "$UNITS" 2>/dev/null || sync
}

remove_boot_unit() {
    rm -f "$UNITS/$BOOT_TARGET.wants/$(boot_unit)" "$UNITS/$(boot_unit)"
    if [ ! -e "$ROOT$CONTROL_UNITS/$(boot_unit)" ]; then return; fi
    for target in $REBOOT_TARGETS; do rm -f "$ROOT$CONTROL_UNITS/$target.wants/$(boot_unit)"; done
    rm -f "$ROOT$CONTROL_UNITS/$(boot_unit)"
    # A target that wants it has it still in mind, and would start it again.
    if has_service_manager; then bounded 30 systemctl daemon-reload 2>/dev/null; fi
}

# For a reboot inside the activation: without this unit nobody would wait for the confirmation. Says what is wrong.
install_reboot_unit() {
    for kept in "$STATE" "$ROOT/etc/systemd"; do
        case $(findmnt --noheadings --output FSTYPE --target "$kept" 2>/dev/null) in
            tmpfs | ramfs)
                echo "$kept is in main memory, so the guard would be forgotten by a reboot"
                return 1
                ;;
        esac
    done
    if ! mkdir -p "$ROOT$CONTROL_UNITS" || ! reboot_unit_text >"$ROOT$CONTROL_UNITS/$(boot_unit)"; then
        echo "$CONTROL_UNITS takes no unit that would look after the activation once the host has rebooted"
        return 1
    fi
    for target in $REBOOT_TARGETS; do
        if ! mkdir -p "$ROOT$CONTROL_UNITS/$target.wants" ||
            ! ln -sfn "../$(boot_unit)" "$ROOT$CONTROL_UNITS/$target.wants/$(boot_unit)"; then
            echo "$CONTROL_UNITS/$target.wants takes no unit"
            return 1
        fi
    done
    case "$(bounded 30 systemctl show --property=UnitPath 2>/dev/null | tr '=' ' ') " in
        *" $CONTROL_UNITS "*) ;;
        *)
            echo "systemd does not read units in $CONTROL_UNITS"
            return 1
            ;;
    esac
    sync -f "$ROOT$CONTROL_UNITS" 2>/dev/null || sync
}

# Early and without the default dependencies, so that a boot that hangs or fails is undone as well. If the record itself
# cannot be read any more, the new system is left by another boot: the boot default is the old one.
reboot_unit_text() {
    cat <<EOF
[Unit]
Description=nixferry: look after the activation $ID after a reboot
DefaultDependencies=no
IgnoreOnIsolate=yes
After=local-fs.target

[Service]
Type=simple
KillMode=process
ExecStart=$NIXFERRY_SH -c '[ -e $DIR/guard.sh ] || sleep 60; if [ -e $DIR/guard.sh ]; then exec $NIXFERRY_SH $DIR/guard.sh boot; fi; [ -e $ROOT$CONTROL_UNITS/$(boot_unit) ] || exit; case \$\$(readlink -f $ROOT$(request booted)) in $SYSTEM) systemctl reboot ;; esac'
EOF
    unit_environment
}

# Of the type `simple`, so that no job of the boot waits for a program that may itself wait for a job.
boot_unit_text() {
    cat <<EOF
[Unit]
Description=nixferry: undo the interrupted activation $ID
ConditionPathExists=$DIR/guard.sh
After=network.target nix-daemon.socket

[Service]
Type=simple
KillMode=process
ExecStart=$NIXFERRY_SH $DIR/guard.sh boot
EOF
    unit_environment
}

unit_environment() {
    for variable in $UNIT_VARIABLES; do
        eval "value=\${$variable-}"
        if [ -n "$value" ]; then printf 'Environment="%s=%s"\n' "$variable" "$value" | sed 's/[\\%]/&&/g'; fi
    done
}
