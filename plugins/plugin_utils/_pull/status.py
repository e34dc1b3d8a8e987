# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The status of a pulling host, as its agent has left it (``target/agent/outcome.sh``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    Completed,
    decode_answer,
    parse_answer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import LIBRARY, host_script

STEP = Step.READ_PULL_STATUS
# The main process of Ansible imports this file before it makes a process for each host, which then has the script.
PULL_QUESTION = host_script({}, (*LIBRARY, "agent/state.sh", "agent/look.sh"))
GOOD = ("committed", "unchanged")
# It takes another publish, or an administrator. Other outcomes say nothing about the accepted pointer.
REFUSED = ("rolled-back", "failed", "not-signed", "refused-by-guard", "quarantined", "state-unwritable")
REMEDIES = {
    "rolled-back": "See in `message` what failed, correct it and publish again.",
    "quarantined": "Correct the system and publish again, or let it be tried again "
    "(nixferry.deploy.nix_pull_agent with state: cleared).",
    "not-signed": "Give the host the public half of the key that signs the cache (`public_keys`).",
    "state-unwritable": "Make room on the host's file system with /var/lib.",
}


@dataclass(frozen=True)
class PullStatus:
    """What the agent says of its last run. Times are seconds since the epoch, on the host's clock."""

    now: int | None
    installed: bool
    timer: str
    """The state of its timer, ``active`` if it looks regularly."""
    under_way: bool
    """An activation is under way, or was interrupted."""
    outcome: str
    message: str
    time: int | None
    good_time: int | None
    serial: int | None
    issued: int | None
    expires: int | None
    channel: str
    host: str
    wanted: str
    current: str
    activation: str
    needs_reboot: bool
    held: str
    quarantined: tuple[str, ...]
    commit: str = field(default="")
    branch: str = field(default="")
    accepted_commit: str = field(default="")
    version: str = field(default="")

    @property
    def pulls(self) -> bool:
        """Whether the host pulls."""
        return self.installed and self.timer == "active"

    def has_reached(self, serial: int) -> bool:
        """Whether the host runs what ``serial``, or a later one, names. Raises ``NixferryError`` if it refused that."""
        if self.serial is None or self.serial < serial or self.under_way:
            return False
        if self.outcome in GOOD:
            return True
        if self.outcome not in REFUSED:
            return False
        raise self._refusal(f"serial {self.serial}")

    def has_built(self, commit: str) -> bool:
        """Whether the host runs what it has built of ``commit``. Raises ``NixferryError`` if it refused that."""
        if self.commit != commit or self.under_way:
            return False
        if self.outcome in GOOD:
            return True
        # A build is tried once more.
        if self.outcome not in REFUSED:
            return False
        raise self._refusal(f"the commit {commit}")

    def _refusal(self, what: str) -> NixferryError:
        return NixferryError(
            f"the host did not take {what}: {self.outcome}: {self.message}",
            step=STEP,
            remedy=REMEDIES.get(self.outcome, "`journalctl --unit 'nixferry-pull*'` on the host says more."),
        )

    def result(self) -> dict[str, Any]:
        """Return the status as data for an Ansible result, with the age of the pointer in seconds."""
        age = self.now - self.issued if self.now is not None and self.issued else None
        return {
            **asdict(self),
            "quarantined": list(self.quarantined),
            "pulls": self.pulls,
            "pointer_age": age,
        }


def read_status(shell: RemoteShell) -> PullStatus:
    """Ask the host, which every user may do. Raises ``NixferryError``."""
    return parse_status(shell.run(PULL_QUESTION, step=STEP))


def parse_status(completed: Completed) -> PullStatus:
    """Read the answer of the script. Raises ``NixferryError`` if it makes no sense."""
    return decode_answer(parse_answer("pull_status", completed, step=STEP), PullStatus)
