# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The whole nix_build task, without Ansible: from options to one result per host."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.boot_loaders import (
    refuse_other_boot_loaders,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import Revision
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked, state_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    PLACEHOLDER,
    Attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import (
    Answers,
    Evaluation,
    evaluate,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.flake_places import FlakePlaces
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import Limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import sign
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import LogEvent
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import BuildLogs
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import derivation_outputs
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.about import about_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import Fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.profile import other_systems
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import Source

from .builder_news import (
    BuilderNews,
    with_builders,
)
from .floating import with_outputs
from .gcroots import keep, roots_directory
from .options import BuildOptions
from .realise import (
    STEP,
    Controller,
    Target,
    missing,
    not_available,
    plan,
    realise,
    target_of,
    target_of_store_path,
)
from .result import HostBuild

Realiser = Callable[[Nix, Mapping[str, Target], float | None], dict[str, HostBuild]]


class BuildTask:
    """Evaluates and builds for all hosts of ``options``.

    ``warnings`` and ``evaluation_warnings``, those of the Nix code, are filled while it runs.
    """

    def __init__(self, options: BuildOptions, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.logs = BuildLogs()
        self.builders = BuilderNews()
        self.warnings: list[str] = []
        self.evaluation_warnings = EvaluationWarnings()
        self._fleets: dict[Fleet, Fleet] = {}
        self._about: dict[str, dict[str, Any]] = {}
        self.nix = Nix(
            options=options.settings,
            working_directory=options.directory,
            on_event=self._event,
            on_tick=progress.tick,
        )

    def run(self, realiser: Realiser | None = None) -> list[HostBuild]:
        """Return one build per host, in order. ``realiser`` builds elsewhere than on the controller.

        Raises ``NixferryError`` if nothing could be attempted for any host.
        """
        # Limits differ between processes, like the available memory.
        wanted = replace(self.options, dry_run=False, limits=Limits(0, 0), timeout=None)
        name = hashlib.sha256(repr(wanted).encode()).hexdigest()
        with locked(name, state_directory(), waiting=self._tell_waiting):
            seconds = self.options.timeout
            deadline = None if seconds is None else time.monotonic() + seconds
            revisions = self._revisions()
            targets = self._with_boot_loader(self._targets(deadline))
            good = {host: target for host, target in targets.items() if isinstance(target, Target)}
            builds = (realiser or self._on_controller)(self.nix, good, deadline)
            for host, error in targets.items():
                if isinstance(error, NixferryError):
                    builds[host] = HostBuild(host, error=error)
        return [
            replace(builds[host], revision=revisions[host], about=self._about.get(host))
            for host in self.options.hosts
        ]

    def _revisions(self) -> dict[str, Revision]:
        """Return the revision of each host's source; git is asked once for each place."""
        known: dict[tuple[str, str, tuple[str, ...]], Revision] = {}
        revisions = {}
        for host, source in self.options.sources:
            if isinstance(source, NixferryError):
                revisions[host] = Revision()
                continue
            place = (source.flake.partition("#")[0].replace(PLACEHOLDER, host), source.file, source.fleet)
            if place not in known:
                known[place] = source.revision(host, self.options.directory)
                if known[place].warning:
                    self.warnings.append(f"git cannot report the revision: {known[place].warning}")
            revisions[host] = known[place]
        return revisions

    def _event(self, event: LogEvent) -> None:
        self.logs.event(event)
        self.builders.event(event)
        self.evaluation_warnings.event(event)
        self.progress.event(event)

    def _tell_waiting(self) -> None:
        self.progress.line("waiting for another process that builds the same")

    def _targets(self, deadline: float | None) -> dict[str, Target | NixferryError]:
        targets: dict[str, Target | NixferryError] = {}
        attributes: dict[str, Attribute] = {}
        fleets: dict[str, Fleet] = {}
        for host, source in self.options.sources:
            if isinstance(source, NixferryError):
                targets[host] = source
                continue
            try:
                if source.store_path:
                    targets[host] = target_of_store_path(source.store_path)
                elif source.drv_path:
                    outputs = derivation_outputs(self.nix, source.drv_path, step=STEP)
                    targets[host] = target_of(source.drv_path, outputs, self.options.output)
                elif source.fleet:
                    fleets[host] = self._fleet(source)
                    attributes[host] = fleets[host].attribute(host)
                else:
                    attributes[host] = self.options.attribute(host, source)
            except NixferryError as error:
                targets[host] = error
        if attributes:
            self.nix.version()
            self.progress.phase(f"evaluating {names_text(list(attributes))}")
            limits = self.options.limits
            refused = other_systems(self.nix, fleets, limits=limits, deadline=deadline)
            targets.update(refused)
            answers = evaluate(
                self.nix,
                {host: attribute for host, attribute in attributes.items() if host not in refused},
                limits=limits,
                deadline=deadline,
                eval_jobs=self.options.nix_eval_jobs,
                on_warning=self.warnings.append,
            )
            targets.update(self._evaluated(answers, attributes))
        return targets

    def _with_boot_loader(
        self, targets: dict[str, Target | NixferryError]
    ) -> dict[str, Target | NixferryError]:
        """Refuse hosts whose systems would install another boot loader, by what their derivations say."""
        if not self.options.only_boot_loader:
            return targets
        checked = dict(targets)
        for host, target in targets.items():
            if isinstance(target, Target) and target.derivation:
                try:
                    refuse_other_boot_loaders(Path(target.derivation).read_bytes(), whole=False, step=STEP)
                except OSError:
                    # A store elsewhere. What makes the image looks again.
                    continue
                except NixferryError as error:
                    checked[host] = error
        return checked

    def _fleet(self, source: Source) -> Fleet:
        """Return the fleet that ``source`` names. Raises ``NixferryError`` if it is invalid."""
        fleet = source.fleet_in(self.options.directory, write_lock_file=not self.options.dry_run)
        if fleet not in self._fleets:
            self._fleets[fleet] = fleet.settled(self.nix)
        return self._fleets[fleet]

    def _evaluated(
        self, answers: Answers, attributes: Mapping[str, Attribute]
    ) -> dict[str, Target | NixferryError]:
        targets: dict[str, Target | NixferryError] = {}
        places = FlakePlaces(self.nix, STEP)
        places.in_warnings((attribute.root for attribute in attributes.values()), self.evaluation_warnings)
        for host, answer in answers.items():
            root = attributes[host].root
            if isinstance(answer, Evaluation):
                if answer.about is not None:
                    about = about_host(host, answer.about)
                    place = about["place"] and places.in_text(root, about["place"])
                    self._about[host] = {**about, "place": place}
                try:
                    targets[host] = target_of(answer.drv_path, answer.outputs, self.options.output)
                except NixferryError as error:
                    targets[host] = error
            else:
                targets[host] = places.in_error(root, answer)
        return targets

    def _on_controller(
        self, nix: Nix, targets: Mapping[str, Target], deadline: float | None
    ) -> dict[str, HostBuild]:
        absent = missing(nix, targets)
        place = Controller(nix, self.logs)
        present = {host: target for host, target in targets.items() if host not in absent}
        if self.options.dry_run:
            known, errors = with_outputs(place, present, deadline)
            targets = {**targets, **known}
            plans = plan(nix, absent, parallel=self.options.limits.evaluators, deadline=deadline)
            return {
                host: _planned(host, target, plans.get(host, Plan()), errors.get(host))
                for host, target in targets.items()
            }
        if absent:
            self.progress.phase(f"building {names_text(list(absent))}")
        errors = {
            host: with_builders(error, self.builders.troubles)
            for host, error in realise(nix, absent, place, deadline=deadline).items()
        }
        good = {host: target for host, target in targets.items() if host not in errors}
        known, unread = with_outputs(place, good, deadline)
        targets, errors = {**targets, **known}, {**errors, **unread}
        # Some derivations were built here, which the user may not expect.
        self.warnings += self.builders.warnings()
        return self.settled(nix, targets, absent, errors)

    def settled(
        self,
        nix: Nix,
        targets: Mapping[str, Target],
        absent: Mapping[str, Target],
        errors: Mapping[str, NixferryError],
    ) -> dict[str, HostBuild]:
        """Return the builds of ``targets``. ``absent`` are new in the controller's store, except those with errors.

        Sign the builds if requested, and protect them from the garbage collector.
        """
        builds = {
            host: HostBuild(host, target, built=host in absent and host not in errors, error=errors.get(host))
            for host, target in targets.items()
        }
        present = {host: target.toplevel for host, target in targets.items() if host not in errors}
        if self.options.signing_key is not None and present:
            # One call for all hosts. No host may go on without a signature.
            sign(nix, sorted(set(present.values())), self.options.signing_key)
        self.warnings += keep(nix, roots_directory(self.options.directory, state_directory()), present)
        return builds


def _planned(host: str, target: Target, plan: Plan, error: NixferryError | None) -> HostBuild:
    unknown = target.realisable in plan.unknown
    return HostBuild(host, target, plan=plan, error=error or (not_available(target) if unknown else None))
