# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the system $TOPLEVEL, whose closure is below $MOUNT_POINT already. See work.sh for the record.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=system
trap '' HUP PIPE
exec 3>&1 1>/dev/null 2>&1
answer_begins
is_root || error not_root "only root can install a system"
make_work
if ! is_mounted "$MOUNT_POINT"; then error not_mounted "nothing is mounted on $MOUNT_POINT"; fi
if [ ! -e "$TARGET$TOPLEVEL/init" ]; then error no_system "$TOPLEVEL is not below $MOUNT_POINT, or is not a system"; fi
read_text "$TARGET$TOPLEVEL/system"
if ! runs_here "$TEXT"; then error other_platform "the system is for $TEXT, and the machine is $NIX_SYSTEM"; fi

# The links of a profile lead to paths as the new system sees them.
profile_target() {
    profile_link=nix/var/nix/profiles/system
    profile_leads=$(link_of "$TARGET/$profile_link")
    case $profile_leads in
        /*) ;;
        ?*) profile_leads=$(link_of "$TARGET/${profile_link%/*}/$profile_leads") ;;
    esac
    printf '%s\n' "$profile_leads"
}

id_in() { # FILE NAME: print the number of a user or a group of the new system
    case $2 in *[!0-9]*) ;; *) echo "$2" && return ;; esac
    sed -n "s/^$2:[^:]*:\([0-9]*\):.*/\1/p" "$TARGET/etc/$1" 2>/dev/null | head -n 1
}

give_owners() {
    missing_owners=
    if [ -s "$WORK/owners" ]; then
        while IFS=$TAB read -r owner mode path; do
            owner_user=$(id_in passwd "${owner%%:*}")
            owner_group=$(id_in group "${owner##*:}")
            if [ -z "$owner_user" ] || [ -z "$owner_group" ]; then
                missing_owners="$missing_owners $owner"
                continue
            fi
            # Nothing but the activation of the new system has run since check_place.
            if [ ! -f "$TARGET$path" ] || [ -L "$TARGET$path" ]; then continue; fi
            { chown "$owner_user:$owner_group" "$TARGET$path" && chmod "$mode" "$TARGET$path"; } ||
                error not_owned "$path cannot be given to $owner"
        done <"$WORK/owners"
    fi
    if [ -n "$missing_owners" ]; then error no_owner "the new system does not know the owners$missing_owners"; fi
}

take_turn
# Another installation may have formatted the disks since, for a system of its own.
if ! is_recorded disks "$FORMATTED"; then error other_disks "the disks are now formatted for ${TEXT:-nothing}"; fi
if is_recorded system "$TOPLEVEL" && [ "$(profile_target)" = "$TOPLEVEL" ]; then
    end_turn
    say unchanged 1
else
    if ! is_listened_to; then exit 1; fi
    refuse_other_programs system "$TOPLEVEL"
    put "$WORK/system.begun" "$TOPLEVEL" || error no_room "$WORK cannot be written to"
    # Initial RAM disks with secrets are put together there.
    if [ ! -d "$TARGET/tmp" ]; then mkdir "$TARGET/tmp" && chmod 1777 "$TARGET/tmp"; fi
    run_program system "$SECONDS_AT_MOST" nixos-install --root "$TARGET" --system "$TOPLEVEL" --no-root-passwd --no-channel-copy
    if [ "$CODE" != 0 ]; then
        say_log
        error install_failed "nixos-install ended with exit code $CODE"
    fi
    if [ "$(profile_target)" != "$TOPLEVEL" ]; then
        say_log
        error not_installed "nixos-install has succeeded, and the system profile is $(profile_target)"
    fi
fi
give_owners
find_boot_identity
{ (umask 022 && mkdir -p "$TARGET/var/lib") && (umask 077 && mkdir -p "$TARGET/${RECORD%/*}") &&
    put_once "$TARGET/$RECORD" "toplevel=$TOPLEVEL${NEWLINE}boot=$BOOT_IDENTITY"; } ||
    error no_room "the record of the installation cannot be written to the disk"
sync
put "$WORK/system.done" "$TOPLEVEL" || error no_room "$WORK cannot be written to"
say boot "$BOOT_IDENTITY"
answer_ends
