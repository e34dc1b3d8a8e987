# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""In check mode: whether a host is still what the plan of a deploy has seen."""

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.texts import ERRORS


def check_expected(probe: ProbeResult, request: StartRequest) -> None:
    """Raise ``NixferryError`` if something else runs, or boots, than the request expects."""
    if probe.unchanged:
        return
    for verb, found, expected in (
        ("runs", probe.current, request.expected_current),
        ("boots", probe.profile_target, request.expected_profile),
    ):
        if expected and expected != (found or "none"):
            step, remedy = ERRORS["not_as_planned"]
            raise NixferryError(
                f"the host {verb} {found or 'nothing of this kind'}, not {expected} as planned",
                step=step,
                remedy=remedy,
            )
