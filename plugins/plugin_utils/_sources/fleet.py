# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Locate the description of a fleet: files of NixOps, morph, nixus and colmena, or an output of a flake.

The Nix code in ``nix/fleet`` interprets the formats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from .local import local_reference
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
_FLAKES_ONLY = ("darwin", "home-manager")
NO_ACCESS = "{ }"
FORMATS = ("nixops", "morph", "nixus", "colmena", "deploy-rs", "nixos", "darwin", "home-manager")
# Files to look for in a directory without flake.nix.
USUAL_FILES = ("default.nix", "hive.nix", "nixops.nix", "network.nix", "deploy.nix")

_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_SEARCH_PATH_ENTRY = re.compile(r"<[^<>]+>")


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
            file
            if _SEARCH_PATH_ENTRY.fullmatch(file)
            else f"(/. + {nix_string(file, where='the file name')})"
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


def fleet_words(given: object) -> tuple[str, ...]:
    """Return the option ``fleet``, a string or a list of them. Raises ``NixferryError`` for anything else."""
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise NixferryError("`fleet` is neither a string nor a list of strings", step=STEP)
    return tuple(map(str, filter(None, words)))


def fleet_from(
    words: Sequence[str],
    *,
    directory: str,
    format_: str = AUTO,
    arguments: str = "{ }",
    access: str = NO_ACCESS,
    include: Sequence[str] = (),
    override_inputs: Mapping[str, str] | None = None,
    impure: bool = False,
    write_lock_file: bool = True,
) -> Fleet:
    """Return the fleet that ``words`` name; relative paths are relative to ``directory``.

    A word with ``#`` or a scheme, and a directory with a flake.nix, is a flake. Raises ``NixferryError`` if a file does
    not exist or words contradict each other.
    """
    if format_ not in (AUTO, *FORMATS):
        raise NixferryError(
            f"unknown fleet format {format_!r}",
            step=STEP,
            remedy=f"Give one of {', '.join(FORMATS)}.",
        )
    flakes = [word for word in words if _is_flake(word, directory)]
    _refuse_useless(bool(flakes), bool(include), bool(override_inputs) or impure)
    if not flakes:
        if format_ in _FLAKES_ONLY:
            raise NixferryError(
                f"the format {format_} is that of a flake's output, and this is a file",
                step=STEP,
                remedy="Name the flake.",
            )
        files = tuple(_file(word, directory) for word in words)
        return FileFleet(files, format_, arguments, access, tuple(include))
    if len(words) > 1:
        raise NixferryError(
            f"{flakes[0]} is a flake, and goes with no other file", step=STEP, remedy="Give the flake alone."
        )
    reference, _hash, output = flakes[0].partition("#")
    output = output.strip('"').removesuffix(".nodes")
    if output and output not in OUTPUTS and format_ == AUTO:
        raise NixferryError(
            f"the format of the output {output} of the flake {reference} is not known",
            step=STEP,
            remedy=f"Name one of {', '.join(OUTPUTS)} after `#`, or set its format.",
        )
    return FlakeFleet(
        reference if _URL.match(reference) else local_reference(reference or ".", directory),
        output,
        OUTPUTS.get(output, format_) if format_ == AUTO else format_,
        arguments,
        access,
        tuple((override_inputs or {}).items()),
        impure,
        write_lock_file,
    )


def _refuse_useless(flake: bool, include: bool, of_flakes: bool) -> None:
    """Refuse an option that has no effect."""
    if flake and include:
        raise NixferryError("`include` goes with fleet files, not with a flake", step=STEP)
    if of_flakes and not flake:
        raise NixferryError("`override_inputs` and `impure` go with a flake, not with fleet files", step=STEP)


def _names(hosts: Sequence[str] | None) -> str:
    return "null" if hosts is None else nix_literal(list(hosts))


def _secrets_of(host: str) -> str:
    return f".hosts.{nix_string(host)}.secrets"


def _is_flake(word: str, directory: str) -> bool:
    if "#" in word or (_URL.match(word) and not _SEARCH_PATH_ENTRY.fullmatch(word)):
        return True
    path = Path(directory, Path(word).expanduser())
    return path.name == "flake.nix" or (path / "flake.nix").exists()


def _file(word: str, directory: str) -> str:
    if _SEARCH_PATH_ENTRY.fullmatch(word):
        return word
    path = Path(directory, Path(word).expanduser())
    if path.is_dir():
        found = next((path / name for name in USUAL_FILES if (path / name).exists()), None)
        if found is None:
            raise NixferryError(
                f"{path} has neither a flake.nix nor a fleet file",
                step=STEP,
                remedy=f"Name the file; the usual names are {', '.join(USUAL_FILES)}.",
            )
        path = found
    if not path.exists():
        raise NixferryError(
            f"the file {path} does not exist",
            step=STEP,
            remedy="Relative paths are relative to the directory of the file that names the fleet.",
        )
    return os.path.normpath(path)
