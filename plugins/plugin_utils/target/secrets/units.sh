# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Units for secrets. One places the secrets at boot (secrets/boot.sh). For each secret <name>-key.service counts as started
# once the secret exists, so that other units can be ordered after it. NixOS accepts only its own units in
# /etc/systemd/system; its systemd reads the directory below as well.
# KEY_UNITS are lines NAME  PATH, fields separated by tabs.

CONTROL_UNITS=$ROOT/etc/systemd/system.control
BOOT_UNIT=nixferry-secrets.service
KEY_UNIT_MARK='# Made by nixferry.deploy.nix_secrets for the secret'

install_units() {
    if [ ! -d "$ROOT/run/systemd/system" ] || ! have systemctl; then return 0; fi
    # Unit files are not secret: other users may read them.
    umask 022
    units_changed=''
    mkdir -p "$CONTROL_UNITS/sysinit.target.wants" && put_all_units
    units_result=$?
    umask 077
    return "$units_result"
}

put_all_units() {
    if [ -n "$BOOT_SCRIPT" ]; then
        put "$STATE/secrets/boot.sh" "$BOOT_SCRIPT" && UNIT_TEXT=$(boot_unit_text) && put_unit "$BOOT_UNIT" &&
            ln -sfn "../$BOOT_UNIT" "$CONTROL_UNITS/sysinit.target.wants/$BOOT_UNIT" || return 1
    fi
    made_units=' '
    while IFS=$TAB read -r key_name key_path; do
        if [ -z "$key_path" ]; then continue; fi
        made_units="$made_units$key_name-key.service "
        if ! is_foreign_unit "$key_name-key.service"; then
            set_key_unit_text "$key_name" "$key_path"
            put_unit "$key_name-key.service" || return 1
        fi
    done <<EOT
$KEY_UNITS
EOT
    if [ "$EXCLUSIVE" = 1 ]; then remove_key_units; fi
    if [ -n "$units_changed" ]; then bounded "$UNIT_DEADLINE" systemctl daemon-reload </dev/null || return 1; fi
}

# A unit of the same name from elsewhere, such as the system itself, takes precedence.
is_foreign_unit() {
    if [ -e "$CONTROL_UNITS/$1" ]; then return 1; fi
    for unit_place in /etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system \
        /lib/systemd/system; do
        if [ -e "$ROOT$unit_place/$1" ]; then return 0; fi
    done
    return 1
}

# Write UNIT_TEXT as unit NAME. There may be hundreds: start no program for a unit that is new or unchanged.
put_unit() { # NAME
    if [ ! -e "$CONTROL_UNITS/$1" ]; then
        printf '%s\n' "$UNIT_TEXT" >"$CONTROL_UNITS/$1" || return 1
    elif [ "$(get "$CONTROL_UNITS/$1")" != "$UNIT_TEXT" ]; then
        put_once "$CONTROL_UNITS/$1" "$UNIT_TEXT" || return 1
    else
        return 0
    fi
    units_changed=1
}

remove_key_units() {
    for key_unit in "$CONTROL_UNITS"/*-key.service; do
        case $made_units in *" ${key_unit##*/} "*) continue ;; esac
        case $(get "$key_unit") in
            "$KEY_UNIT_MARK"*)
                bounded 30 systemctl --no-block stop -- "${key_unit##*/}" </dev/null
                rm -f "$key_unit"
                units_changed=1
                ;;
        esac
    done
}

# Quote as in systemd.syntax(7) and systemd.service(5): a literal percent or dollar sign is doubled.
set_key_unit_text() { # NAME PATH
    key_word=$2
    case $key_word in
        *[\\\"%$]*) key_word=$(printf '%s' "$2" | sed 's/[\\"]/\\&/g; s/[%$]/&&/g') ;;
    esac
    UNIT_TEXT="$KEY_UNIT_MARK $1
[Unit]
Description=Secret $1

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'until [ -e \"\$\$1\" ]; do sleep 0.3; done' sh \"$key_word\""
}

# Before everything that does not say otherwise
boot_unit_text() {
    cat <<EOT
[Unit]
Description=nixferry: secrets from the disk
DefaultDependencies=no
RequiresMountsFor=$STATE
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=$STATE/secrets/boot.sh

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=$UNIT_DEADLINE
ExecStart=/bin/sh $STATE/secrets/boot.sh
EOT
}
