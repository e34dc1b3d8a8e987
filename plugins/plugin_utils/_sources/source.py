# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The source of one host; each host of a task may have its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import checked_options
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.vault import refuse_vaulted
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import (
    Revision,
    file_revision,
    flake_revision,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    PLACEHOLDER,
    Attribute,
    arguments_literal,
    expression_attribute,
    file_attribute,
    flake_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal

from .access import access_literal
from .fleet import AUTO, FlakeFleet, Fleet
from .fleet_words import FORMATS, fleet_from, fleet_words

STEP = Step.READ_OPTIONS
SOURCES = ("flake", "file", "expr", "fleet", "drv_path", "store_path")

SOURCE_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"type": "str"} for name in SOURCES},
    "ssh_access": {"type": "dict", "default": {}},
    # A file, or a list of them.
    "fleet": {"type": "raw"},
    "fleet_format": {"type": "str", "choices": [AUTO, *FORMATS]},
    "attr": {"type": "str", "default": ""},
    "args": {"type": "dict", "default": {}},
    "argstrs": {"type": "dict", "default": {}},
    "specialargs": {"type": "dict", "default": {}},
    "override_inputs": {"type": "dict", "default": {}},
    "impure": {"type": "bool", "default": False},
    "include": {"type": "list", "elements": "str", "default": []},
}
# Options of some sources only: an option without effect is refused.
_NO_SECRETS = "Leave it out: deploy secrets by other means than the system."
_NEEDS = {
    "attr": ("file", "expr"),
    "args": ("file", "expr", "fleet"),
    "argstrs": ("file", "expr", "fleet"),
    "specialargs": ("flake", "file", "expr"),
    "include": ("file", "expr", "fleet"),
    "ssh_access": ("fleet",),
    "override_inputs": ("flake", "fleet"),
    "impure": ("flake", "fleet"),
}


@dataclass(frozen=True)
class Source:
    """Exactly one of ``flake``, ``file``, ``expr``, ``fleet``, ``drv_path`` and ``store_path`` is not empty."""

    flake: str
    file: str
    expr: str
    fleet: tuple[str, ...]
    fleet_format: str
    drv_path: str
    store_path: str
    attr: str
    arguments: str
    """Nix literal of the arguments of functions in ``file``, ``expr`` or ``fleet``."""
    access: str
    """Nix literal of the SSH access between the hosts of ``fleet``."""
    override_inputs: tuple[tuple[str, str], ...]
    impure: bool
    include: tuple[str, ...]
    """Entries of the search path."""
    special_args: str = ""
    """Nix literal of further arguments for the modules of a system; empty for none."""

    def revision(self, host: str, directory: str) -> Revision:
        """Return the revision of the source's checkout; relative paths are relative to ``directory``."""
        if self.flake:
            reference = self.flake.partition("#")[0].replace(PLACEHOLDER, host)
            return flake_revision(reference, directory)
        if self.fleet:
            fleet = self.fleet_in(directory)
            if isinstance(fleet, FlakeFleet):
                return flake_revision(fleet.reference, directory)
            return file_revision(fleet.files[0], directory)
        return file_revision(self.file, directory) if self.file else Revision()

    def fleet_in(self, directory: str, *, write_lock_file: bool = True) -> Fleet:
        """Return the fleet; relative paths are relative to ``directory``. Raises ``NixferryError`` if there is none."""
        return fleet_from(
            self.fleet,
            directory=directory,
            format_=self.fleet_format,
            arguments=self.arguments,
            access=self.access,
            include=self.include,
            override_inputs=dict(self.override_inputs),
            impure=self.impure,
            write_lock_file=write_lock_file,
        )

    def attribute(self, host: str, *, kind: Kind, directory: str, write_lock_file: bool) -> Attribute:
        """Return the attribute of ``host``, unless it is in a fleet. ``directory`` is the base of relative paths.

        Raises ``NixferryError`` if the source is invalid.
        """
        found = self._attribute(host, kind=kind, directory=directory, write_lock_file=write_lock_file)
        return replace(found, special_args=self.special_args)

    def _attribute(self, host: str, *, kind: Kind, directory: str, write_lock_file: bool) -> Attribute:
        if self.flake:
            return flake_attribute(
                self.flake,
                host,
                kind=kind,
                override_inputs=dict(self.override_inputs),
                impure=self.impure,
                write_lock_file=write_lock_file,
            )
        if self.file:
            return file_attribute(
                self.file,
                self.attr,
                host,
                directory=directory,
                arguments=self.arguments,
                include=self.include,
            )
        return expression_attribute(
            self.expr, self.attr, host, arguments=self.arguments, include=self.include
        )


def source_from(arguments: Mapping[str, Any], choices: tuple[str, ...] = SOURCES) -> Source:
    """Return the source in validated arguments. Raises ``NixferryError`` if they contradict each other."""
    given = [name for name in choices if arguments[name]]
    if len(given) != 1:
        raise NixferryError(
            f"{' and '.join(given)} exclude each other"
            if given
            else f"one of {', '.join(choices)} is required, and none of them may be empty",
            step=STEP,
            remedy="Give exactly one of them.",
        )
    for name, sources in _NEEDS.items():
        if arguments.get(name) and given[0] not in sources:
            raise NixferryError(f"`{name}` goes with {' or '.join(sources)}, not with {given[0]}", step=STEP)
    for name in ("args", "argstrs", "specialargs"):
        refuse_vaulted(arguments.get(name), where=f"`{name}`", step=STEP, remedy=_NO_SECRETS)
    special = arguments.get("specialargs")
    return Source(
        **{name: str(arguments.get(name) or "") for name in (*SOURCES, "attr") if name != "fleet"},
        fleet=fleet_words(arguments.get("fleet") or ()),
        fleet_format=str(arguments.get("fleet_format") or AUTO),
        arguments=arguments_literal(arguments["args"], arguments["argstrs"]),
        access=access_literal(arguments.get("ssh_access") or {}),
        override_inputs=tuple(
            (str(name), str(value)) for name, value in arguments["override_inputs"].items()
        ),
        impure=bool(arguments["impure"]),
        include=tuple(map(str, arguments["include"])),
        special_args=nix_literal(special, where="specialargs") if special else "",
    )


def sources_from(arguments: Mapping[str, Any], hosts: tuple[str, ...]) -> dict[str, Source | NixferryError]:
    """Return the source of each host: its own entry in ``sources``, completed by the task's own options.

    A host's own flake, file, expression, fleet, derivation or store path replaces the task's, along with the options
    that belong to it. An invalid entry is that host's error; ``NixferryError`` is raised if the task's own options
    are invalid.
    """
    common = {name: arguments[name] for name in SOURCE_OPTIONS}
    own = arguments["sources"] or {}
    if not own:
        return dict.fromkeys(hosts, source_from(common))
    sources: dict[str, Source | NixferryError] = {}
    for host in hosts:
        try:
            sources[host] = source_from(_completed(own.get(host) or {}, common))
        except NixferryError as error:
            sources[host] = error
    return sources


def _completed(given: object, common: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise NixferryError("the host's entry in `sources` is not a dictionary", step=STEP)
    checked = checked_options(SOURCE_OPTIONS, given, where="`sources`", step=STEP)
    if any(checked[name] for name in SOURCES):
        return checked
    return {**common, **{name: value for name, value in checked.items() if value}}
