# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The detached guard: its units and processes, the dead-man, and the units that continue an activation at the next boot.

START_DEADLINE=30       # seconds until the detached guard must have reported
DEAD_MAN_INTERVAL=10    # seconds between looks at whether the guard is still alive
DEAD_MAN_MARGIN=60      # seconds beyond the sum of all limits after which a guard that lives counts as stuck

# Set LONGEST_DURATION to the longest time that an activation may take between two reboots, in seconds.
find_longest_duration() {
    find_settle_time
    LONGEST_DURATION=$((LONGEST_SETTLING + DEAD_MAN_MARGIN))
    for limit_name in timeout_activation timeout_confirm timeout_roll_back timeout_reboot; do
        find_limit "$limit_name"
        LONGEST_DURATION=$((LONGEST_DURATION + 2 * LIMIT))
    done
    find_longest_secrets
    LONGEST_DURATION=$((LONGEST_DURATION + LONGEST_SECRETS))
}

# Start the dead-man first. When the guard's main process ends, by any signal, ExecStopPost takes over.
start_units() {
    find_longest_duration
    find_text "$DIR/guard.sh"
    guard_file=$FOUND
    run_unit "nixferry-$ID-deadman" --on-active="$DEAD_MAN_INTERVAL" --on-unit-inactive="$DEAD_MAN_INTERVAL" \
        --timer-property=AccuracySec=1s --timer-property=IgnoreOnIsolate=yes "$NIXFERRY_SH" "$guard_file" rescue || return 1
    # The copy may be gone when the activation has ended.
    stop_post="ExecStopPost=-$NIXFERRY_SH $guard_file stopped"
    # Before systemd 240 no service type reports a program that could not be started.
    run_unit "nixferry-$ID" -p "$stop_post" -p KillSignal=SIGKILL -p "TimeoutStopSec=$LONGEST_DURATION" \
        --service-type=exec "$NIXFERRY_SH" "$guard_file" run 2>/dev/null ||
        run_unit "nixferry-$ID" -p "$stop_post" "$NIXFERRY_SH" "$guard_file" run
}

begin_work() { if has_service_manager; then start_units; else begin_work_alone; fi; }

begin_work_alone() {
    find_text "$DIR/guard.sh"
    for detached_verb in watch run; do
        find_log
        own_session "$NIXFERRY_SH" "$FOUND" "$detached_verb" </dev/null >>"$LOG_PLACE" 2>&1 3>&- &
    done
}

await_worker() {
    in_seconds "$START_DEADLINE"
    detach_until=$MOMENT
    begin_waiting
    until is_there "$DIR/worker"; do
        if passed "$detach_until"; then
            end_rest
            return 1
        fi
        rest request "$detach_until"
    done
    end_rest
}

disarm_dead_man() { stop_unit "nixferry-$ID-deadman.timer"; }

# --- after a power cut -------------------------------------------------------------------------------------------
# Without a boot loader that keeps the old system, the activation itself changes what the next boot starts. Then a unit
# that exists as long as the activation undoes it. NixOS has a boot loader, and accepts only its own units. A user's
# service manager starts with the host only if it lingers; has_service_manager checks that.

if is_root; then
    UNITS=$ROOT/etc/systemd/system BOOT_TARGET=multi-user.target
else
    UNITS=${XDG_CONFIG_HOME:-${HOME:-/nonexistent}/.config}/systemd/user BOOT_TARGET=default.target
fi
# NixOS owns those directories, but its systemd reads this one, too, like every systemd: `systemctl set-property` puts its
# files here. See the table in systemd.unit(5), and the patch of the search path in nixpkgs.
CONTROL_UNITS=/etc/systemd/system.control
# Also the targets of a boot that fails
REBOOT_TARGETS='multi-user.target rescue.target emergency.target'

boot_unit() { echo "nixferry-$ID-recover.service"; }

