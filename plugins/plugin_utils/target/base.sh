#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The nixferry guard: activates a new system on this host, waits for somebody to confirm over a fresh login that it
# is healthy, and makes it permanent; or else goes back to the old system, whatever became of the controller.
#
# The parts, in the order in which they are joined into one program:
#   base.sh        where things are, the clock, the answer to the controller, processes
#   state.sh       the record of an activation in /var/lib/nixferry/activations/<id>
#   deployed.sh    who deployed which generation, from which revision
#   lock.sh        who may change the host, and who works on an activation
#   program.sh     running the system's own programs with a time limit
#   look.sh        what runs, and whether it is what the guard has left
#   secrets_sets.sh, secrets_guard.sh  the secrets of the activation
#   activation.sh  activate, wait, commit
#   roll_back.sh   back to the old system
#   settle.sh      have the services that were started come to rest
#   boot_loader.sh what boots by default, what boots once
#   reboot.sh      a reboot inside the activation
#   start.sh       checks, and how the guard outlives the login that brought it
#   units.sh       the guard as units of systemd
#   probe.sh       what the host says about itself; changes nothing
#   verbs.sh       what the controller can ask for
#
# To look at a deploy by hand: cat /var/lib/nixferry/activations/*/phase (and log, notes, message).
# To go back by hand while the guard waits: touch /var/lib/nixferry/activations/<id>/abort

set -u
umask 077
LC_ALL=C
export LC_ALL

# Tests run the guard below a directory of their own, with a /proc and a shell of their own.
ROOT=${NIXFERRY_ROOT:-}
PROC=${NIXFERRY_PROC:-/proc}
NIXFERRY_SH=${NIXFERRY_SH:-/bin/sh}
export NIXFERRY_SH

# A login without a profile script, and a service, lack some of these.
PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/run/wrappers/bin
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

have() { command -v "$1" >/dev/null 2>&1; }

USER_ID=$(id -u)

is_root() { [ "$USER_ID" = 0 ]; }

# Who has become a user in another way than by a login is not told where that user's service manager is.
if ! is_root && [ -d "/run/user/$USER_ID" ]; then
    XDG_RUNTIME_DIR=/run/user/$USER_ID
    export XDG_RUNTIME_DIR
fi

state_directory() {
    if is_root; then
        echo "$ROOT/var/lib/nixferry"
    else
        echo "${XDG_STATE_HOME:-${HOME:-/nonexistent}/.local/state}/nixferry"
    fi
}

# --- the answer to the controller: key=value lines on descriptor 3 ---------------------------------------------

# Bytes other than these are written as %xx, so that a value is one line whatever it holds.
say() {
    case $2 in
        *[!A-Za-z0-9/._:@,+=\ -]*)
            said_bytes=$(printf %s "$2" | od -An -v -tx1 | tr -s ' \t\n' '%%%')
            printf '%s=%s\n' "$1" "${said_bytes%\%}" >&3
            ;;
        *) printf '%s=%s\n' "$1" "$2" >&3 ;;
    esac
}

# say_lines KEY TEXT: one pair for each line
say_lines() {
    printf '%s\n' "$2" | while IFS= read -r said_line; do
        if [ -n "$said_line" ]; then say "$1" "$said_line"; fi
    done
}

# say_end_of KEY FILE: the last 16 KiB
say_end_of() {
    if [ -s "$2" ]; then say "$1" "$(tail -c 16384 "$2")"; fi
}

# Lines as one line
listed() {
    # shellcheck disable=SC2086 # the words are what is wanted
    echo $1
}

# Is there still somebody at the other end of the connection? A line that nobody needs to understand tells.
is_listened_to() { (trap '' PIPE; echo listened=1 >&3) 2>/dev/null; }

# A login script may have printed something without the end of its line.
answer_begins() { printf "\nnixferry=1\n" >&3; }

answer_ends() {
    printf 'end=%s\n' "$VERB" >&3
    exit "${1:-0}"
}

# error CODE MESSAGE: answer that, and stop
error() {
    say error "$1"
    say message "$2"
    answer_ends 1
}

# --- time ------------------------------------------------------------------------------------------------------

