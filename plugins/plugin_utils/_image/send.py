# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Send an image and the files beside it: to a directory, or to an address that takes files by HTTP PUT."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.web import Web, refusal

from .manifest import MANIFEST_BYTES, Manifest, link_present, write_file

STEP = Step.SEND_IMAGE
COPY_SECONDS = 7200.0


@dataclass(frozen=True)
class Destination:
    """Where images are sent. ``address`` is an absolute path, ``file://``, ``http://`` or ``https://``."""

    address: str
    web: Web

    @property
    def directory(self) -> Path | None:
        """Return the directory, None for a server."""
        return self.web.directory if self.web.is_file else None


def open_destination(address: str, *, netrc_file: str | None) -> Destination:
    """Return the destination. Raises ``NixferryError`` for an address that is not one, or has a password in it."""
    if address.startswith("s3://"):
        raise NixferryError(
            "images cannot be sent to s3:// directly",
            step=STEP,
            remedy="Send the files that the result names with a task of amazon.aws.s3_object, or give an https address "
            "of the store that takes PUT.",
        )
    web = Web(f"file://{address}" if address.startswith("/") else address, netrc_file=netrc_file, step=STEP)
    return Destination(address, web)


def files_of(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Yield the names of the files beside the image that exist, in the order in which they are sent."""
    for name in (f"{manifest.image}.sha256", manifest.file, f"{manifest.file}.sig"):
        if (directory / name).exists():
            yield name


def is_sent(destination: Destination, directory: Path, manifest: Manifest) -> bool:
    """Return whether ``destination`` has the image as the present one, with the same files beside it."""
    present = f"{manifest.name}.json"
    for name, source in ((present, manifest.file), *((name, name) for name in files_of(directory, manifest))):
        answer = destination.web.get(name, limit=MANIFEST_BYTES)
        if not answer.found or answer.body != (directory / source).read_bytes():
            return False
    answer = destination.web.head(manifest.image)
    return answer.found and answer.size in (manifest.size, None)


def send(destination: Destination, directory: Path, manifest: Manifest, progress: Progress) -> None:
    """Send the image, then what describes it, then which one is the present one. Raises ``NixferryError``."""
    progress.phase(f"sending {manifest.image}")
    try:
        if destination.directory is not None:
            _copy(destination.directory, directory, manifest)
            return
        _put(destination, manifest.image, directory / manifest.image)
        answer = destination.web.head(manifest.image)
        if answer.found and answer.size not in (manifest.size, None):
            raise NixferryError(
                f"{destination.address}/{manifest.image} has {answer.size} bytes after it was sent, "
                f"not {manifest.size}",
                step=STEP,
                remedy="Look for a limit of sizes in the server, and at the space on its disk.",
            )
        for name in files_of(directory, manifest):
            _put(destination, name, directory / name)
        _put(destination, f"{manifest.name}.json", directory / manifest.file)
    except OSError as error:
        raise NixferryError(
            f"{error.filename or destination.address}: {error.strerror or type(error).__name__}",
            step=STEP,
            remedy="Look at the owner of the directory, and at the space on its file system.",
        ) from None


def _put(destination: Destination, name: str, source: Path) -> None:
    answer = destination.web.put_file(name, source)
    if not answer.found:
        address = destination.address
        raise refusal(answer, f"{address}/{name} cannot be written", address=address, step=STEP, writing=True)


def _copy(target: Path, directory: Path, manifest: Manifest) -> None:
    """Copy to another directory of this machine; its present image is replaced as the last step."""
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f".{manifest.image}.{secrets.token_hex(4)}"
    try:
        # The file has holes, which a copy by other means would fill.
        ended = run_one(
            ["cp", "--sparse=always", "--", str(directory / manifest.image), str(temporary)],
            timeout=COPY_SECONDS,
        )
        if not ended.succeeded:
            raise NixferryError(
                f"{manifest.image} cannot be copied to {target}: "
                + (ended.errors[-1] if ended.errors else f"cp did not end within {COPY_SECONDS:.0f} seconds"),
                step=STEP,
                remedy="Look at the owner of the directory, and at the space on its file system.",
            )
        with temporary.open("rb") as opened:
            os.fsync(opened.fileno())
        temporary.replace(target / manifest.image)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    for name in files_of(directory, manifest):
        write_file(target / name, (directory / name).read_bytes())
    link_present(target, manifest.name, manifest)
