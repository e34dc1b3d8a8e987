# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Collect garbage in a binary cache that is a directory: what no pointer, present or kept, needs any more.

Nix has no such command. The order is the opposite of a copy: descriptions go first, so that a client never finds a
description whose content is gone. Two paths with the same content share one file, so contents are counted by what still
refers to them.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    is_store_path,
    parse_store_path,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import POINTER_BYTES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import (
    NARINFO_BYTES,
    NarInfo,
    NotANarInfo,
    parse_narinfo,
)

STEP = Step.COLLECT_GARBAGE
_TOPLEVEL = re.compile(r"^toplevel (\S+)$", re.M)


@dataclass(frozen=True)
class Garbage:
    """What no root needs and is older than the grace time: descriptions and contents, as files. Sizes are in bytes."""

    descriptions: dict[str, Path]
    """By store path."""
    contents: tuple[Path, ...]
    size: int
    kept_paths: int
    kept_size: int


def pointed_to(directory: Path) -> set[str]:
    """Return the store paths that the pointers below a place name, present and kept ones of all channels.

    Signatures are not looked at: a foreign pointer only keeps more. Raises ``NixferryError`` for a file among them that
    names no store path, since what it stands for would be collected.
    """
    found = set()
    for pattern in ("*/hosts/*", "*/history/*/*"):
        for file in directory.glob(pattern):
            # The names of files that are being written begin with a dot.
            if file.name.startswith(".") or not file.is_file():
                continue
            try:
                with file.open("rb") as opened:
                    text = opened.read(POINTER_BYTES).decode("utf-8", errors="replace")
            except OSError as error:
                raise _cannot("read", file, error) from None
            named = _TOPLEVEL.search(text)
            if named is None or not is_store_path(named[1]):
                raise NixferryError(
                    f"{file} names no store path, so what it points to would be collected",
                    step=STEP,
                    remedy="Publish for this host again, or remove the file if there is no such host any more.",
                )
            found.add(named[1])
    return found


def find_garbage(cache: Path, roots: Iterable[str], *, grace: float, ignore_missing: bool) -> Garbage:
    """Return what can go from the directory of a binary cache. ``grace`` is in seconds.

    Raises ``NixferryError`` if a root, or what it needs, is not in the cache: then either the cache is broken or it is
    the wrong one. With ``ignore_missing`` that is left out.
    """
    infos = dict(_descriptions(cache))
    needed = _closure(infos, roots, ignore_missing)
    before = time.time() - grace
    garbage = {
        path: file for path, (info, file) in infos.items() if path not in needed and _older(file, before)
    }
    # What a kept description says, and what is young, stays.
    used = {
        cache / info.url.partition("?")[0] for path, (info, _file) in infos.items() if path not in garbage
    }
    contents = tuple(
        sorted(file for file in cache.glob("nar/*") if file not in used and _older(file, before))
    )
    return Garbage(
        descriptions=garbage,
        contents=contents,
        size=sum(map(_size, (*garbage.values(), *contents))),
        kept_paths=len(infos) - len(garbage),
        kept_size=sum(map(_size, used)),
    )


def _descriptions(cache: Path) -> Iterator[tuple[str, tuple[NarInfo, Path]]]:
    if not (cache / "nix-cache-info").is_file():
        raise NixferryError(
            f"{cache} is not the directory of a binary cache: it has no nix-cache-info",
            step=STEP,
            remedy="Name the directory that `nix copy --to file://` has made.",
        )
    for file in cache.glob("*.narinfo"):
        try:
            with file.open("rb") as opened:
                info = parse_narinfo(opened.read(NARINFO_BYTES).decode("utf-8", errors="replace"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _cannot("read", file, error) from None
        except NotANarInfo as error:
            raise NixferryError(
                f"{file} is not the description of a store path: {error}",
                step=STEP,
                remedy="Remove it. The next publish that needs the path writes it again.",
            ) from None
        yield info.path, (info, file)


def _closure(infos: dict[str, tuple[NarInfo, Path]], roots: Iterable[str], ignore_missing: bool) -> set[str]:
    seen: set[str] = set()
    waiting = [parse_store_path(path, step=STEP).path for path in roots]
    missing = []
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path in infos:
            waiting += infos[path][0].references
        else:
            missing.append(path)
    if missing and not ignore_missing:
        raise NixferryError(
            f"the cache lacks {len(missing)} of the paths that must be kept, such as {min(missing)}",
            step=STEP,
            remedy="Look whether this is the cache of these pointers, and publish again. If these systems are not "
            "needed any more, set `ignore_missing`.",
            output=sorted(missing),
        )
    return seen


def remove(garbage: Garbage) -> None:
    """Remove the descriptions, and then the contents. Raises ``NixferryError`` for a file that cannot be removed."""
    for file in (*garbage.descriptions.values(), *garbage.contents):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot("removed", file, error) from None
        if file.suffix == ".narinfo":
            # The listing of the content, which `write-nar-listing` makes.
            with contextlib.suppress(OSError):
                file.with_suffix(".ls").unlink(missing_ok=True)


def _older(file: Path, moment: float) -> bool:
    try:
        return file.stat().st_mtime < moment
    except OSError:
        return False


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _cannot(what: str, file: Path, error: OSError) -> NixferryError:
    return NixferryError(
        f"{file} cannot be {what}: {error.strerror}",
        step=STEP,
        remedy="Run this as the user who owns the cache.",
    )
