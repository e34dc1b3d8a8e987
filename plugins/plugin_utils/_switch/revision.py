# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Refuse a deploy that would undo the work of another deployer."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    DeployRecord,
    base_revision,
    shown_revision,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import (
    contains,
    is_checkout,
    is_shallow,
)

STEP = Step.COMPARE_REVISIONS
FORCE = "or deploy anyway with force (role nixos: nixos_force)"


@dataclass(frozen=True)
class RevisionCheck:
    """The revision of a deploy. Without ``repository`` it cannot be compared."""

    revision: str = ""
    repository: str = ""
    force: bool = False

    def applies_to(self, record: DeployRecord | None) -> bool:
        """Whether ``record`` has a revision that has to be compared."""
        if record is None or self.force or not self.revision or not record.revision:
            return False
        return base_revision(record.revision) != base_revision(self.revision)

    def allow(self, record: DeployRecord) -> None:
        """Return if our revision contains the deployed one, or if the two cannot be compared.

        Otherwise raises ``NixferryError``, which names the deployer, the generation, the time and the revision.
        """
        if not self.applies_to(record) or not is_checkout(self.repository):
            return
        contained = contains(self.repository, self.revision, record.revision)
        if contained:
            return
        theirs, ours = shown_revision(record.revision), shown_revision(self.revision)
        generation = f"generation {record.generation} " if record.generation else ""
        deployer = record.deployer or "an unknown deployer"
        what = f"{deployer} deployed {generation}on {record.moment} from revision {theirs}"
        if contained is False:
            raise NixferryError(
                f"{what}, which {ours} does not contain: this deploy would undo it",
                step=STEP,
                remedy=f"Pull or rebase so that {theirs} is an ancestor of what you deploy, {FORCE}.",
            )
        remedy = "Ask for that work to be pushed and pull it"
        if is_shallow(self.repository):
            remedy = "This is a shallow clone: fetch the whole history (git fetch --unshallow)"
        raise NixferryError(
            f"{what}, which the checkout {self.repository} does not know: this deploy of {ours} may undo it",
            step=STEP,
            remedy=f"{remedy}, {FORCE}.",
        )
