# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read the result of a build, for the tasks after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import NixferryError, Step

STEP = Step.READ_BUILD

# What check mode says instead of a store path.
KNOWN_LATER = "the store path of a content-addressed derivation is known after the build"
BUILD_OPTION: dict[str, Any] = {"type": "dict"}


def _own_part(host: str, build: Mapping[str, Any]) -> Mapping[str, Any]:
    if "hosts" in build:
        own: Mapping[str, Any] = build["hosts"].get(host, {})
        return own
    return build


def built_revision(host: str, build: Mapping[str, Any]) -> tuple[str, str]:
    """Return the revision and the checkout that the system of ``host`` was built from; empty if unknown."""
    own = _own_part(host, build)
    return str(own.get("revision") or ""), str(own.get("repository") or "")


def built_newly(host: str, build: Mapping[str, Any]) -> bool:
    """Return True if the build had to make or fetch something for ``host``."""
    return bool(_own_part(host, build).get("built"))


def built_toplevel(host: str, build: Mapping[str, Any]) -> str:
    """Return the toplevel of ``host`` in a result of ``nix_build``, for that host alone or for many.

    Raises the build's own ``NixferryError`` if it failed for this host: a task that builds for many hosts goes on
    with those that succeeded.
    """
    if "hosts" in build and host not in build["hosts"]:
        raise NixferryError(
            "nothing was built for this host",
            step=STEP,
            remedy=f"It was built for {', '.join(build['hosts'])}: name the host in `hosts` or `sources`.",
        )
    own = _own_part(host, build)
    if own.get("failed"):
        raise NixferryError.of_result(own)
    toplevel = own.get("toplevel")
    if not toplevel:
        raise NixferryError(
            "`build` holds no toplevel", step=STEP, remedy="Give the result that nix_build registered."
        )
    return str(toplevel)


def is_known_later(host: str, build: Mapping[str, Any]) -> bool:
    """Return True if the store path of ``host`` is known after the build only, which check mode does not do."""
    own = _own_part(host, build)
    return bool(own.get("drv_path")) and not own.get("failed") and not own.get("toplevel")


def built_toplevels(host: str, build: Mapping[str, Any]) -> list[str]:
    """Return the toplevels of all hosts in a result of ``nix_build``, without those whose build failed.

    Raises ``NixferryError`` like ``built_toplevel`` for a result of one host alone.
    """
    if "hosts" not in build:
        return [built_toplevel(host, build)]
    return [str(own["toplevel"]) for own in build["hosts"].values() if own.get("toplevel")]
