# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the host that ``guard_host`` makes: small stand-ins for Nix, systemd and a system's own program."""

from __future__ import annotations

NIX_ENV = """\
#!/bin/sh
# nix-env -p PROFILE --set PATH | --switch-generation N
profile=$2
[ ! -e "$FAULTS/nix-env" ] || { echo "nix-env: broken" >&2; exit 1; }
case $3 in
    --set)
        # Only the newest generation is used again (createGeneration in src/libstore/profiles.cc of Nix).
        number=$(ls -d "$profile"-*-link 2>/dev/null | sed 's/.*-\\([0-9]*\\)-link/\\1/' | sort -n | tail -n 1)
        if [ "$(readlink "$profile-$number-link")" != "$4" ]; then
            number=$((number + 1))
            ln -s "$4" "$profile-$number-link"
        fi
        ;;
    --switch-generation) number=$4 ;;
esac
ln -sfn "${profile##*/}-$number-link" "$profile"
"""
NIX_STORE = """\
#!/bin/sh
case $1 in
    --check-validity) [ -d "$2" ] ;;
    --version) echo "nix-store (Nix) 2.18.1" ;;
    -qR) for path in "$2" "$2"-dependency; do echo "$path"; done ;;
    -q) shift 2; for path; do echo "${#path}"; done ;;
    --add-root) ln -sfn "$5" "$2" ;;
    *) exit 2 ;;
esac
"""
# Starts what it is given, as the real one does: a service followed by its ExecStopPost, or a timer that fires
# until it is stopped, as soon as the guard has had the time that it has on a real host.
SYSTEMD_RUN = """\
#!/bin/sh
echo "$*" >>"$HOST/systemd-run"
stop_post=: timer=
while :; do
    case $1 in
        --unit=*) unit=${1#*=}; echo "$unit" >>"$HOST/units" ;;
        --on-active=*) timer=$((${1#*=} * NIXFERRY_SECOND)) ;;
        -p) case $2 in ExecStopPost=*) stop_post=${2#*=} stop_post=${stop_post#-} ;; esac; shift ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
export unit stop_post
if [ -n "$timer" ]; then
    first=$((timer / 100)).$(printf %02d $((timer % 100)))
    export first
    setsid sh -c 'sleep "$first"; while [ ! -e "$HOST/stopped-$unit.timer" ]; do sleep 0.1; "$@"; done' sh "$@" &
else
    setsid sh -c '"$@"; eval "$stop_post"' sh "$@" &
fi </dev/null >/dev/null 2>&1 3>&-
"""
# Lists FAILED_BEFORE as failed, and FAILED_AFTER too once a system's program has made $HOST/tested. The directories
# $HOST/restarting, starting and services/PROPERTY hold a file for each unit in that state, or with that property. A
# service with an InvocationID runs, unless it has another SubState. With $HOST/flapping the services have been
# restarted once more at each look.
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"$HOST/systemctl"
# Each line of $HOST/systemctl-fails is how one call ends: an exit code, or `killed`. The line `always` stays.
if [ -s "$HOST/systemctl-fails" ]; then
    read -r fails <"$HOST/systemctl-fails"
    case $fails in
        always) ;;
        *) sed -i 1d "$HOST/systemctl-fails" ;;
    esac
    if [ "$fails" = killed ]; then kill -KILL $$; fi
    echo "Failed to connect to bus: Connection refused" >&2
    exit 1
fi
services() { cd "$HOST" && ls services/*/* restarting/* starting/* 2>/dev/null | sed 's|.*/||' | sort -u; }
case "$*" in
    *--property=InvocationID*)
        for unit in $(services); do
            case " $* " in *" $unit "* | *" *.service "*) ;; *) continue ;; esac
            for property in ActiveState InvocationID NRestarts SubState; do
                file=$HOST/services/$property/$unit
                value=$(cat "$file" 2>/dev/null)
                case $property:$value in
                    NRestarts:) continue ;;
                    NRestarts:*)
                        if [ -e "$HOST/flapping" ]; then value=$((value + 1)); echo "$value" >"$file"; fi ;;
                    SubState:)
                        value=running
                        [ ! -e "$HOST/starting/$unit" ] || value=start
                        [ ! -e "$HOST/restarting/$unit" ] || value=auto-restart ;;
                    InvocationID:)
                        if [ -e "$HOST/starting/$unit" ] || [ -e "$HOST/restarting/$unit" ]; then value=new-$unit; fi ;;
                esac
                echo "$property=$value"
            done
            echo "Id=$unit"
            echo
        done
        ;;
    *list-units*)
        for word; do case $word in --state=*) states=,${word#*=}, ;; esac; done
        for unit in $(services); do
            active=$(cat "$HOST/services/ActiveState/$unit" 2>/dev/null) sub=running
            if [ -e "$HOST/services/InvocationID/$unit" ]; then active=${active:-active}; fi
            if [ -s "$HOST/services/SubState/$unit" ]; then read -r sub <"$HOST/services/SubState/$unit"; fi
            if [ -e "$HOST/starting/$unit" ]; then active=activating sub=start; fi
            if [ -e "$HOST/restarting/$unit" ]; then active=activating sub=auto-restart; fi
            case $states in
                *,"${active:-inactive}",* | *,"$sub",*) echo "$unit  loaded $active $sub [Some] * thing" ;;
            esac
        done
        for unit in @before@; do echo "$unit loaded failed failed Something"; done
        [ ! -e "$HOST/tested" ] || for unit in @after@; do echo "$unit loaded failed failed Something"; done
        ;;
    *UnitPath*) echo "UnitPath=/etc/systemd/system.control /etc/systemd/system /run/systemd/system" ;;
    *is-system-running*) cat "$HOST/system-state" 2>/dev/null || echo running ;;
    *stop*) for unit; do :; done; touch "$HOST/stopped-$unit" ;;
esac
"""
# What bin/switch-to-configuration of a toplevel does: the boot loader's default is a text file here.
SWITCH_TO_CONFIGURATION = """\
#!/bin/sh
echo "$1 @self@" >>"$HOST/actions"
echo "this is @name@ doing $1"
case $1 in
    test)
        @first@
        ln -sfn @self@ "$HOST/run/current-system"
        @test@
        ;;
    boot)
        @boot@
        echo @self@ >"$HOST/boot-default"
        ;;
    dry-activate) echo "would restart web.service" ;;
esac
"""
