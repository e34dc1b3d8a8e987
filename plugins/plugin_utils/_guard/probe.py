# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What the guard on the host answers about the host itself."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    DeployRecord,
    parse_record,
    parse_records,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    Answer,
    Completed,
    parse_answer,
)

from .refusal import (
    LockHolder,
    lock_holder,
    raise_refusal,
)


@dataclass(frozen=True)
class Generation:
    """One generation of a profile."""

    number: int
    path: str
    date: int | None
    """When it was made, in seconds since the epoch."""
    current: bool
    """Whether the profile points to it."""


@dataclass(frozen=True)
class ProbeResult:
    """The answer to ``probe``."""

    system: str
    """Nix's name of the platform, such as ``x86_64-linux``."""
    nix_version: str
    """Such as ``2.18.1``; empty when Nix was not found."""
    current: str
    """The real path of what is running; empty when there is nothing of this kind."""
    booted: str
    profile: str
    profile_target: str
    """The real path of the profile, which is also what boots by default; empty when there is none."""
    generation: int | None
    generations: tuple[Generation, ...]
    deployed: DeployRecord | None
    """The deploy that made what the profile holds; ``None`` when something else has made it."""
    deployed_last: int | None
    """The generation that was deployed last; 0 without generations, ``None`` when nothing was deployed yet."""
    deploys: tuple[DeployRecord, ...]
    """The deploys that made the generations, as far as the host remembers."""
    history: tuple[DeployRecord, ...]
    """All deploys in order, when they were asked for: also those whose generations are gone."""
    failed_units: tuple[str, ...]
    reboot_reasons: tuple[str, ...]
    """What differs between the booted system and the boot default (see ``GuardStatus.reboot_reasons``)."""
    lock_holder: LockHolder | None
    interrupted: tuple[str, ...]
    """Ids of activations that a power cut or a kill left unfinished."""
    toplevel_valid: bool | None
    """Whether the path asked about is in the host's store; ``None`` when none was asked about."""
    toplevel_missing: tuple[str, ...]
    """Required files that it lacks."""
    toplevel_system: str
    """What would be activated: the toplevel or its specialisation (real path)."""
    toplevel_reboot_reasons: tuple[str, ...]
    reboot: bool
    """Whether the host would reboot into it, as the request's ``reboot`` has it."""
    reboot_problem: str
    """Why it could not do so; empty when it could."""
    unchanged: bool
    """Whether the path asked about already runs and boots."""
    closure_current: tuple[tuple[str, int], ...]
    """Store paths with their NAR sizes in bytes."""
    closure_toplevel: tuple[tuple[str, int], ...]
    dry_activate_exit_code: int | None
    dry_activate_log: str


def parse_probe(completed: Completed) -> ProbeResult:
    """Read the answer to ``probe``; raises ``NixferryError`` as ``parse_status`` does."""
    answer = parse_answer("probe", completed)
    raise_refusal(answer)
    return ProbeResult(
        system=answer.text("system"),
        nix_version=answer.text("nix_version"),
        current=answer.text("current"),
        booted=answer.text("booted"),
        profile=answer.text("profile"),
        profile_target=answer.text("profile_target"),
        generation=answer.integer("generation"),
        generations=_generations(answer),
        deployed=parse_record(answer.text("deployed")),
        deployed_last=_number(answer.text("deployed_last")),
        deploys=parse_records(answer.all("deploy")),
        history=tuple(record for record in map(parse_record, answer.all("history")) if record),
        failed_units=answer.all("failed_unit"),
        reboot_reasons=answer.all("reboot_reason"),
        lock_holder=lock_holder(answer),
        interrupted=answer.all("interrupted"),
        toplevel_valid=answer.flag("toplevel_valid") if answer.all("toplevel_valid") else None,
        toplevel_missing=answer.all("toplevel_missing"),
        toplevel_system=answer.text("toplevel_system"),
        toplevel_reboot_reasons=answer.all("toplevel_reboot_reason"),
        reboot=answer.text("reboot") == "planned",
        reboot_problem=answer.text("reboot_problem"),
        unchanged=answer.flag("unchanged"),
        closure_current=_closure(answer, "closure_current"),
        closure_toplevel=_closure(answer, "closure_toplevel"),
        dry_activate_exit_code=answer.integer("dry_activate_exit_code"),
        dry_activate_log=answer.text("dry_activate_log"),
    )


def _number(text: str) -> int | None:
    """A number that stood in a file on the host, where anything may stand."""
    return int(text) if text.isdecimal() else None


def _generations(answer: Answer) -> tuple[Generation, ...]:
    current = answer.integer("generation")
    generations = []
    for line in answer.all("generations"):
        fields = line.split(" ", 2)
        if len(fields) != 3 or not fields[0].isdigit():
            raise answer.broken(f"not a generation: {line!r}")
        number = int(fields[0])
        date = int(fields[1]) if fields[1].isdigit() else None
        generations.append(Generation(number, fields[2], date, current=number == current))
    return tuple(sorted(generations, key=lambda generation: generation.number))


def _closure(answer: Answer, key: str) -> tuple[tuple[str, int], ...]:
    paths = []
    for line in answer.all(key):
        path, _space, size = line.rpartition(" ")
        if not path or not size.isdigit():
            raise answer.broken(f"not a path with its size: {line!r}")
        paths.append((path, int(size)))
    return tuple(paths)
