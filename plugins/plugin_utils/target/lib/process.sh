# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Unique names for processes and boots: no name is ever used again.

# Set PROCESS_START to when a process started; together with its number that is unique. Empty if it is gone or a zombie.
# Field 22 of /proc/PID/stat, see proc(5); the second field may contain anything but ends with the last ")".
find_process_start() {
    PROCESS_START=
    if [ -e "$PROC/uptime" ]; then
        { read -r process_stat <"$PROC/$1/stat"; } 2>/dev/null || return 0
        # shellcheck disable=SC2086 # the fields are words
        set -- ${process_stat##*) }
        if [ "$#" -lt 20 ] || [ "$1" = Z ]; then return 0; fi
        shift 19
        PROCESS_START=$1
    else
        PROCESS_START=$(ps -o lstart= -p "$1" | tr ' ' _)
    fi
}

# alive PID START
alive() {
    [ -n "$1" ] && [ -n "$2" ] || return 1
    find_process_start "$1"
    [ "$PROCESS_START" = "$2" ]
}

BOOT_IDENTITY=

# Set BOOT_IDENTITY, which does not change while this process lives. In a container the kernel's id of this boot survives a
# restart; the start time of process 1 does not.
find_boot_identity() {
    if [ -n "$BOOT_IDENTITY" ]; then return 0; fi
    { read -r kernel_boot <"$ROOT/proc/sys/kernel/random/boot_id"; } 2>/dev/null ||
        kernel_boot=$(sysctl -n kern.bootsessionuuid)
    find_process_start 1
    BOOT_IDENTITY=$kernel_boot:$PROCESS_START
}

# is_this_boot IDENTITY
is_this_boot() {
    find_boot_identity
    [ "$1" = "$BOOT_IDENTITY" ]
}

# own_session COMMAND...: run it in a session of its own, which the end of the login does not reach
own_session() {
    if have setsid; then exec setsid "$@"; fi
    if have perl; then exec perl -MPOSIX -e 'POSIX::setsid(); exec @ARGV' "$@"; fi
    exec nohup "$@"
}
