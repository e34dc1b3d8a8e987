# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Turn the builders in a task's options into settings of Nix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import (
    Machine,
    MachinesError,
    entries,
    hazards,
    parse,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import checked_options
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.BUILD
# What separates entries in every version of Nix.
SEPARATOR = " ; "
FIELDS: dict[str, Any] = {
    "uri": {"type": "str", "required": True},
    "systems": {"type": "list", "elements": "str", "default": []},
    "ssh_key_file": {"type": "path", "no_log": False},
    "max_jobs": {"type": "int", "default": 1},
    "speed_factor": {"type": "float", "default": 1.0},
    "supported_features": {"type": "list", "elements": "str", "default": []},
    "mandatory_features": {"type": "list", "elements": "str", "default": []},
    "host_public_key": {"type": "str", "no_log": False},
}


def builder_settings(builders: Sequence[object] | None, max_jobs: int | None) -> dict[str, str]:
    """Return settings of nix.conf for the options ``builders`` and ``max_jobs``; None leaves a setting unchanged.

    Raises ``NixferryError`` for values that Nix would misread, or wait for forever.
    """
    settings: dict[str, str] = {}
    if builders is not None:
        settings["builders"] = SEPARATOR.join(map(_entry, builders))
    if max_jobs is not None:
        if max_jobs < 0:
            raise NixferryError(
                "`max_jobs` must not be negative", step=STEP, remedy="With 0 only other machines build."
            )
        settings["max-jobs"] = str(max_jobs)
    return settings


def _entry(builder: object) -> str:
    line = str(_line_of(builder) if isinstance(builder, Mapping) else builder).strip()
    if not line.startswith("@"):
        found = entries(line)
        if len(found) != 1 or found[0].text != line:
            raise NixferryError(
                f"the builder {line!r} is not one entry",
                step=STEP,
                remedy="Give each builder as an item of its own, without comments.",
            )
    # Any version of Nix may run here: refuse what any of them would misread.
    wrong = hazards(line, (2, 8))
    if wrong:
        raise NixferryError(
            f"Nix would not use the builder: {wrong[0].partition(': ')[2]}",
            step=STEP,
            remedy="Correct it in `builders`.",
        )
    return line


def _line_of(given: Mapping[object, object]) -> str:
    builder = checked_options(FIELDS, given, where="a builder in `builders`", step=STEP)
    mandatory = tuple(builder["mandatory_features"] or ())
    machine = Machine(
        uri=str(builder["uri"]),
        systems=tuple(builder["systems"] or ()),
        ssh_key=builder["ssh_key_file"] or "",
        max_jobs=builder["max_jobs"],
        speed_factor=builder["speed_factor"],
        # As in an entry: a builder supports its mandatory features.
        supported_features=tuple(dict.fromkeys([*(builder["supported_features"] or ()), *mandatory])),
        mandatory_features=mandatory,
        host_key=" ".join((builder["host_public_key"] or "").split()[:2]),
    )
    try:
        if parse(machine.line()) != machine:
            raise MachinesError("a field contains white space, a comma, ';' or '#'")
    except MachinesError as error:
        raise NixferryError(
            f"the builder {machine.uri} cannot be written down for Nix: {error}",
            step=STEP,
            remedy="Correct it in `builders`.",
        ) from error
    return machine.line()
