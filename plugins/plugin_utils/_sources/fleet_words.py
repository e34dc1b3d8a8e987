# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The fleet that a user's words name: files, a directory, or a flake."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .fleet import AUTO, NO_ACCESS, OUTPUTS, SEARCH_PATH_ENTRY, FileFleet, FlakeFleet, Fleet
from .local import local_reference
from .outputs import STEP

_FLAKES_ONLY = ("darwin", "home-manager")
FORMATS = ("nixops", "morph", "nixus", "colmena", "deploy-rs", "nixos", "darwin", "home-manager")
# Files to look for in a directory without flake.nix.
USUAL_FILES = ("default.nix", "hive.nix", "nixops.nix", "network.nix", "deploy.nix")
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


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


def _is_flake(word: str, directory: str) -> bool:
    if "#" in word or (_URL.match(word) and not SEARCH_PATH_ENTRY.fullmatch(word)):
        return True
    path = Path(directory, Path(word).expanduser())
    return path.name == "flake.nix" or (path / "flake.nix").exists()


def _file(word: str, directory: str) -> str:
    if SEARCH_PATH_ENTRY.fullmatch(word):
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
