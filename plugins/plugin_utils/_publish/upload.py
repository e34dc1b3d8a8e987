# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Bring descriptions and contents into a cache from a directory of this machine, where Nix itself cannot or must not.

It cannot where its build has no object stores or no logins to them, as Debian's, or no certificates, as before 2.34.
The directory first gets the descriptions that the cache has, so that Nix writes only what is missing there.

It must not sign what a cache says: ``nix store sign --store`` puts the signature under any description that the server
gives, and its answer to Nix need not be the one that was looked at before. So what is signed is compared with the store
of this machine, signed here, and sent.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import (
    NARINFO_BYTES,
    NarInfo,
    NotANarInfo,
    parse_narinfo,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    batches,
    closure_names,
    registered,
)

from .web import Answer, refusal

STEP = Step.PUBLISH
TIMEOUT_NAME = "the timeout of the copy to the cache"
INFO = "nix-cache-info"
# Descriptions are small and their number is large; contents are large.
ASKED_AT_ONCE = 25
SENT_AT_ONCE = 8
TICK_SECONDS = 0.5
_Done = TypeVar("_Done")


class Files(Protocol):
    """The files of a cache."""

    @property
    def address(self) -> str:
        """For messages."""

    def get(self, name: str, *, limit: int) -> Answer:
        """Read a file of at most ``limit`` bytes; a longer one is cut after one byte more."""

    def head(self, name: str) -> Answer:
        """Ask for the size of a file."""

    def put(self, name: str, content: bytes) -> Answer:
        """Replace a file at once."""

    def put_stream(self, name: str, opened: BinaryIO) -> Answer:
        """Write an open file."""


def narinfo_name(path: str) -> str:
    """Return the name of the file that describes a store path."""
    return f"{parse_store_path(path, step=STEP).hash}.narinfo"


