# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Hosts as a message names them. Of its own, since an inventory loads nothing of what builds."""

from __future__ import annotations

from collections.abc import Sequence

HOSTS_NAMED = 4


def names_text(hosts: Sequence[str]) -> str:
    """The hosts' names, or their number when they are many."""
    if len(hosts) <= HOSTS_NAMED:
        return ", ".join(hosts)
    return f"{len(hosts)} hosts ({', '.join(hosts[:HOSTS_NAMED])} ...)"
