# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A plan from the results of the tasks that looked at the hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

from .facts import plain
from .plan import Plan, PlannedHost, read_plan

UNCHANGED = "unchanged"
_KEYS = ("build", "generations", "preview")


def plan_of(results: Mapping[str, Any], *, made: int, expires: int) -> Plan:
    """Return the plan for the hosts in ``results``.

    Each host has the results of ``nix_build`` (``build``), ``nix_generations`` (``generations``) and of ``nix_deploy``
    or ``nix_switch`` in check mode (``preview``), and may have that of ``nix_secrets`` in check mode (``secrets``). A
    host whose results lack something, or have failed, is left out with the cause. ``made`` and ``expires`` are seconds
    since the epoch. Raises ``NixferryError`` if no host is given.
    """
    if not results:
        raise NixferryError(
            "no host is given", step=Step.WRITE_PLAN, remedy="Run the play with hosts that its inventory has."
        )
    hosts: dict[str, PlannedHost] = {}
    left_out: dict[str, str] = {}
    for name, found in plain(results).items():
        found = _of_host(name, found)
        cause = _cause(found)
        if cause:
            left_out[name] = cause
        else:
            hosts[name] = _planned(found)
    plan = Plan(made, expires, hosts, left_out)
    # What could not be read again must not be written.
    return read_plan(plan.text().encode())


def _of_host(name: str, found: Any) -> Any:
    """Return the results of a host with the part of a build for several hosts that is about this one."""
    build = found.get("build") if isinstance(found, Mapping) else None
    if not isinstance(build, Mapping) or not isinstance(build.get("hosts"), Mapping):
        return found
    return {**found, "build": build["hosts"].get(name, {})}


def _cause(found: Any) -> str:
    """Return why a host cannot be planned; empty if it can."""
    if not isinstance(found, Mapping):
        return "nothing is known of it"
    for key in (*_KEYS, "secrets"):
        result = found.get(key)
        if key == "secrets" and (not result or result.get("skipped")):
            continue
        if not isinstance(result, Mapping) or not result:
            return "it was lost before it could be asked"
        if result.get("unreachable"):
            return f"it could not be reached: {result.get('msg', '')}"
        if result.get("failed"):
            return str(result.get("msg", "a task failed"))
    return ""


def _planned(found: Mapping[str, Any]) -> PlannedHost:
    build, generations, preview = (found[key] for key in _KEYS)
    changes = found.get("secrets") or {}
    secrets = (
        *sorted(changes.get("secrets", {})),
        *(f"{path} (removed)" for path in changes.get("removed", ())),
    )
    return PlannedHost(
        toplevel=str(build.get("toplevel", "")),
        current=str(generations.get("current", "")),
        boot_default=str(generations.get("boot_default", "")),
        changed=preview.get("outcome") != UNCHANGED or bool(secrets),
        revision=str(build.get("revision", "")),
        reboot=bool(preview.get("rebooted")),
        reboot_reasons=tuple(preview.get("reboot_reasons", ())),
        closure=preview.get("closure") or {},
        secrets=secrets,
    )
