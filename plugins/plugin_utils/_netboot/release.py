# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make a release in a directory of the controller: all that a machine fetches to boot a system, and its checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
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
    """Make the release of ``system`` below ``work``. One of the same content takes the place of what is there.

    Raises ``NixferryError``; nothing is left behind then.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=work))
    except OSError as error:
        raise _unwritable(work, error) from None
    try:
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
        name = release_id(sums)
        for file in made.iterdir():
            file.chmod(0o644)
        made.chmod(0o755)
        if (work / name).exists():
            shutil.rmtree(work / name)
        made.rename(work / name)
    except OSError as error:
        raise _unwritable(work, error) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Release(name, work / name, sum(sizes.values()))


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
