# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The program that began an activation (see guard/loader.sh)

# shellcheck disable=SC2154 # see guard/loader.sh
program=$state/activations/$id/guard.sh
[ -e "${program%/*}/phase" ] || answer error=no_activation "message=this host knows no activation $id"
[ -f "$program" ] && is_ours "$program" || program=
