# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Build for all hosts on one host of the inventory, and copy the results to the controller."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.back import Wanted, copy_back
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import build_graph

from .realise import STEP, Target, missing, realise
from .result import HostBuild
from .target import HostPlace
from .task import BuildTask

_REFUSED = NixferryError(
    "a content-addressed derivation is not built on another host: its store path is not known before",
    step=Step.BUILD,
    remedy="Set `build_on` to controller or to target for this host.",
)


class BuildHostRealiser:
    """Realises on the host of ``shell`` for ``BuildTask.run``, which leaves the results on the controller."""

    def __init__(self, task: BuildTask, shell: RemoteShell) -> None:
        self._task = task
        self._shell = shell
        self._place = HostPlace(task, shell)

    def __call__(
        self, nix: Nix, targets: Mapping[str, Target], deadline: float | None
    ) -> dict[str, HostBuild]:
        """Return one build per host. If the build host fails, the hosts without a built system fail."""
        # What it says of other paths than those of a derivation is not believed.
        refused = {
            host: HostBuild(host, target, error=_REFUSED)
            for host, target in targets.items()
            if not target.known
        }
        targets = {host: target for host, target in targets.items() if target.known}
        return {**refused, **self._builds(nix, targets, deadline)}

    def _builds(
        self, nix: Nix, targets: Mapping[str, Target], deadline: float | None
    ) -> dict[str, HostBuild]:
        absent = missing(nix, targets)
        if self._task.options.dry_run:
            return self._planned(targets, absent)
        return self._task.settled(nix, targets, absent, self._build(nix, absent, deadline))

    def _planned(self, targets: Mapping[str, Target], absent: Mapping[str, Target]) -> dict[str, HostBuild]:
        try:
            lacking = self._place.missing(absent) if absent else {}
        except NixferryError as error:
            named = self._named(error)
            return {
                host: HostBuild(host, target, plan=Plan(), error=named if host in absent else None)
                for host, target in targets.items()
            }
        plans = dict.fromkeys(targets, Plan())
        for host, target in absent.items():
            # Check mode: the host could tell more only with the derivation.
            if host in lacking:
                plans[host] = Plan(would_build=(target.realisable,))
            else:
                plans[host] = Plan(would_fetch=tuple(target.outputs.values()))
        return {host: HostBuild(host, target, plan=plans[host]) for host, target in targets.items()}

    def _build(
        self, nix: Nix, absent: Mapping[str, Target], deadline: float | None
    ) -> dict[str, NixferryError]:
        """Build what the build host lacks and copy it to the controller; return the errors by host."""
        if not absent:
            return {}
        errors: dict[str, NixferryError] = {}
        try:
            lacking = self._place.missing(absent)
            if lacking:
                derivations = [each.derivation for each in lacking.values() if each.derivation is not None]
                if derivations:
                    self._place.copy(derivations, nix, deadline)
                self._task.progress.phase(f"building {names_text(list(lacking))} on {self._shell.host}")
                failed = realise(nix, lacking, self._place, deadline=deadline)
                errors = {host: self._named(error) for host, error in failed.items()}
            built = [target for host, target in absent.items() if host not in errors]
            if built:
                self._task.progress.phase(f"copying what was built from {self._shell.host}")
            for wanted in _wanted(built, nix):
                seconds = None if deadline is None else max(1.0, deadline - time.monotonic())
                copy_back(self._shell, wanted, nix=nix, timeout=seconds)
        except NixferryError as error:
            named = self._named(error)
            errors = {host: errors.get(host, named) for host in absent}
        return errors

    def _named(self, error: NixferryError) -> NixferryError:
        """Add the name of the build host to the error, whose text begins with the name of the deployed host."""
        name = self._shell.host
        if isinstance(error, HostUnreachable):
            return NixferryError(
                f"the build host {name} cannot be reached: {error.cause}",
                step=Step.BUILD,
                remedy=error.remedy
                or f"Make sure that `ansible {name} -m raw -a true` works, or change `build_on`.",
                output=error.output,
                where=name,
            )
        return error if error.where == CONTROLLER else error.with_(where=name)


def _wanted(built: Sequence[Target], nix: Nix) -> Iterator[Wanted]:
    """Yield what to copy for targets with a derivation, and for those that are only a store path."""
    derivations = list(dict.fromkeys(each.derivation for each in built if each.derivation is not None))
    if derivations:
        graph = build_graph(nix, derivations, step=STEP)
        yield Wanted(_paths(each for each in built if each.derivation is not None), graph)
    named = _paths(each for each in built if each.derivation is None)
    if named:
        yield Wanted(named, None)


def _paths(targets: Iterable[Target]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for target in targets for path in target.outputs.values()))
