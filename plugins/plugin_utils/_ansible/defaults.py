# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The defaults of other actions (``module_defaults``) that apply to an action which does the same work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any


def defaults_of(task: Any, templar: Any, actions: Sequence[str], known: Collection[str]) -> dict[str, Any]:
    """Return the options that ``module_defaults`` of ``task`` give ``actions``, those of ``known`` names.

    Of two actions with the same option the later one counts, and of two blocks the inner one, as for Ansible.
    """
    given: dict[str, Any] = {}
    # A list, with a dictionary for each block around the task; the outer ones come first.
    for defaults in task.module_defaults or []:
        given.update(defaults)
    found: dict[str, Any] = {}
    for action in actions:
        found.update(templar.template(given.get(action) or {}))
    return {name: value for name, value in found.items() if name in known}
