# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Locate the description of a fleet: files of NixOps, morph, nixus and colmena, or an output of a flake.

The Nix code in ``nix/fleet`` interprets the formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    Attribute,
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal, nix_string

from .adapter import (
    adapter_options,
    adapter_text,
)
from .outputs import STEP, first_output

AUTO = "auto"
# A flake's outputs that describe hosts, with their formats. The first existing one is used.
OUTPUTS = {
    "colmenaHive": "colmena",
    "colmena": "colmena",
    "deploy": "deploy-rs",
    "nixopsConfigurations": "nixops",
    "nixosConfigurations": "nixos",
    "darwinConfigurations": "darwin",
    "homeConfigurations": "home-manager",
}
NO_ACCESS = "{ }"

SEARCH_PATH_ENTRY = re.compile(r"<[^<>]+>")


@dataclass(frozen=True)
class FileFleet:
    """Fleet files: absolute paths, or entries of the search path.

    ``arguments`` is the Nix literal of the arguments of functions in them, ``access`` that of ``access_literal``.
    """

    files: tuple[str, ...]
    format: str
    arguments: str = "{ }"
    access: str = NO_ACCESS
    include: tuple[str, ...] = ()

    def attribute(self, host: str) -> Attribute:
        """Return the attribute of the system of ``host``."""
        root = ExpressionRoot(f"({self._fleet()}).hosts", "{ }", self.include, anywhere=True)
        return Attribute(root, (host, "toplevel"))

    def same_systems(self, _host: str) -> tuple[Attribute, ...]:
        """Return nothing: a file defines a host's system in one place."""
        return ()

    def list_request(self, hosts: Sequence[str] | None) -> NixRequest:
        """Return the request for the data of ``hosts``, without their systems; None: of all hosts."""
        return ExpressionRoot(f"({self._fleet()}).list {_names(hosts)}", include=self.include).value_request()

    def secrets_request(self, host: str) -> NixRequest:
        """Return the request for the secrets of ``host``. Never show Nix's output of it: it may contain secrets."""
        return ExpressionRoot(f"({self._fleet()}){_secrets_of(host)}", include=self.include).value_request()

    def settled(self, _nix: Nix) -> FileFleet:
        """Return itself: the evaluation detects the format."""
        return self

    @property
    def words(self) -> list[str]:
        """Return words that name this fleet from any directory."""
        return list(self.files)

    def _fleet(self) -> str:
        files = " ".join(
            file if SEARCH_PATH_ENTRY.fullmatch(file) else f"(/. + {nix_string(file, where='the file name')})"
            for file in self.files
        )
        return f"{adapter_text()} {{ files = [ {files} ]; {self._options()} }}"

    def _options(self) -> str:
        return adapter_options(None if self.format == AUTO else self.format, self.arguments, self.access)


@dataclass(frozen=True)
class FlakeFleet:
    """An output of a flake; without ``output``, the one that describes hosts must be detected.

    ``arguments`` and ``access`` are as in ``FileFleet``.
    """

    reference: str
    output: str
    format: str
    arguments: str = "{ }"
    access: str = NO_ACCESS
    override_inputs: tuple[tuple[str, str], ...] = ()
    impure: bool = False
    write_lock_file: bool = True

    def attribute(self, host: str) -> Attribute:
        """Return the attribute of the system of ``host``."""
        return Attribute(self._configurations()._root(".hosts"), (host, "toplevel"))

    def same_systems(self, host: str) -> tuple[Attribute, ...]:
        """Return attributes that must be the same system before ``attribute`` may be built.

        The profile of a node of deploy-rs activates the first. Access is added to the second, which has the node's name
        and may be another one.
        """
        configurations = self._configurations()
        if configurations == self:
            return ()
        plain = (replace(fleet, access=NO_ACCESS) for fleet in (self, configurations))
        return tuple(fleet.attribute(host) for fleet in plain)

    def list_request(self, hosts: Sequence[str] | None) -> NixRequest:
        """Return the request for the data of ``hosts``, without their systems; None: of all hosts."""
        return self._root(f".list {_names(hosts)}").value_request()

    def secrets_request(self, host: str) -> NixRequest:
        """Return the request for the secrets of ``host``. Never show Nix's output of it: it may contain secrets."""
        return self._root(_secrets_of(host)).value_request()

    def settled(self, nix: Nix) -> FlakeFleet:
        """Return the fleet with known output and format. Raises ``NixferryError`` if no output describes hosts."""
        if self.output:
            return self
        wanted = [output for output, format_ in OUTPUTS.items() if self.format in (AUTO, format_)]
        found, outputs = first_output(nix, self._root(""), wanted)
        if found:
            return replace(self, output=found, format=OUTPUTS[found])
        raise NixferryError(
            f"the flake {self.reference} has no output that describes hosts"
            + (f" in the format {self.format}" if self.format != AUTO else "")
            + ("" if outputs is None else f"; it has {', '.join(outputs) or 'none at all'}"),
            step=STEP,
            remedy=f"One of {', '.join(OUTPUTS)} is needed.",
        )

    def lock_request(self) -> NixRequest:
        """Return the request that fetches the flake and says what it is made of."""
        return self._root("").lock_request()

    @property
    def words(self) -> list[str]:
        """Return words that name this fleet from any directory."""
        return [f"{self.reference}#{self.output}"]

    def _configurations(self) -> FlakeFleet:
        """Return the fleet that has the systems as configurations, to add something to them."""
        if self.format != "deploy-rs" or self.access == NO_ACCESS:
            return self
        return replace(self, output="nixosConfigurations", format="nixos")

    def _root(self, selection: str) -> FlakeRoot:
        options = adapter_options(self.format, self.arguments, self.access)
        adapter = f"value: ({adapter_text()} {{ inherit value; {options} }}){selection}"
        return FlakeRoot(
            self.reference, self.output, self.override_inputs, self.impure, self.write_lock_file, adapter
        )


Fleet = FileFleet | FlakeFleet


def _names(hosts: Sequence[str] | None) -> str:
    return "null" if hosts is None else nix_literal(list(hosts))


def _secrets_of(host: str) -> str:
    return f".hosts.{nix_string(host)}.secrets"
