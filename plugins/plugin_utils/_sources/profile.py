# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Check that both names of a host's system in a fleet mean the same system."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import STEP
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation, evaluate
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import Limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

from .fleet import Fleet

_REMEDY = (
    "Give the node and its configuration the same name; or define the access in the modules of the systems, "
    "with the option nixferry.sshAccess."
)


def other_systems(
    nix: Nix, fleets: Mapping[str, Fleet], *, limits: Limits, deadline: float | None
) -> dict[str, NixferryError]:
    """Return the hosts for which access would be added to the wrong system, with the reason."""
    pairs = {host: fleet.same_systems(host) for host, fleet in fleets.items()}
    profiles = {host: pair[0] for host, pair in pairs.items() if pair}
    if not profiles:
        return {}
    answers = evaluate(nix, profiles, limits=limits, deadline=deadline)
    named = evaluate(nix, {host: pairs[host][1] for host in profiles}, limits=limits, deadline=deadline)
    return {
        host: error
        for host in profiles
        if (error := _difference(host, answers[host], named[host])) is not None
    }


def _difference(
    host: str, profile: Evaluation | NixferryError, named: Evaluation | NixferryError
) -> NixferryError | None:
    if isinstance(profile, NixferryError):
        return profile
    if isinstance(named, Evaluation) and named.drv_path == profile.drv_path:
        return None
    found = named.drv_path if isinstance(named, Evaluation) else f"not available: {named.cause}"
    return NixferryError(
        f"access between hosts is added to the configuration with the node's name, and that is another system. "
        f"deploy.nodes.{host}.profiles.system activates {profile.drv_path}; nixosConfigurations.{host} is {found}",
        step=STEP,
        remedy=_REMEDY,
    )
