# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Compare what a disko script will work on with the disks that the user has named.

# Set WORDS to the devices that the script $SCRIPT names, if it is on this machine; $SCRIPT_DEVICES are those that the
# controller has found in it.
find_script_devices() {
    WORDS=$SCRIPT_DEVICES
    if [ -f "$ROOT$SCRIPT" ]; then
        WORDS=$(grep -oE '/dev/[A-Za-z0-9_.:@%+=/-]+' "$ROOT$SCRIPT" | sort -u)
    fi
}

# Answer with `script_disk=DISK DEVICE` for each device in the script that is, or lies on, a disk of this machine. A partition
# that does not exist yet tells nothing.
check_script_devices() {
    find_script_devices
    split_lines "$WORDS" check_each_device
}

check_each_device() {
    for script_device; do
        script_leads_to=$(readlink -f "$ROOT$script_device") || continue
        if ! is_device "$script_leads_to"; then continue; fi
        for script_disk in $(disks_of "${script_leads_to##*/}"); do say script_disk "$script_disk $script_device"; done
    done
}
