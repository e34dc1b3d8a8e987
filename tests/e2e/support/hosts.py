# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts and controllers of a session's lab."""

from __future__ import annotations

HOSTS = (
    {"name": "web1", "release": "bookworm"},
    {"name": "web2", "release": "trixie"},
    {"name": "web3", "release": "trixie"},
    # A host that never had a system: no profile, no boot default.
    {"name": "fresh1", "release": "trixie", "fresh": True},
)


CONTROLLERS = ("bookworm", "trixie", "forky")  # Nix 2.8, 2.26 and 2.34
