# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Reboot a host into its boot default, with everything that a deploy with a reboot does except the new system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import ProbeRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action, Reboot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .options import kind_of, start_request
from .reboot import check_boot
from .result import check_result
from .task import switch_host


def reboot_host(
    guard: Guard, options: Mapping[str, Any], progress: Progress, *, check_mode: bool
) -> dict[str, Any]:
    """Reboot the host and wait until it is healthy; return the task's result, in check mode what it would be.

    Raises ``NixferryError`` when nothing can be booted or the host cannot be booted just once, ``HostUnreachable``
    when it cannot be reached.
    """
    question = ProbeRequest(kind=kind_of(options), profile=str(options["profile"] or ""))
    probe = guard.probe(question)
    target = _boot_default(probe, str(options["specialisation"]))
    # A deliberate return to a deployed system, so that the revision of its deploy is kept.
    request = start_request(
        {**options, "reboot": str(Reboot.ALWAYS)},
        target,
        Action.SWITCH,
        str(options["specialisation"]),
        is_rollback=True,
    )
    request = replace(request, force=True)
    if options["reboot"] == Reboot.IF_REQUIRED and not probe.reboot_reasons:
        return _foretold(replace(probe, unchanged=True), options, target)
    if not check_mode:
        progress.line(f"rebooting into {target}")
        return switch_host(
            guard, request, options["health_checks"], progress, check_mode=False, diff_mode=False
        )
    probe = guard.probe(
        replace(
            question,
            toplevel=target,
            specialisation=request.specialisation,
            reboot=Reboot.ALWAYS,
            force=True,
        )
    )
    check_boot(probe, Action.SWITCH)
    return _foretold(probe, options, target)


def _boot_default(probe: ProbeResult, specialisation: str) -> str:
    """Return the system that boots by default. Raises ``NixferryError`` when that is not known."""
    if not probe.profile_target:
        raise NixferryError(
            f"the profile {probe.profile} holds no system",
            step=Step.PROBE,
            remedy="Deploy one first (nixferry.deploy.nix_switch), or name the right profile. Nothing was changed.",
        )
    known = {probe.profile_target, *(generation.path for generation in probe.generations)}
    if probe.current and probe.current not in known and not specialisation:
        raise NixferryError(
            f"the host runs {probe.current}, which is not a generation of {probe.profile}",
            step=Step.PROBE,
            remedy="If that is a specialisation, name it (specialisation). If it is a test, deploy it first. "
            "Nothing was changed.",
        )
    return probe.profile_target


def _foretold(probe: ProbeResult, options: Mapping[str, Any], target: str) -> dict[str, Any]:
    result = check_result(probe, target, Action.SWITCH, None)
    return {**result, "kind": options["kind"], "profile": probe.profile}
