# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What a report says about hosts: the outcomes, how many of each, and values as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_text

NOT_ATTEMPTED = "not-attempted"
UNREACHABLE = "unreachable"
# Ansible's own check of a role's variables, whose errors may quote them.
VALIDATION = "ansible.builtin.validate_argument_spec"
HIDDEN = "hidden"
# The worst first: a host with several systems is reported by the worst of them.
OUTCOMES = (
    "unknown",
    "failed",
    "rolled-back",
    "awaiting-confirmation",
    UNREACHABLE,
    NOT_ATTEMPTED,
    "tested",
    "committed",
    "dry-activated",
    "copied",
    "built",
    HIDDEN,
    "unchanged",
)

# Something went wrong in the deploy itself.
FAILED = ("unknown", "failed", "rolled-back")


def totals(hosts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of hosts by outcome and by other properties."""
    found = list(hosts)
    return {
        "hosts": len(found),
        **{outcome: sum(host["outcome"] == outcome for host in found) for outcome in OUTCOMES},
        "changed": sum(bool(host["changed"]) for host in found),
        "reboot-required": sum(bool(host["reboot_required"]) for host in found),
        "failed-task": sum(host["failed_task"] is not None for host in found),
    }


def overall(hosts: Iterable[Mapping[str, Any]]) -> str:
    """Return one word for a whole run: the worst outcome."""
    found = list(hosts)
    outcomes = {host["outcome"] for host in found}
    if outcomes & {"unknown", "failed"} or any(
        host["failed_task"] and not host["failed_task"]["unreachable"] for host in found
    ):
        return "failed"
    for outcome in ("rolled-back", "awaiting-confirmation"):
        if outcome in outcomes:
            return outcome
    if UNREACHABLE in outcomes or any(host["failed_task"] for host in found):
        return UNREACHABLE
    return "incomplete" if NOT_ATTEMPTED in outcomes else "ok"


def message_of(result: Mapping[str, Any]) -> str:
    """Return the message of a failed task of ours; nothing hidden by no_log."""
    if "censored" in result:
        return "hidden by no_log"
    # Ansible's prefix of the message of a lost host.
    return clean_text(str(result.get("msg") or "").removeprefix("Task failed: "))


def invalid_variables(result: Mapping[str, Any]) -> str:
    """Return which variables of a role are not valid; their values may be secret."""
    said = " ".join(map(str, result.get("argument_errors") or ()))
    specification = result.get("argument_spec_data") or {}
    names = [str(name) for name in specification if re.search(rf"\b{re.escape(str(name))}\b", said)]
    if not names:
        return ""
    return f"not valid: {', '.join(names)}. The task that checks the arguments says why, in `argument_errors`"


def plain(value: Any) -> Any:
    """Return a copy without Ansible's own types, which break JSON and comparisons; texts are cleaned."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for simple in (int, float):
        if isinstance(value, simple):
            return simple(value)
    return clean_text(str(value))


def moment(seconds: float) -> str:
    """Format seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
