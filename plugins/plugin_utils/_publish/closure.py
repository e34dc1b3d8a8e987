# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Check through a cache's public address that hosts will get whole closures from it.

A cache can lack one path of a thousand, have a description whose content is gone, keep an old signature, or sit behind
a proxy that still says "absent". A host that is told to run such a closure fails. So every path is asked for, from the
place and in the way that hosts ask, without Nix's own memory of earlier answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import (
    NARINFO_BYTES,
    NarInfo,
    NotANarInfo,
    parse_narinfo,
)

from .upload import Files, narinfo_name
from .web import FORBIDDEN, Answer

# Requests at a time: as many as Nix has by default (http-connections).
PARALLEL = 25
# Of the paths that are wrong, how many are looked for before the walk ends.
FAULTS_KEPT = 20
TICK_SECONDS = 0.5


class Fault(StrEnum):
    """What is wrong with a path in a cache."""

    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    NOT_A_NARINFO = "not a description of a store path"
    OTHER_PATH = "described as another path"
    UNSIGNED = "not signed by a trusted key"
    NO_CONTENT = "described, but its content is absent"
    TRUNCATED = "its content has another size than described"
    STALE = "there, but a proxy gives an old answer"


@dataclass(frozen=True)
class Wrong:
    """A path that a host would not get, and why; ``told`` is the answer of the server or other detail."""

    path: str
    fault: Fault
    told: str = ""


@dataclass(frozen=True)
class Checked:
    """The closures that a cache has: the descriptions by store path, and what is wrong. Sizes are in bytes."""

    found: dict[str, NarInfo]
    wrong: tuple[Wrong, ...]

    @property
    def download_size(self) -> int:
        """Return the bytes that a host without any of the paths fetches, as far as the cache gives sizes."""
        return sum(info.file_size or 0 for info in self.found.values())


def check_closures(
    web: Files,
    roots: Iterable[str],
    *,
    keys: Sequence[str],
    contents: bool = True,
    on_tick: Callable[[], None] = lambda: None,
) -> Checked:
    """Follow the references of ``roots`` through the cache, and check every path on the way.

    ``keys`` are public keys, of which one must have signed each path; without any, signatures are not looked at.
    ``contents`` False asks for the descriptions only. ``on_tick`` is called at least twice a second. The walk
    ends early after some twenty faults.
    """
    found: dict[str, NarInfo] = {}
    wrong: list[Wrong] = []
    seen = dict.fromkeys(roots)
    with ThreadPoolExecutor(PARALLEL) as threads:
        waiting = {threads.submit(check_path, web, path, keys, contents) for path in seen}
        while waiting:
            done, waiting = wait(waiting, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            on_tick()
            new: set[Future[NarInfo | Wrong]] = set()
            for each in done:
                result = each.result()
                if isinstance(result, Wrong):
                    wrong.append(result)
                    continue
                found[result.path] = result
                unseen = [path for path in result.references if path not in seen]
                seen.update(dict.fromkeys(unseen))
                if len(wrong) < FAULTS_KEPT:
                    new.update(threads.submit(check_path, web, path, keys, contents) for path in unseen)
            if len(wrong) >= FAULTS_KEPT:
                for future in waiting:
                    future.cancel()
                waiting = {future for future in waiting if not future.cancelled()}
            waiting |= new
    return Checked(found, tuple(sorted(wrong, key=lambda each: each.path)))


def blame_proxy(wrong: Wrong, origin: Files, keys: Sequence[str], contents: bool) -> Wrong:
    """Return what is wrong with a path: a proxy is to blame if ``origin``, the cache behind it, has the path."""
    if wrong.fault not in (Fault.ABSENT, Fault.NO_CONTENT, Fault.UNSIGNED):
        return wrong
    if isinstance(check_path(origin, wrong.path, keys, contents), Wrong):
        return wrong
    return Wrong(wrong.path, Fault.STALE, f"{origin.address} has it, the proxy says: {wrong.fault}")


def check_path(web: Files, path: str, keys: Sequence[str], contents: bool) -> NarInfo | Wrong:
    """Check one path without its references; see ``check_closures``."""
    answer = web.get(narinfo_name(path), limit=NARINFO_BYTES)
    if not answer.found:
        return Wrong(path, _fault(answer, Fault.ABSENT), answer.told())
    try:
        info = parse_narinfo(answer.body.decode("utf-8", errors="replace"))
    except NotANarInfo as error:
        return Wrong(path, Fault.NOT_A_NARINFO, str(error))
    if info.path != path:
        return Wrong(path, Fault.OTHER_PATH, info.path)
    if keys and info.signed_by(keys) is None:
        names = ", ".join(signature.partition(":")[0][:100] for signature in info.signatures[:5])
        return Wrong(path, Fault.UNSIGNED, f"signatures: {names}" if names else "no signature at all")
    if contents:
        content = web.head(info.url)
        if not content.found:
            return Wrong(path, _fault(content, Fault.NO_CONTENT), content.told())
        if info.file_size is not None and content.size is not None and content.size != info.file_size:
            return Wrong(path, Fault.TRUNCATED, f"{content.size} bytes instead of {info.file_size}")
    return info


def _fault(answer: Answer, absent: Fault) -> Fault:
    if answer.absent:
        return absent
    return Fault.FORBIDDEN if answer.status in FORBIDDEN else Fault.UNREACHABLE
