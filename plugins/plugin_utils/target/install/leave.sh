# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Leave the installer: unmount the new system's file systems and reboot, a moment after the answer. With ASK_ONLY only answer
# with the new system's host keys.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=reboot
exec 3>&1 1>/dev/null 2>&1
answer_begins
is_root || error not_root "only root can reboot"
if ! is_recorded system "$TOPLEVEL"; then error not_installed "the system is not installed"; fi
read_text "$WORK/host_keys"
say_lines host_key "$TEXT"
if [ -n "$ASK_ONLY" ]; then answer_ends; fi
find_boot_identity
sync
# ZFS pools that were not exported would have to be imported by force.
if is_mounted "$MOUNT_POINT"; then umount -R "$TARGET"; fi || say note "$MOUNT_POINT could not be unmounted"
if have zpool; then
    swapoff -a
    zpool export -a || say note 'not all ZFS pools could be exported'
fi
# The answer goes first.
(
    trap '' HUP
    own_session "$NIXFERRY_SH" -c 'sleep 2; systemctl reboot || reboot || reboot -f'
) </dev/null >/dev/null 2>&1 3>&- &
say boot "$BOOT_IDENTITY"
answer_ends
