# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Look for declared secrets in a system that others will read: in an image, or in what a web server gives to machines.

A content is found as it is, anywhere in a file. What is compressed or encoded in the closure is not found.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

from .contents import read_contents
from .fleet import FLEET_OPTIONS, fleet_of, read_fleet_secrets
from .task import ALL, secrets_task

PUBLISHED_OPTIONS: dict[str, Any] = {"secrets": {"type": "dict", "no_log": True}, **FLEET_OPTIONS}

# A shorter content is in many programs by chance: it is found only where it is all of a file.
SHORTEST_PART = 8


def refuse_secrets(
    options: Mapping[str, Any],
    host: str,
    places: Iterable[Path],
    *,
    root: Path,
    directory: str,
    read_file: Callable[[str], bytes],
    step: Step,
) -> None:
    """Raise ``NixferryError`` if ``places`` have one of the secrets that ``options`` declare for ``host``."""
    fleet = fleet_of(options, directory)
    if not options["secrets"] and fleet is None:
        return
    task = secrets_task(
        {**options, "phase": ALL, "stage": False, "exclusive": False},
        read_fleet_secrets(fleet, host, directory=directory) if fleet else None,
        check_mode=False,
        diff_mode=False,
    )
    contents = read_contents(task.secrets, read_file, directory=directory)
    refuse_contents(places, contents, root=root, step=step)


def refuse_contents(places: Iterable[Path], contents: Mapping[str, bytes], *, root: Path, step: Step) -> None:
    """Raise ``NixferryError`` if a file of ``places``, below ``root``, has one of ``contents``, by names of secrets.

    The error names the secret and the file, and never quotes a content.
    """
    # An editor adds the newline at the end; a configuration may have the text without it.
    wanted = {name: content.strip() for name, content in contents.items() if content.strip()}
    if not wanted:
        return
    for file in (file for place in places for file in _files(place)):
        for name in _found(file, wanted):
            raise NixferryError(
                f"the secret {name} is in the system: /{file.relative_to(root)}",
                step=step,
                remedy="Remove it from the configuration, and replace the secret: it was in the Nix store, which every "
                "user can read. Nothing was made.",
            )


def _found(file: Path, wanted: Mapping[str, bytes]) -> Iterator[str]:
    size = file.stat().st_size
    # Linux does not map an empty file.
    if not size:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name, secret in wanted.items():
            if len(secret) > size:
                continue
            if len(secret) >= SHORTEST_PART:
                if content.find(secret) >= 0:
                    yield name
            elif size <= len(secret) + 2 and content[:].strip() == secret:
                yield name


def _files(tree: Path) -> Iterator[Path]:
    if tree.is_symlink():
        return
    if tree.is_file():
        yield tree
    for directory, _names, files in os.walk(tree):
        for name in sorted(files):
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                yield file
