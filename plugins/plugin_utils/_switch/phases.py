# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The phases of a deploy in one task, and which of them the tags of a run select."""

from __future__ import annotations

from collections.abc import Collection, Iterable

COPY = "copy"
ACTIVATE = "activate"
PHASES = (COPY, ACTIVATE)


def selected_phases(
    phases: Iterable[str], tags: Collection[str], run_tags: Collection[str], skip_tags: Collection[str]
) -> tuple[str, ...]:
    """Return those of ``phases`` that a run with these tags is to do, in order.

    ``tags`` are those of the task, which the run has selected. A task with the tag of a phase stands for one task a
    phase: for the activation, with the tag ``activate``, and for the copy that it needs, with both tags.
    """
    wanted = [phase for phase in PHASES if phase in set(phases)]
    own = {str(tag) for tag in tags}
    if not own.intersection(PHASES):
        return tuple(wanted)
    kept = [phase for phase in wanted if phase not in skip_tags]
    # What selects the task, apart from the tag of the copy alone.
    others = own - {COPY}
    asked = {str(tag) for tag in run_tags}
    if "always" in others or "all" in asked or "tagged" in asked or not others.isdisjoint(asked):
        return tuple(kept)
    return tuple(phase for phase in kept if phase != ACTIVATE)
