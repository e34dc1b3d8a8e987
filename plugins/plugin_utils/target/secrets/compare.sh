# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Report what has to be changed to place the secrets of ENTRIES. See secrets/check.sh.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=secrets
# A terminal mixes standard output and standard error.
exec 3>&1 1>/dev/null 2>&1
use_state "$(state_directory)"
answer_begins
check_directories
if [ "$SEALS" = 1 ] && ! { have systemd-creds && [ -d "$ROOT/run/systemd/system" ]; }; then
    error no_systemd_creds "systemd-creds was not found: sealed secrets need systemd 250 or later"
fi
have sha256sum || error no_sha256sum "sha256sum was not found in PATH ($PATH)"
compare_entries
say_ours
answer_ends
