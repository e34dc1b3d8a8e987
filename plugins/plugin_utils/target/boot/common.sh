# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Common to all boot loaders: entries are found by the `init=` of their kernel command line.

# shellcheck disable=SC2034 # the drivers read it
BOOT_DIRECTORY=/boot

# Print the system that a text boots, such as a boot entry or the command line in an EFI program.
init_of() { tr -s '\000 \t"' '\n' <"$1" | sed -n 's|^init=\(/.*\)/init$|\1|p' | head -n 1; }

without_nul() { if [ -e "$1" ]; then tr -d '\000' <"$1"; fi; }
