# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The guard's report on the host itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    DeployRecord,
    parse_record,
    parse_records,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import moment, whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    Answer,
    decode_answer,
)

from .refusal import LockHolder, lock_holder


@dataclass(frozen=True)
class Generation:
    """One generation of a profile."""

    number: int
    path: str
    date: int | None
    """When it was made, in seconds since the epoch."""
    current: bool
    """Whether the profile points to it."""


def _generations(answer: Answer) -> tuple[Generation, ...]:
    current = answer.integer("generation")
    generations = []
    for line in answer.all("generations"):
        fields = line.split(" ", 2)
        found = whole_number(fields[0])
        if len(fields) != 3 or found is None:
            raise answer.broken(f"not a generation: {line!r}")
        generations.append(Generation(found, fields[2], moment(fields[1]), current=found == current))
    return tuple(sorted(generations, key=lambda generation: generation.number))


def _closure(key: str) -> dict[str, Any]:
    """Return the metadata of a field that is a closure."""
    return {"key": key, "read": functools.partial(_paths, key=key)}


def _paths(answer: Answer, *, key: str) -> tuple[tuple[str, int], ...]:
    paths = []
    for line in answer.all(key):
        path, _space, text = line.rpartition(" ")
        size = whole_number(text)
        if not path or size is None:
            raise answer.broken(f"not a path with its size: {line!r}")
        paths.append((path, size))
    return tuple(paths)


def _history(answer: Answer) -> tuple[DeployRecord, ...]:
    return tuple(record for record in map(parse_record, answer.all("history")) if record)


def _valid(answer: Answer) -> bool | None:
    return answer.flag("toplevel_valid") if answer.all("toplevel_valid") else None


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
    generations: tuple[Generation, ...] = field(metadata={"key": "generations", "read": _generations})
    deployed: DeployRecord | None = field(
        metadata={"key": "deployed", "read": lambda answer: parse_record(answer.text("deployed"))}
    )
    """The deploy that made the current generation; ``None`` if it was not deployed."""
    deployed_last: int | None = field(
        metadata={"key": "deployed_last", "read": lambda answer: whole_number(answer.text("deployed_last"))}
    )
    """The generation that was deployed last; 0 without generations, ``None`` when nothing was deployed yet."""
    deploys: tuple[DeployRecord, ...] = field(
        metadata={"key": "deploy", "read": lambda answer: parse_records(answer.all("deploy"))}
    )
    """The deploys that made the generations, as far as the host remembers."""
    history: tuple[DeployRecord, ...] = field(metadata={"key": "history", "read": _history})
    """All deploys in order, if requested, including those whose generations are gone."""
    failed_units: tuple[str, ...] = field(metadata={"key": "failed_unit"})
    reboot_reasons: tuple[str, ...] = field(metadata={"key": "reboot_reason"})
    """What differs between the booted system and the boot default (see ``GuardStatus.reboot_reasons``)."""
    lock_holder: LockHolder | None = field(metadata={"key": "lock_id", "read": lock_holder})
    interrupted: tuple[str, ...]
    """Ids of activations that a power cut or a kill left unfinished."""
    toplevel_valid: bool | None = field(metadata={"key": "toplevel_valid", "read": _valid})
    """Whether the requested path is in the host's store; ``None`` if no path was requested."""
    toplevel_missing: tuple[str, ...]
    """Required files that the path lacks."""
    toplevel_system: str
    """The system to activate: the toplevel or its specialisation (real path)."""
    toplevel_reboot_reasons: tuple[str, ...] = field(metadata={"key": "toplevel_reboot_reason"})
    reboot: bool = field(
        metadata={"key": "reboot", "read": lambda answer: answer.text("reboot") == "planned"}
    )
    """Whether the request's ``reboot`` would make the host reboot into it."""
    reboot_problem: str
    """Why the host could not; empty if it could."""
    boot_default_problem: str
    """Why a commit would not change what boots by default; empty if it would, or if nothing would be committed."""
    unchanged: bool
    """Whether the requested path already runs and boots."""
    closure_current: tuple[tuple[str, int], ...] = field(metadata=_closure("closure_current"))
    """Store paths with their NAR sizes in bytes."""
    closure_toplevel: tuple[tuple[str, int], ...] = field(metadata=_closure("closure_toplevel"))
    dry_activate_exit_code: int | None
    dry_activate_log: str


def read_probe(answer: Answer) -> ProbeResult:
    """Read the answer to ``probe``; raises ``NixferryError`` when it breaks the contract."""
    return decode_answer(answer, ProbeResult)
