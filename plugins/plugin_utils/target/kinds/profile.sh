# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A profile with any closure, and optionally a command of the user that activates it. The command comes with the request,
# or is fixed in an installed guard. It also runs for a roll back: then PROFILE and TOPLEVEL are the old ones.

# shellcheck disable=SC2034 # other parts read them
profile_properties() {
    KIND_CURRENT=profile
    KIND_REMAINS='what the command has started and written'
    if [ -n "$ACTIVATE_COMMAND" ]; then KIND_CHECK_UNITS=1; else KIND_WITHOUT=roll_back; fi
}

profile_command() { [ -z "$ACTIVATE_COMMAND" ] || "$NIXFERRY_SH" -c "$ACTIVATE_COMMAND"; }

# The profile is set before the command runs: a service that is started from a profile is started from the profile link,
# so a command such as `systemctl restart web` would otherwise restart the old version.
profile_activate() { mkdir -p "${PROFILE%/*}" && set_profile && profile_command; }

profile_commit() { make_sure_of_profile; }

profile_roll_back() {
    TOPLEVEL=$OLD_TOPLEVEL SYSTEM=$OLD_SYSTEM
    profile_command
}
