# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What runs on the machine that answers now. With CONFIRM=1 note on the disk that the new system has come up.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=booted
exec 3>&1 1>/dev/null 2>&1
answer_begins
find_boot_identity
say boot "$BOOT_IDENTITY"
say current "$(readlink -f "$ROOT/run/current-system")"
say booted "$(readlink -f "$ROOT/run/booted-system")"
if have systemctl && [ -d "$ROOT/run/systemd/system" ]; then
    say state "$(bounded 30 systemctl is-system-running)"
fi
read_text "$ROOT/$RECORD"
say_lines record "$TEXT"
if [ "$CONFIRM" = 1 ]; then
    case $NEWLINE$TEXT$NEWLINE in
        *"${NEWLINE}confirmed=1$NEWLINE"*) ;;
        *) put_once "$ROOT/$RECORD" "$TEXT${NEWLINE}confirmed=1" || error no_room "the record of the installation cannot be written" ;;
    esac
fi
answer_ends
