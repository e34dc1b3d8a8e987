# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The program that began an activation (see guard/loader.sh)

# shellcheck disable=SC2154 # see guard/loader.sh
program=activations/$id/guard.sh
# Where the disk gives nothing back, there is a copy in main memory (lib/files.sh).
copies=$ROOT/run/nixferry/copies
if ! cat "$state/$program" >/dev/null 2>&1 && [ "$USER_ID" = 0 ] && [ -f "$copies/$program" ]; then state=$copies; fi
program=$state/$program
[ -d "${program%/*}" ] || answer error=no_activation "message=this host knows no activation $id"
[ -f "$program" ] && is_ours "$program" || program=
