# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which generation "back" means."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard_probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._store_path import is_store_path

STEP = "choose the generation"
PREVIOUS = "previous"


@dataclass(frozen=True)
class Chosen:
    """Where to go back to; ``number`` is 0 for a store path that need not be a generation."""

    number: int
    path: str

    def text(self) -> str:
        """For a line of progress."""
        return f"generation {self.number}, {self.path}" if self.number else self.path


def choose_generation(probe: ProbeResult, to: str) -> Chosen:
    """Find what ``to`` means on a host: ``previous``, a generation's number, or a store path.

    ``previous`` is the newest generation below the profile's current one that holds another system: going "back" to
    the same system under another number would help nobody.

    Raises ``NixferryError`` when there is no such generation.
    """
    if is_store_path(to):
        return Chosen(0, to)
    known = ", ".join(str(generation.number) for generation in probe.generations) or "none"
    remedy = f"The generations on the host are: {known}."
    if to == PREVIOUS:
        current = probe.generation or 0
        for generation in reversed(probe.generations):
            if generation.number < current and generation.path != probe.profile_target:
                return Chosen(generation.number, generation.path)
        raise NixferryError(
            f"{probe.profile} has no earlier generation with another system", step=STEP, remedy=remedy
        )
    if not to.isdigit():
        raise NixferryError(
            f"{to!r} is neither {PREVIOUS}, nor a number, nor a store path", step=STEP, remedy=remedy
        )
    for generation in probe.generations:
        if generation.number == int(to):
            return Chosen(generation.number, generation.path)
    raise NixferryError(f"{probe.profile} has no generation {to}", step=STEP, remedy=remedy)
