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
PATH=/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
cd / || exit 2
if [ "$#" -gt 0 ]; then
    echo "nixferry guard: takes no arguments" >&2
    exit 2
fi
# A variable of the environment cannot be mistaken for a positional parameter.
set -- "${SUDO_USER:-}"
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
        # Set above, or read-only in some shells.
        PATH | LC_ALL | PWD | PPID | UID | EUID | SHELLOPTS | BASHOPTS | BASH_*) ;;
        *) unset "$name" ;;
    esac
done
