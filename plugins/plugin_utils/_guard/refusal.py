# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Refusals of the guard: the cause, and the holder of the lock."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    OtherRevision,
    parse_record,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Answer, GuardRefusal

from .texts import ERRORS


@dataclass(frozen=True)
class LockHolder:
    """The deployer who holds the lock of the host."""

    activation_id: str
    deployer: str
    age: int | None
    """Seconds since the lock was taken."""

    def __str__(self) -> str:
        who = self.deployer or "an unknown deployer"
        since = "" if self.age is None else f" for {self.age} s"
        return f"{who} (activation {self.activation_id}{since})"


def raise_refusal(answer: Answer) -> None:
    """Raise ``GuardRefusal`` or ``OtherRevision`` if the answer is a refusal."""
    code = answer.text("error")
    if not code:
        return
    if code not in ERRORS:
        raise answer.broken(f"unknown error {code!r}")
    deployed = parse_record(answer.text("deployed"))
    if code == "other_revision" and deployed is not None:
        raise OtherRevision(deployed)
    step, remedy = ERRORS[code]
    message = answer.text("message")
    holder = lock_holder(answer)
    if holder is not None:
        message = f"{message}: {holder}"
    raise GuardRefusal(code, message, step=step, remedy=remedy, output=answer.text("log").splitlines())


def lock_holder(answer: Answer) -> LockHolder | None:
    """Return the holder of the lock; ``None`` when it is free."""
    identifier = answer.text("lock_id")
    if not identifier:
        return None
    return LockHolder(identifier, answer.text("lock_deployer"), answer.integer("lock_age"))
