# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The result of nix_build: one part per host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import KNOWN_LATER
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import Revision
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan

from .realise import Target

# A system that is built anew needs thousands of paths, which no reader of a result wants.
PATHS_SHOWN = 10


@dataclass(frozen=True)
class HostBuild:
    """The result for one host. ``target`` is None if the evaluation failed."""

    host: str
    target: Target | None = None
    built: bool = False
    plan: Plan | None = None
    error: NixferryError | None = None
    revision: Revision = field(default_factory=Revision)
    about: Mapping[str, Any] | None = None
    """What the fleet file says about the host; None for other sources."""

    @property
    def changed(self) -> bool:
        """Return True if something was built or fetched, or would be."""
        if self.plan is None or self.error is not None:
            return self.built
        return not self.plan.empty

    def facts(self, *, full_plan: bool = False) -> dict[str, Any]:
        """Return the host's part of the task's result; the same keys in check mode and after a failure.

        Without ``full_plan`` only the first ``PATHS_SHOWN`` paths of a plan are in it.
        """
        facts: dict[str, Any] = {
            "failed": False,
            "drv_path": self.target.derivation if self.target else None,
            "outputs": dict(self.target.outputs) if self.target else {},
            # A failed build must not be copied by mistake.
            "toplevel": (self.target.toplevel or None) if self.target and self.error is None else None,
            "built": self.built,
            "revision": self.revision.revision,
            "repository": self.revision.repository,
            "fleet": None if self.about is None else dict(self.about),
        }
        if self.plan is not None:
            shown = None if full_plan else PATHS_SHOWN
            facts.update(
                # Nix names what is built first at first, and the host's own derivation at last.
                would_build=list(self.plan.would_build[::-1][:shown]),
                would_build_count=len(self.plan.would_build),
                would_fetch=list(self.plan.would_fetch[:shown]),
                would_fetch_count=len(self.plan.would_fetch),
                download_size=self.plan.download_size,
                unpacked_size=self.plan.unpacked_size,
            )
        if self.target is not None and not self.target.known and self.error is None:
            facts["msg"] = f"{self.host}: {KNOWN_LATER}"
        if self.error is not None:
            facts.update(self.error.result(self.host))
            del facts["changed"]
        return facts


def common_failure(builds: Sequence[HostBuild], batch: Collection[str]) -> NixferryError | None:
    """Return the failure of all ``builds`` if it is the same one, and no other host of ``batch`` could go on."""
    errors = [build.error for build in builds if build.error is not None]
    if len(errors) < len(builds) or not batch or not set(batch) <= {build.host for build in builds}:
        return None
    told = {(error.step, error.cause, error.remedy, error.where) for error in errors}
    return errors[0] if len(told) == 1 else None


Share = Callable[[dict[str, dict[str, Any]]], dict[str, dict[str, Any]]]


def task_result(
    builds: Sequence[HostBuild],
    share: Share | None = None,
    *,
    warnings: Sequence[str] = (),
    full_plan: bool = False,
    batch: Collection[str] = (),
) -> dict[str, Any]:
    """Return the task's result: the only host's part at the top level, or with ``share`` a part for each host.

    ``warnings`` are those of the evaluation, which serves all hosts together. ``share`` gets the parts of ``builds``
    and returns them with those of other processes. One failure of all hosts of ``batch`` is that of the task.
    """
    changed = any(build.changed for build in builds)
    common = {"changed": changed, "evaluation_warnings": list(warnings)}
    if share is None:
        return {**builds[0].facts(full_plan=full_plan), **common}
    failure = common_failure(builds, batch)
    if failure is not None:
        names = [build.host for build in builds]
        return {**common, **failure.result(names_text(names)), "failed_hosts": names}
    hosts = share({build.host: build.facts(full_plan=full_plan) for build in builds})
    return {
        **common,
        "failed": False,
        "hosts": hosts,
        "failed_hosts": [host for host, facts in hosts.items() if facts["failed"]],
    }
