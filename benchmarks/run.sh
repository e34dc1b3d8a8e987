#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# run.sh [OPTION...]: measure deploys against the floor and against other tools. Run by "make bench", which provides
# Ansible, Nix and the lab's programs; see README.md and --help.
set -eu
cd "$(dirname "$0")/.."
exec python -m benchmarks "$@"
