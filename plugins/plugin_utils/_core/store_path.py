# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Parse store paths, and the packages and versions in their names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import NixferryError, Step

STORE_DIRECTORY = "/nix/store"

# Nix's base-32 leaves out e, o, u and t; names may hold these characters only and are at most 211 long
# (src/libstore/path.cc and src/libutil/hash.cc of Nix).
_STORE_PATH = re.compile(
    r"(?P<path>/nix/store/(?P<hash>[0-9abcdfghijklmnpqrsvwxyz]{32})-(?P<name>[0-9a-zA-Z+\-._?=]{1,211}))"
)


@dataclass(frozen=True, order=True)
class StorePath:
    """A store path without anything below it."""

    path: str
    hash: str
    name: str

    def __str__(self) -> str:
        return self.path

    @property
    def package(self) -> tuple[str, str]:
        """Split the name like Nix: the version begins at the first dash that is not followed by a letter.

        Source: ``DrvName`` in src/libstore/names.cc of Nix.
        """
        for position, character in enumerate(self.name):
            following = self.name[position + 1 : position + 2]
            if character == "-" and following and not following.isalpha():
                return self.name[:position], self.name[position + 1 :]
        return self.name, ""


def is_store_path(text: str) -> bool:
    """Return True if ``text`` is exactly a store path, with nothing below it."""
    return _STORE_PATH.fullmatch(text) is not None


def parse_store_path(text: str, *, step: Step = Step.READ_STORE_PATH) -> StorePath:
    """Parse ``text``; a trailing slash is forgiven.

    Raises ``NixferryError`` when it is not a store path.
    """
    match = _STORE_PATH.fullmatch(text.rstrip("/"))
    if match is None:
        raise NixferryError(
            f"{text!r} is not a store path",
            step=step,
            remedy=f"Give a path such as {STORE_DIRECTORY}/<32 characters>-<name>, with nothing below it.",
        )
    return StorePath(path=match["path"], hash=match["hash"], name=match["name"])


def built_file(file: Path, output: Path, *, step: Step) -> Path:
    """Return ``file``, which is the store path ``output`` or below it, if its links lead nowhere but to the store.

    A build may have made a link to anything, such as a key of the user who runs Ansible: what is read here is shown,
    sent or published. Raises ``NixferryError``.
    """
    store = os.path.realpath(output.parent)
    found = os.path.realpath(file)
    if os.path.commonpath([store, found]) != store:
        raise NixferryError(
            f"{file} is a link that leads out of the Nix store, to {found}",
            step=step,
            remedy="Find out who has written what was built. Nothing was read.",
        )
    return file
