# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Host names for messages. Separate so that the inventory plugin does not import build code."""

from __future__ import annotations

from collections.abc import Sequence

HOSTS_NAMED = 4


def names_text(hosts: Sequence[str]) -> str:
    """Return the hosts' names, or their number if they are many."""
    if len(hosts) <= HOSTS_NAMED:
        return ", ".join(hosts)
    return f"{len(hosts)} hosts ({', '.join(hosts[:HOSTS_NAMED])} ...)"
