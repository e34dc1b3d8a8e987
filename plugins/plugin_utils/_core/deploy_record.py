# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Records of deploys, as the host keeps them (``target/guard/deployed.sh`` defines the form)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import NixferryError, Step
from .said import moment, whole_number

DIRTY = "-dirty"
REVISION_SHOWN = 12
_DEPLOY = "deploy="


@dataclass(frozen=True)
class DeployRecord:
    """One deploy that was committed."""

    generation: int
    """0 if the profile has no generations."""
    toplevel: str
    time: int
    """Seconds since the epoch, by the host's clock."""
    activation_id: str
    action: str
    """``switch`` or ``boot``, or ``rollback`` for a manual rollback."""
    revision: str
    """The commit, with ``-dirty`` if the working tree was modified; empty if unknown."""
    deployer: str
    """``user@controller``."""
    deploy: str = ""
    """The common id of all hosts of the run; empty for a deploy of an older version."""

    @property
    def moment(self) -> str:
        """Return the time in UTC, readable."""
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M UTC")

    def facts(self) -> dict[str, Any]:
        """Return the record as part of a task's result."""
        return {
            "generation": self.generation,
            "toplevel": self.toplevel,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "activation": self.activation_id,
            "action": self.action,
            "revision": self.revision,
            "deployer": self.deployer,
            "deploy": self.deploy,
        }


class OtherRevision(NixferryError):
    """The host refuses to replace a revision unless it knows that the new one contains it."""

    def __init__(self, record: DeployRecord) -> None:
        super().__init__(
            f"{record.deployer or 'an unknown deployer'} has deployed another revision",
            step=Step.START,
            remedy="Deploy from a revision that contains it, or use force.",
        )
        self.record = record


def base_revision(revision: str) -> str:
    """Return the base commit of a modified working tree."""
    return revision.removesuffix(DIRTY)


def shown_revision(revision: str) -> str:
    """Return a short form of a revision: the beginning of the commit, and whether it was modified."""
    base = base_revision(revision)
    return base[:REVISION_SHOWN] + revision[len(base) :]


def parse_record(line: str) -> DeployRecord | None:
    """Parse ``GENERATION TOPLEVEL TIME ACTIVATION ACTION REVISION deploy=ID DEPLOYER``; ``None`` for any other line.

    The host's disk may contain anything: a damaged record must not prevent a deploy.
    """
    fields = line.split(" ", 6)
    if len(fields) != 7:
        return None
    generation, time = whole_number(fields[0]), moment(fields[2])
    if generation is None or time is None:
        return None
    revision = "" if fields[5] == "-" else fields[5]
    deployer, deploy = fields[6].strip(), ""
    if deployer.startswith(_DEPLOY):
        deploy, _space, deployer = deployer.removeprefix(_DEPLOY).partition(" ")
    return DeployRecord(generation, fields[1], time, fields[3], fields[4], revision, deployer, deploy)


def parse_records(lines: Iterable[str]) -> tuple[DeployRecord, ...]:
    """Return all readable records, by generation."""
    found = (parse_record(line) for line in lines)
    return tuple(sorted((record for record in found if record), key=lambda record: record.generation))
