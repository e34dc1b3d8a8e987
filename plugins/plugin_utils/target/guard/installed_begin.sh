#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The nixferry guard, installed: for a user who may become root for this program and nothing else. Made by
# nixferry.deploy.nix_guard; changes are overwritten. A request is lines of text on standard input, which are never run.
# The program ignores the caller's environment and takes no arguments.

set -u
umask 077
# The directories of programs that are always root's. guard/installed.sh adds others after a look at them.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin:/run/wrappers/bin
LC_ALL=C
export PATH LC_ALL
cd / || exit 2
if [ "$#" -gt 0 ]; then
    echo "nixferry guard: takes no arguments" >&2
    exit 2
fi
# Limits of the caller could stop a program half-way.
# shellcheck disable=SC3045 # every sh has these
for limit in c t f d v; do ulimit "-$limit" unlimited 2>/dev/null; done
# A variable of the environment cannot be mistaken for a positional parameter.
set -- "${SUDO_USER:-}"
environment=$(env) || exit 2
set -f
IFS='
'
for line in $environment; do
    case ${line%%=*} in
        '' | [0-9]* | *[!A-Za-z0-9_]*) ;;
        # Set above, or read-only in some shells.
        PATH | LC_ALL | IFS | PWD | PPID | UID | EUID | SHELLOPTS | BASHOPTS | BASH_*) ;;
        *) unset "${line%%=*}" ;;
    esac
done
unset IFS
set +f
# If the rule has the digest of the program, sudo checks and opens it itself.
# shellcheck disable=SC2034 # guard/installed.sh reads it
case $0 in /dev/fd/*) INSTALLED_FILE=/ ;; *) INSTALLED_FILE=$0 ;; esac
NIXFERRY_WHOLE_PATH=1
export NIXFERRY_WHOLE_PATH
