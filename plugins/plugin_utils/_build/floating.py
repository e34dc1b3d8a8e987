# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Content-addressed derivations, and those that need such a one: their store paths are known after the build."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import named_outputs

from .realise import (
    STEP,
    TIMEOUT_NAME,
    Place,
    Target,
    target_of,
)


def built_target(target: Target, result: NixResult) -> Target:
    """Return ``target`` with the store paths that realising it alone has printed.

    Raises ``NixferryError`` if Nix failed, or printed other paths than those of the derivation.
    """
    if result.return_code != 0 or result.timed_out:
        raise result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    outputs = named_outputs(target.realisable, result.stdout.split(), step=STEP)
    if not outputs:
        raise NixferryError(f"Nix has built {target.realisable} and named no store path", step=STEP)
    return target_of(target.realisable, outputs, target.output)


def with_outputs(
    place: Place, targets: Mapping[str, Target], deadline: float | None
) -> tuple[dict[str, Target], dict[str, NixferryError]]:
    """Return the built targets whose store paths were not known, now with these, and errors by host."""
    known: dict[str, Target] = {}
    errors: dict[str, NixferryError] = {}
    for host, target in targets.items():
        if target.known:
            continue
        try:
            known[host] = built_target(target, place.realise([target.realisable], deadline))
        except NixferryError as error:
            errors[host] = error
    return known, errors
