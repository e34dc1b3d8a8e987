# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# See guard/loader.sh

if [ -n "$program" ]; then
    request | "${NIXFERRY_SH:-/bin/sh}" "$program" answer
elif [ -n "$NIXFERRY_PROGRAM" ]; then
    request | {
        set -- answer
        eval "$NIXFERRY_PROGRAM"
    }
else
    answer guard=missing
fi
