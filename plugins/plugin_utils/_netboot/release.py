# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make a release in a directory of the controller: all that a machine fetches to boot a system, and its checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.script import release_script
from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.tree import (
    MANIFEST,
    PARTS,
    SUMS,
    release_id,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked, state_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

from .image import make_store
from .system import STEP, NetbootSystem, manifest

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Release:
    """A release in a directory of the controller that is named after it. ``size`` is in bytes."""

    name: str
    directory: Path
    size: int


def make_release(
    nix: Nix,
    system: NetbootSystem,
    work: Path,
    *,
    compression: str,
    timeout: float,
    on_line: Callable[[str], None] = lambda _line: None,
) -> Release:
    """Make the release of ``system`` below ``work``, or take the one that another host with this system has made there.

    Raises ``NixferryError``; nothing is left behind then.
    """
    key = system.key(compression)
    waiting = "waiting for another process that makes the same release"
    with locked(
        f"netboot {work} {key}", state_directory(), waiting=lambda: on_line(waiting), timeout=timeout
    ):
        try:
            work.mkdir(parents=True, exist_ok=True)
            # Of runs that were killed
            for left in work.glob(f".making-{key}-*"):
                shutil.rmtree(left, ignore_errors=True)
            found = _made_before(work, key)
            if found is not None:
                return found
            made = Path(tempfile.mkdtemp(prefix=f".making-{key}-", dir=work))
        except OSError as error:
            raise _unwritable(work, error) from None
        try:
            return _make(nix, system, made, compression=compression, timeout=timeout, on_line=on_line)
        except OSError as error:
            raise _unwritable(work, error) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _make(
    nix: Nix,
    system: NetbootSystem,
    made: Path,
    *,
    compression: str,
    timeout: float,
    on_line: Callable[[str], None],
) -> Release:
    _copy(system.kernel, made / "kernel")
    _copy(system.initrd, made / "initrd")
    paths = make_store(
        nix, system.toplevel, made / "store", compression=compression, timeout=timeout, on_line=on_line
    )
    (made / "boot.ipxe").write_text(release_script(f"{system.toplevel}/init", system.parameters))
    sizes = {name: (made / name).stat().st_size for name in PARTS if name != MANIFEST}
    about = manifest(system, compression, paths, sizes)
    (made / MANIFEST).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    sums = "".join(f"{_sha256(made / name)}  {name}\n" for name in PARTS)
    (made / SUMS).write_text(sums)
    for file in made.iterdir():
        file.chmod(0o644)
    made.chmod(0o755)
    directory = made.with_name(release_id(sums))
    if directory.exists():
        shutil.rmtree(directory)
    made.rename(directory)
    return Release(directory.name, directory, sum(sizes.values()))


def _made_before(work: Path, key: str) -> Release | None:
    """Return the whole release with this key that this user has made in ``work``, None without one."""
    for directory in work.glob("[0-9a-f]*"):
        try:
            about_directory = directory.lstat()
            # Others may write to ``work``. What they have put there is not published.
            if about_directory.st_uid != os.geteuid() or about_directory.st_mode & 0o170022 != stat.S_IFDIR:
                continue
            about = json.loads((directory / MANIFEST).read_text())
            sums = (directory / SUMS).read_text()
            sizes = {name: (directory / name).stat().st_size for name in PARTS if name != MANIFEST}
        except (OSError, ValueError):
            continue
        if about["key"] == key and about["sizes"] == sizes and release_id(sums) == directory.name:
            return Release(directory.name, directory, sum(sizes.values()))
    return None


def _copy(source: Path, target: Path) -> None:
    # Not its mode: files of a store are read-only.
    shutil.copyfile(source, target)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        for chunk in iter(lambda: opened.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _unwritable(work: Path, error: OSError) -> NixferryError:
    return NixferryError(
        f"{error.filename or work} cannot be written: {error.strerror}",
        step=STEP,
        remedy="Name a directory of your own in `work` (netboot_work), with room for twice the packed system.",
    )
