# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The place where a channel's pointers lie: a directory, a bucket, or an address that takes files by HTTP PUT.

Below it::

    CHANNEL/hosts/HOST             the pointer that HOST reads
    CHANNEL/history/HOST/SERIAL    the pointers that it had, signed as they were
    CHANNEL/index.json             all hosts of the channel, for people and tools; not signed, no host reads it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.lock import wait_for_lock

from .bucket import Bucket, is_bucket
from .upload import Files
from .web import Certificate, Web, refusal

STEP = Step.PUBLISH
# Of a file below the place: the index of ten thousand hosts has some 5 MB.
FILE_BYTES = 64 * 1024 * 1024
LOCK_SECONDS = 600.0
LOCK_POLL_SECONDS = 0.2


def pointer_name(channel: str, host: str) -> str:
    """Return the name of the file that a host reads."""
    return f"{channel}/hosts/{host}"


def history_name(channel: str, host: str, serial: int) -> str:
    """Return the name of the file that keeps a pointer."""
    return f"{channel}/history/{host}/{serial}"


def index_name(channel: str) -> str:
    """Return the name of the list of a channel's hosts."""
    return f"{channel}/index.json"


class Place(Protocol):
    """Files by name. Every method raises ``NixferryError``."""

    @property
    def address(self) -> str:
        """For messages."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once: a reader gets the old or the new one."""

    def forget(self, name: str) -> None:
        """Remove a file that is not needed any more, where that is possible."""

    def locked(self, channel: str, *, waiting: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Keep other publishers of the channel out, where that is possible."""


class DirectoryPlace:
    """A directory of this machine, which a web server offers."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    @property
    def address(self) -> str:
        """Return the directory."""
        return str(self._directory)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""
        try:
            with (self._directory / name).open("rb") as file:
                return file.read(FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("cannot be read", name, error) from None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file by rename, so that it survives a power cut whole. Web servers may read it."""
        file = self._directory / name
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            self._make(file.parent)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fchmod(opened.fileno(), 0o644)
                os.fsync(opened.fileno())
            temporary.replace(file)
            _sync_directory(file.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self._error("cannot be written", name, error) from None

    def forget(self, name: str) -> None:
        """Remove a file; leave it if that fails, since it is not needed."""
        with contextlib.suppress(OSError):
            (self._directory / name).unlink()

    @contextlib.contextmanager
    def locked(self, channel: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep other publishers of the channel out, and the collection of garbage.

        Raises ``NixferryError`` if they do not end within ten minutes.
        """
        with (
            self._lock(".lock", fcntl.LOCK_SH, waiting),
            self._lock(f"{channel}/.lock", fcntl.LOCK_EX, waiting),
        ):
            yield

    def locked_for_collection(
        self, *, waiting: Callable[[], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Keep all publishers out: what they have found in the cache must not go before a pointer names it."""
        return self._lock(".lock", fcntl.LOCK_EX, waiting)

    @contextlib.contextmanager
    def _lock(self, name: str, mode: int, waiting: Callable[[], None]) -> Iterator[None]:
        try:
            self._make((self._directory / name).parent)
            descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error("cannot be written", name, error) from None
        try:
            _wait_for(descriptor, mode, str(self._directory / name), waiting)
            yield
        finally:
            os.close(descriptor)

    def _make(self, directory: Path) -> None:
        """Make the directories that are missing, open to web servers whatever the umask says."""
        missing = []
        while not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            each.chmod(0o755)

    def _error(self, what: str, name: str, error: OSError) -> NixferryError:
        return NixferryError(
            f"{self._directory / name} {what}: {error.strerror}",
            step=STEP,
            remedy="Look at the owner of the directory and at the space on its file system.",
        )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, mode: int, name: str, waiting: Callable[[], None]) -> None:
    expired = NixferryError(
        f"the lock timeout expired: another process has held {name} for {LOCK_SECONDS:.0f} seconds",
        step=STEP,
        remedy="Look for another ansible-playbook that publishes or collects garbage, and end it or wait for it.",
    )
    wait_for_lock(
        lambda: fcntl.flock(descriptor, mode | fcntl.LOCK_NB),
        timeout=LOCK_SECONDS,
        poll=LOCK_POLL_SECONDS,
        expired=expired,
        waiting=waiting,
    )


class HttpPlace:
    """A bucket, or an address that takes files by HTTP PUT and gives them by GET.

    Servers replace a file when all of it has come.
    """

    def __init__(self, web: Files) -> None:
        self._web = web

    @property
    def address(self) -> str:
        """Return the address."""
        return self._web.address

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if the server says that there is none."""
        answer = self._web.get(name, limit=FILE_BYTES)
        if answer.absent:
            return None
        if not answer.found:
            raise refusal(answer, f"{self.address}/{name} cannot be read", address=self.address, step=STEP)
        return answer.body

    def write(self, name: str, content: bytes) -> None:
        """Send a file, and read it back: another publisher may write at the same time, a proxy may answer for it."""
        answer = self._web.put(name, content)
        if not answer.found:
            raise refusal(
                answer,
                f"{self.address}/{name} cannot be written",
                address=self.address,
                step=STEP,
                writing=True,
            )
        if self.read(name) != content:
            raise NixferryError(
                f"{self.address}/{name} was written, and then read with another content",
                step=STEP,
                remedy="Look for another publisher of the same channel, and for a cache in front of the server that "
                "keeps old files.",
            )

    def forget(self, _name: str) -> None:
        """Leave the file: what this server lets a publisher delete is not known."""

    @contextlib.contextmanager
    def locked(self, _channel: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """Do nothing: HTTP has no lock. Each file is read back after it was written."""
        del waiting
        yield


def open_place(
    address: str, *, netrc_file: str | None = None, certificate: Certificate | None = None
) -> Place:
    """Return the place behind a directory's absolute path, ``file://``, ``http://``, ``https://`` or ``s3://``."""
    if address.startswith("/"):
        return DirectoryPlace(address)
    if is_bucket(address):
        return HttpPlace(Bucket(address, step=STEP))
    web = Web(address, netrc_file=netrc_file, certificate=certificate, step=STEP)
    return DirectoryPlace(address.removeprefix("file://")) if web.is_file else HttpPlace(web)
