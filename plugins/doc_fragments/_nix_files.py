# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of options that several modules share: the locations of Nix' files."""

from __future__ import annotations


class ModuleDocFragment:
    """Locations of the files that a host's Nix reads."""

    MACHINES_FILE = r"""
options:
  machines_file:
    description: The file with the builders.
    type: path
    default: /etc/nix/machines
"""

    CONFIG_DIR = r"""
options:
  config_dir:
    description: The directory of C(nix.conf).
    type: path
    default: /etc/nix
"""
