#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The nixferry guard: activates a new system on this host and waits until the controller confirms over a fresh login that
# it is healthy. Then it makes the new system permanent. Otherwise it goes back to the old one, without the controller.
#
# Its parts, joined in the order of GUARD_PARTS in _guard/program.py; no function calls one of a later part:
#   lib/      this file, the answer to the controller, its request, who else could change a file, the clock, files,
#             processes, rests, claims, the service manager, the system as it is, the record of an activation, the deploy lock
#   kinds/    what activates, commits and rolls back each kind of system (kind.sh says what a driver is)
#   guard/    driver place gcroots deployed look program settle judge units metrics end reboot roll_back commit boot_once engine: the way of
#             an activation (engine.sh has the picture); status start probe verbs: the requests of the controller;
#             installed: what a deployer with few privileges may not request
#   secrets/  the secrets of an activation          boot/  what boots by default, what boots once
#
# To read the way of an activation, begin with run_activation in guard/engine.sh.
# To look at a deploy by hand: cat /var/lib/nixferry/activations/*/phase (and log, notes, result/message).
# To go back by hand while the guard waits: touch /var/lib/nixferry/activations/<id>/abort

set -u
umask 077
# A kind's programs get these unchanged.
# shellcheck disable=SC2034 # guard/driver.sh and guard/installed.sh read them
CALLER_PATH=${PATH:-} CALLER_LOCALE=${LC_ALL:-} CALLER_RUNTIME_DIR=${XDG_RUNTIME_DIR:-}
LC_ALL=C
export LC_ALL

# Tests run the guard below a directory of their own, with a /proc and a shell of their own.
ROOT=${NIXFERRY_ROOT:-}
# shellcheck disable=SC2034 # other parts read it
PROC=${NIXFERRY_PROC:-/proc}
NIXFERRY_SH=${NIXFERRY_SH:-/bin/sh}
export NIXFERRY_SH

# A login without a profile script, and a service, lack some of these. An installed guard has its own PATH.
if [ -z "${NIXFERRY_WHOLE_PATH:-}" ]; then
    PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/run/wrappers/bin
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fi
export PATH

have() { command -v "$1" >/dev/null 2>&1; }

# Linux tells this user without a process: the second number is the effective one. Tests have an `id` of their own.
USER_ID=
if [ -z "$ROOT" ]; then
    while read -r user_key _ USER_ID _ && [ "$user_key" != Uid: ]; do :; done 2>/dev/null </proc/self/status
fi
if [ -z "$USER_ID" ]; then USER_ID=$(id -u); fi

is_root() { [ "$USER_ID" = 0 ]; }

# A user reached by become, not by a login, lacks this path to the service manager.
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

# Only root has a directory that every boot empties; /run/user/<id> goes away when the user logs out. UNSAVED is the place
# for what the disk does not take, COPIES that for what it may not give back (lib/files.sh); empty where there is none.
# shellcheck disable=SC2034 # other parts read LOCKS, UNSAVED and COPIES
use_state() {
    STATE=$1
    if is_root && [ -d "$ROOT/run" ]; then
        LOCKS=$ROOT/run/nixferry UNSAVED=$ROOT/run/nixferry/unsaved COPIES=$ROOT/run/nixferry/copies
    else
        LOCKS=$STATE UNSAVED='' COPIES=''
        if [ -n "${XDG_RUNTIME_DIR:-}" ] && [ -w "$XDG_RUNTIME_DIR" ]; then
            UNSAVED=$XDG_RUNTIME_DIR/nixferry/unsaved
        fi
    fi
}
