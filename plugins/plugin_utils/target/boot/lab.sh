# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The boot loader stub of the lab hosts that this collection is tested on.

LAB_BOOT=/boot/nixferry-lab

lab_problem() { :; }

lab_entry() {
    lab_found=
    for lab_file in "$ROOT$LAB_BOOT"/entries/*; do
        if [ "$(get "$lab_file")" = "$1" ]; then lab_found=${lab_file##*/}; fi
    done
    echo "$lab_found"
}

lab_default() { get "$ROOT$LAB_BOOT/default"; }
lab_once() { put "$ROOT$LAB_BOOT/once" "$1"; }
lab_forget() { rm -f "$ROOT$LAB_BOOT/once"; }