# Hundredths of a second on a clock that nobody sets; where there is no /proc (macOS) on the one on the wall.
if [ -r "$PROC/uptime" ]; then
    now() {
        read -r now_uptime _ <"$PROC/uptime"
        now_fraction=${now_uptime#*.}
        echo $((${now_uptime%%.*} * 100 + 1$now_fraction - 100))
    }
else
    now() { echo "$(date +%s)00"; }
fi

# Tests let a second last less than 100 hundredths.
NIXFERRY_SECOND=${NIXFERRY_SECOND:-100}
export NIXFERRY_SECOND

in_seconds() { echo $(($(now) + $1 * NIXFERRY_SECOND)); }

# seconds_until MOMENT: rounded up
seconds_until() { echo $((($1 - $(now) + NIXFERRY_SECOND - 1) / NIXFERRY_SECOND)); }

passed() { [ "$(now)" -ge "$1" ]; }

# Waiting: often at first, since most things are quick, then less. Tests are always in a hurry.
SHORT_NAP=0.03
LONG_NAP=${NIXFERRY_NAP:-0.2}
NAPS=0
begin_waiting() { NAPS=0; }
nap() {
    NAPS=$((NAPS + 1))
    if [ "$NAPS" -le 10 ]; then nap_seconds=$SHORT_NAP; else nap_seconds=$LONG_NAP; fi
    if sleep "$nap_seconds" 2>/dev/null; then return 0; fi
    # POSIX promises whole seconds only.
    SHORT_NAP=1 LONG_NAP=1
    sleep 1
}

pause() {
    pause_until=$(in_seconds "$1")
    until passed "$pause_until"; do nap; done
}

# bounded SECONDS COMMAND...: for programs that wait for a service manager that may be ill
bounded() {
    if have timeout; then timeout "$@"; else
        shift
        "$@"
    fi
}

# --- files -----------------------------------------------------------------------------------------------------

# put FILE TEXT: replace it as a whole. On a full disk there is room kept for that.
put() { put_once "$@" || { make_room && put_once "$@"; }; }

put_once() { printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; }

# The text of a small file, or nothing. This is asked for so often that a program each time would take long.
get() {
    [ -f "$1" ] || return 0
    while IFS= read -r got_line || [ -n "$got_line" ]; do printf '%s\n' "$got_line"; done <"$1"
}

# Where a path leads in the end; nothing if it leads nowhere. `readlink -f` is missing on older macOS.
resolved() {
    [ -e "$1" ] || return 0
    readlink -f "$1" 2>/dev/null || realpath "$1" 2>/dev/null || (
        path=$1
        while [ -L "$path" ]; do
            target=$(readlink "$path")
            case $target in /*) path=$target ;; *) path=${path%/*}/$target ;; esac
        done
        CDPATH='' cd -P "${path%/*}" && echo "$(pwd -P)/${path##*/}"
    )
}

# What has to survive a power cut reaches the disk now: the record, the profile and the boot default, which may lie in
# file systems of their own.
durable() {
    durable_profile=${PROFILE-}
    for durable_place in "$STATE" "${durable_profile%/*}" "$ROOT/boot"; do
        if [ -d "$durable_place" ] && ! sync -f "$durable_place" 2>/dev/null; then
            sync
            return
        fi
    done
}

# --- processes -------------------------------------------------------------------------------------------------

# When a process started: with its number it names the process for ever. Nothing if it is gone or a zombie.
# Field 22 of /proc/PID/stat, see proc(5); the second field may contain anything but ends with the last ")".
process_start() {
    if [ -e "$PROC/uptime" ]; then
        { read -r process_stat <"$PROC/$1/stat"; } 2>/dev/null || return 0
        # shellcheck disable=SC2086 # the fields are words
        set -- ${process_stat##*) }
        if [ "$1" = Z ]; then return 0; fi
        shift 19
        echo "$1"
    else
        ps -o lstart= -p "$1" | tr ' ' _
    fi
}

# alive PID START
alive() { [ -n "$1" ] && [ -n "$2" ] && [ "$(process_start "$1")" = "$2" ]; }

# In a container the kernel's id of this boot survives a restart; the start time of process 1 does not.
boot_identity() {
    { read -r kernel_boot <"$ROOT/proc/sys/kernel/random/boot_id"; } 2>/dev/null ||
        kernel_boot=$(sysctl -n kern.bootsessionuuid)
    echo "$kernel_boot:$(process_start 1)"
}

# own_session COMMAND...: to be run in the background; nothing that ends a login session reaches it
own_session() {
    if have setsid; then exec setsid "$@"; fi
    if have perl; then exec perl -MPOSIX -e 'POSIX::setsid(); exec @ARGV' "$@"; fi
    exec nohup "$@"
}
