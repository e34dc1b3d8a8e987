# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the actions of a play before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def actions_of(play: Any) -> set[str]:
    """Return the full names of the actions in a play and in its roles that are known in advance.

    Tasks that are included at run time are not among them; their results are recorded nevertheless. A build for every
    host of a fleet file, which need not be in the inventory, is none of them either: it is not a deploy.
    """
    blocks = [*play.pre_tasks, *play.tasks, *play.post_tasks, *play.handlers]
    for role in play.roles:
        blocks += _role_blocks(role)
    return {
        str(task.resolved_action or task.action)
        for task in _tasks(blocks)
        if not (task.args or {}).get("all_hosts")
    }


def _role_blocks(role: Any) -> list[Any]:
    blocks = list(role.get_task_blocks())
    for dependency in role.get_direct_dependencies():
        blocks += _role_blocks(dependency)
    return blocks


def _tasks(entries: Iterable[Any]) -> Iterator[Any]:
    for entry in entries:
        if isinstance(entry, list):
            yield from _tasks(entry)
        elif hasattr(entry, "block"):
            yield from _tasks([*entry.block, *entry.rescue, *entry.always])
        else:
            yield entry
