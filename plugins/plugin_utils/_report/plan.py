# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A plan: what a review saw, as a file, and what a deploy of it may do.

A plan names for each host the system that runs, the one that boots, and the one to deploy. A deploy of the plan takes
exactly these systems to exactly these hosts, and refuses a host that is no longer what the plan saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path

STEP = Step.READ_PLAN
FORMAT = 1
PLAN_BYTES = 64 * 1024 * 1024
_SEE = "Make a new plan, have it reviewed, and deploy that one."


@dataclass(frozen=True)
class PlannedHost:
    """What the plan saw of one host, and what it is to become. Store paths; empty where there is nothing."""

    toplevel: str
    """What the profile is to point to."""
    current: str
    """What ran when the plan was made."""
    boot_default: str
    """What the profile pointed to."""
    changed: bool
    revision: str = ""
    reboot: bool = False
    """Whether the deploy would reboot the host."""
    reboot_reasons: tuple[str, ...] = ()
    """What would need a reboot to be active."""
    closure: Mapping[str, Any] = field(default_factory=dict)
    """The difference of the closures, as the tasks return it; empty if they are equal or could not be compared."""
    secrets: tuple[str, ...] = ()
    """Names of secrets that would change."""


@dataclass(frozen=True)
class Plan:
    """``made`` and ``expires`` are seconds since the epoch. ``left_out`` says of hosts why they are not planned."""

    made: int
    expires: int
    hosts: Mapping[str, PlannedHost]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the plan as the JSON of its file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def read_plan(content: bytes, *, now: float | None = None) -> Plan:
    """Read a plan. Raises ``NixferryError`` for what differs from the format, and with ``now`` if it has expired."""
    if len(content) > PLAN_BYTES:
        raise _invalid("it is too large")
    try:
        found = json.loads(content)
    except ValueError:
        raise _invalid("it is not JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _invalid(f"it does not have the format {FORMAT}")
    made, expires = _number(found, "made"), _number(found, "expires")
    hosts = {str(name): _host(name, entry) for name, entry in _table(found, "hosts").items()}
    left_out = {str(name): clean_line(str(why)) for name, why in _table(found, "left_out").items()}
    if now is not None and now >= expires:
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(expires))
        raise NixferryError(f"the plan has expired at {moment}", step=STEP, remedy=_SEE)
    return Plan(made, expires, hosts, left_out)


def planned_host(plan: Plan, host: str) -> PlannedHost:
    """Return what the plan says of a host. Raises ``NixferryError`` if that is not part of it."""
    if host in plan.hosts:
        return plan.hosts[host]
    why = plan.left_out.get(host)
    raise NixferryError(
        f"the plan leaves {host} out: {why}" if why else f"the plan has no host {host}",
        step=STEP,
        remedy="Deploy with --limit to the hosts of the plan, or make a new plan that has this host.",
    )


def _host(name: str, entry: Any) -> PlannedHost:
    if not isinstance(entry, dict):
        raise _invalid(f"the entry of {name!r} is not a table")
    known = {each.name for each in fields(PlannedHost)}
    if entry.keys() != known:
        raise _invalid(f"the entry of {name!r} does not have the keys of this format")
    for key in ("toplevel", "current", "boot_default"):
        if not isinstance(entry[key], str) or not (
            is_store_path(entry[key]) or (not entry[key] and key != "toplevel")
        ):
            raise _invalid(f"`{key}` of {name!r} is not a store path")
    for key, kind in (("changed", bool), ("reboot", bool), ("revision", str), ("closure", dict)):
        if not isinstance(entry[key], kind):
            raise _invalid(f"`{key}` of {name!r} is not valid")
    for key in ("reboot_reasons", "secrets"):
        if not isinstance(entry[key], list) or not all(isinstance(each, str) for each in entry[key]):
            raise _invalid(f"`{key}` of {name!r} is not a list of words")
    return PlannedHost(
        **{**entry, "reboot_reasons": tuple(entry["reboot_reasons"]), "secrets": tuple(entry["secrets"])}
    )


def _table(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    if not isinstance(value, dict):
        raise _invalid(f"`{key}` is not a table")
    return value


def _number(found: Mapping[str, Any], key: str) -> int:
    value = found.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise _invalid(f"`{key}` is not a time")
    return value


def _invalid(why: str) -> NixferryError:
    return NixferryError(f"not a valid plan: {why}", step=STEP, remedy=_SEE)
