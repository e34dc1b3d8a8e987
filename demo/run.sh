#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# run.sh [fleet]: deploy three versions of a small web service, the last one broken, and roll back.
# Run by "make demo" and "make demo-fleet", in the root of the repository, with Ansible and Nix on PATH.
set -eu

case ${1:-local} in
    local) exec demo/local.sh ;;
    fleet) exec demo/fleet.sh ;;
    *)
        echo "usage: demo/run.sh [fleet]" >&2
        exit 2
        ;;
esac