class Sender:
    """Asks for many files, and sends many, until ``timeout`` seconds have passed."""

    def __init__(self, files: Files, *, timeout: float | None, on_tick: Callable[[], None]) -> None:
        self._files = files
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._on_tick = on_tick

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def descriptions(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the files that describe ``paths``, without those that the cache has not."""

        def ask(path: str) -> bytes | None:
            self._check_deadline()
            answer = self._files.get(narinfo_name(path), limit=NARINFO_BYTES)
            if answer.absent:
                return None
            if not answer.found:
                raise self._refused(answer, narinfo_name(path), "read")
            return answer.body

        found = self._each(ask, list(paths), ASKED_AT_ONCE)
        return {path: body for path, body in found.items() if body is not None}

    def lacks(self, name: str) -> bool:
        """Return whether the cache says that it has no such file."""
        return self._files.head(name).absent

    def send(self, directory: Path, names: Sequence[str]) -> None:
        """Send files from ``directory``."""

        def put(name: str) -> None:
            try:
                with _Timed(directory / name, self._check_deadline) as opened:
                    answer = self._files.put_stream(name, opened)
            except OSError as error:
                raise NixferryError(
                    f"{directory / name} cannot be read: {error.strerror}", step=STEP
                ) from None
            if not answer.found:
                raise self._refused(answer, name, "written")

        self._each(put, names, SENT_AT_ONCE)

    def replace(self, contents: dict[str, bytes]) -> None:
        """Replace files."""

        def put(name: str) -> None:
            self._check_deadline()
            answer = self._files.put(name, contents[name])
            if not answer.found:
                raise self._refused(answer, name, "written")

        self._each(put, list(contents), SENT_AT_ONCE)

    def _each(self, work: Callable[[str], _Done], names: Sequence[str], parallel: int) -> dict[str, _Done]:
        """Do the work for all names, and raise the first error."""
        with ThreadPoolExecutor(parallel) as threads:
            running = {threads.submit(work, name): name for name in names}
            waiting = set(running)
            while waiting:
                done, waiting = wait(waiting, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
                self._on_tick()
                failed = next((error for each in done if (error := each.exception())), None)
                if failed is not None:
                    threads.shutdown(wait=False, cancel_futures=True)
                    raise failed
        return {name: future.result() for future, name in running.items()}

    def _check_deadline(self) -> None:
        if self.seconds_left == 0.0:
            raise NixferryError(
                f"{TIMEOUT_NAME} expired",
                step=STEP,
                remedy="Give more time with `timeout`, or run this again.",
            )

    def _refused(self, answer: Answer, name: str, what: str) -> NixferryError:
        address = self._files.address
        return refusal(
            answer,
            f"{address}/{name} cannot be {what}",
            address=address,
            step=STEP,
            writing=what == "written",
        )


class _Timed(io.FileIO):
    """A file that can be read until the deadline."""

    def __init__(self, file: Path, check: Callable[[], None]) -> None:
        super().__init__(file)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        self._check()
        return super().read(-1 if size is None else size)


def copy_through(
    directory: Path,
    nix: Nix,
    sender: Sender,
    paths: Sequence[str],
    *,
    copy: Callable[[Path, float | None], None],
) -> None:
    """Bring the closures of ``paths`` into the cache through the empty ``directory``. Raises ``NixferryError``.

    ``copy`` lets Nix copy them to a cache that is a directory, in so many seconds. Contents go first and then the
    descriptions, each behind those it refers to: what the cache describes is whole, whenever this ends.
    """
    names = closure_names(nix, paths, step=STEP, timeout=sender.seconds_left)
    for path, content in sender.descriptions(names).items():
        (directory / narinfo_name(path)).write_bytes(content)
    known = {file.name for file in directory.iterdir()}
    copy(directory, sender.seconds_left)
    made = [file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()]
    new = {name for name in made if name not in known and name != INFO}
    levels = _levels(directory, [path for path in names if narinfo_name(path) in new])
    sender.send(directory, sorted(new - {name for level in levels for name in level}))
    for level in levels:
        sender.send(directory, level)
    if sender.lacks(INFO):
        sender.send(directory, [INFO])


def _levels(directory: Path, paths: Sequence[str]) -> list[list[str]]:
    """Return the files that describe ``paths``, which are in order, in lists: each refers to earlier lists only."""
    depths: dict[str, int] = {}
    levels: dict[int, list[str]] = {}
    for path in paths:
        info = parse_narinfo((directory / narinfo_name(path)).read_text(encoding="utf-8"))
        depth = 1 + max((depths[each] for each in info.references if each in depths), default=0)
        depths[path] = depth
        levels.setdefault(depth, []).append(narinfo_name(path))
    return [levels[depth] for depth in sorted(levels)]


def sign_through(
    directory: Path,
    nix: Nix,
    sender: Sender,
    paths: Sequence[str],
    *,
    key_file: str,
    is_signed: Callable[[NarInfo], bool],
) -> None:
    """Add the signature of a key to the descriptions of the closures of ``paths`` that have no trusted one.

    ``directory`` is empty. Raises ``NixferryError`` for a path that the cache describes in another way than the store
    of this machine, and for one that is not in that store.
    """
    names = closure_names(nix, paths, step=STEP, timeout=sender.seconds_left)
    texts = {}
    unsigned = {}
    for path, content in sender.descriptions(names).items():
        # A description that is not valid is told by the verification, which comes afterwards.
        with contextlib.suppress(NotANarInfo):
            info = parse_narinfo(content.decode("utf-8", errors="replace"))
            if info.path == path and not is_signed(info):
                unsigned[path] = info
                texts[path] = content
    here = registered(nix, list(unsigned), step=STEP, timeout=sender.seconds_left)
    for path, info in unsigned.items():
        if info.fingerprint != here[path].fingerprint:
            raise NixferryError(
                f"the cache describes {path} with another content than the store of this machine, and no trusted key "
                "has signed that",
                step=STEP,
                remedy="Find out who wrote it. Then remove its .narinfo file from the cache and publish again, or name "
                "the key that signed it in `public_keys`.",
            )
    (directory / INFO).write_text("StoreDir: /nix/store\n", encoding="ascii")
    for path, content in texts.items():
        (directory / narinfo_name(path)).write_bytes(content)
    for batch in batches(list(texts)):
        signing = ["nix", "store", "sign", "--store", f"file://{directory}", "--key-file", key_file, *batch]
        nix.run(signing, step=STEP, timeout=sender.seconds_left, deadline_name=TIMEOUT_NAME)
    sender.replace({narinfo_name(path): (directory / narinfo_name(path)).read_bytes() for path in texts})