install_boot_unit() {
    if [ -n "$KIND_HAS_BOOT_DEFAULT" ] || ! has_service_manager; then return 0; fi
    if ! is_root && [ ! -e "$UNITS" ]; then mkdir -p "$UNITS"; fi
    if [ -L "$UNITS" ] || [ ! -d "$UNITS" ] || [ ! -w "$UNITS" ]; then return 0; fi
    if ! mkdir -p "$UNITS/$BOOT_TARGET.wants" || ! boot_unit_text >"$UNITS/$(boot_unit)" ||
        ! ln -s "../$(boot_unit)" "$UNITS/$BOOT_TARGET.wants/$(boot_unit)"; then
        remove_boot_unit
        note "after a power cut only the next deploy can undo this one: no unit can be written to $UNITS"
    fi
    sync -f "$UNITS" 2>/dev/null || sync
}

remove_boot_unit() {
    if [ -z "$KIND_HAS_BOOT_DEFAULT" ]; then rm -f "$UNITS/$BOOT_TARGET.wants/$(boot_unit)" "$UNITS/$(boot_unit)"; fi
    if [ ! -e "$ROOT$CONTROL_UNITS/nixferry-$ID-recover.service" ]; then return; fi
    for target in $REBOOT_TARGETS; do rm -f "$ROOT$CONTROL_UNITS/$target.wants/$(boot_unit)"; done
    rm -f "$ROOT$CONTROL_UNITS/$(boot_unit)"
    # Without this, a target that wanted the unit would start it again.
    if has_service_manager; then bounded 30 systemctl daemon-reload 2>/dev/null; fi
}

# For a reboot inside the activation: after it, this unit starts the guard again. Prints the problem if it fails.
install_reboot_unit() {
    for kept in "$STATE" "$ROOT/etc/systemd"; do
        kept_on=$(findmnt --noheadings --output FSTYPE --target "$kept" 2>/dev/null) ||
            kept_on=$(stat -f -c %T "$kept" 2>/dev/null)
        case $kept_on in
            tmpfs | ramfs)
                echo "$kept is in main memory, so a reboot would erase the guard"
                return 1
                ;;
            '')
                echo "it cannot be told whether a reboot would erase $kept"
                return 1
                ;;
        esac
    done
    if ! mkdir -p "$ROOT$CONTROL_UNITS" || ! reboot_unit_text >"$ROOT$CONTROL_UNITS/$(boot_unit)"; then
        echo "the unit that continues the activation after the reboot cannot be written to $CONTROL_UNITS"
        return 1
    fi
    for target in $REBOOT_TARGETS; do
        if ! mkdir -p "$ROOT$CONTROL_UNITS/$target.wants" ||
            ! ln -sfn "../$(boot_unit)" "$ROOT$CONTROL_UNITS/$target.wants/$(boot_unit)"; then
            echo "the unit cannot be written to $CONTROL_UNITS/$target.wants"
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

# Starts early and without default dependencies, so that a boot that hangs or fails is rolled back, too. If the record
# cannot be read any more, the unit reboots: the boot default is the old system.
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
ExecStart=$NIXFERRY_SH -c '[ -e $DIR/guard.sh ] || sleep 60; if [ -e $DIR/guard.sh ]; then exec $NIXFERRY_SH $DIR/guard.sh boot; fi; [ -e $ROOT$CONTROL_UNITS/$(boot_unit) ] || exit; case \$\$(readlink -f $ROOT$KIND_BOOTED) in $SYSTEM) systemctl reboot ;; esac'
EOF
    unit_environment
}

# Type `simple`, so that no job of the boot waits for a program that may itself wait for a job.
boot_unit_text() {
    cat <<EOF
[Unit]
Description=nixferry: undo the interrupted activation $ID
IgnoreOnIsolate=yes
ConditionPathExists=$DIR/guard.sh
After=network.target nix-daemon.socket

[Service]
Type=simple
KillMode=process
ExecStart=$NIXFERRY_SH $DIR/guard.sh boot
EOF
    unit_environment
}
