# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make the image of one host: look whether it is there, stage, write, describe, sign."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.lock import wait_for_lock
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import (
    SshKey,
    sign_bytes,
    why_not_signed,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .boot import AUTO, read_boot, refuse_other_loaders
from .disk import Layout, write_disk
from .manifest import (
    NAMESPACE,
    RECIPE,
    Manifest,
    digest_of,
    image_name,
    link_present,
    present,
    sha256_of,
    write_file,
)
from .tools import DISK_PROGRAMS, STEP, Tools
from .tree import clean_up, stage
from .variant import extension_of, find_image

DISK = "disk"
RAW, QCOW2 = FORMATS = ("raw", "qcow2")
LOCK_SECONDS = 7200.0
LOCK_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ImageRequest:
    """The image to make. ``timeout`` is that of the copy of the closure, in seconds."""

    name: str
    variant: str
    toplevel: str
    """The toplevel; with another variant than ``DISK`` the store path that it has built."""
    revision: str
    directory: Path
    format: str
    layout: Layout
    boot_loader: str
    key: SshKey | None
    timeout: int
    check_closure: Callable[[Path], None]
    """Called with the staged root before an image is made of it; raises ``NixferryError``."""

    @property
    def wishes(self) -> dict[str, Any]:
        """Return all that decides the image."""
        if self.variant != DISK:
            return {"recipe": RECIPE, "name": self.name, "variant": self.variant, "source": self.toplevel}
        return {
            "recipe": RECIPE,
            "name": self.name,
            "variant": DISK,
            "toplevel": self.toplevel,
            "format": self.format,
            "espSize": self.layout.esp_size,
            "freeSpace": self.layout.free_space,
            "size": self.layout.size,
            "rootLabel": self.layout.root_label,
            "espLabel": self.layout.esp_label,
        }


@dataclass(frozen=True)
class Made:
    """The present image, the one before it, and what changed. ``manifest`` is None in check mode if it would change."""

    manifest: Manifest | None
    before: Manifest | None
    made: bool
    signed: bool

    @property
    def changed(self) -> bool:
        """Whether a file changed."""
        return self.made or self.signed


def look(request: ImageRequest) -> Made:
    """Return what ``make`` would do."""
    before = present(request.directory, request.name)
    if before is None or before.wishes != request.wishes:
        if request.variant == DISK and request.boot_loader == AUTO and Path(request.toplevel).exists():
            # Before its closure is copied, and in check mode.
            refuse_other_loaders(Path("/"), request.toplevel)
        return Made(None, before, made=True, signed=request.key is not None)
    return Made(before, before, made=False, signed=not _is_signed(request, before))


def make(request: ImageRequest, nix: Nix, progress: Progress) -> Made:
    """Make the image unless it is there. Raises ``NixferryError``; then the image before is still the present one."""
    try:
        request.directory.mkdir(parents=True, exist_ok=True)
        with _locked(request, progress):
            return _make(request, nix, progress)
    except OSError as error:
        raise NixferryError(
            f"{error.filename or request.directory}: {error.strerror}",
            step=STEP,
            remedy="Look at the owner of the directory, and at the space on its file system.",
        ) from None


def _make(request: ImageRequest, nix: Nix, progress: Progress) -> Made:
    seen = look(request)
    if not seen.made:
        if seen.signed and seen.manifest is not None and request.key is not None:
            _sign(request, request.key, seen.manifest)
        return seen
    programs = [*DISK_PROGRAMS, *(["qemu-img"] if request.format == QCOW2 else [])]
    tools = Tools(programs if request.variant == DISK else ["cp"])
    for left in request.directory.glob(f".{request.name}.work-*"):
        clean_up(left)
    work = Path(tempfile.mkdtemp(prefix=f".{request.name}.work-", dir=request.directory))
    try:
        if request.variant == DISK:
            manifest = _write(request, nix, tools, work, progress)
        else:
            manifest = _take(request, tools, work)
    finally:
        clean_up(work)
    return Made(manifest, seen.before, made=True, signed=request.key is not None)


def _write(request: ImageRequest, nix: Nix, tools: Tools, work: Path, progress: Progress) -> Manifest:
    progress.phase("copying the closure")
    staged = stage(nix, request.toplevel, work / "root", timeout=request.timeout)
    boot = read_boot(staged.tree, request.toplevel, boot_loader=request.boot_loader)
    request.check_closure(staged.tree)
    progress.phase("writing the image")
    disk = work / "disk.raw"
    # The disk is the same one in every format.
    digest = digest_of({**request.wishes, "format": RAW})
    virtual_size = write_disk(tools, staged, boot, request.layout, digest=digest, disk=disk)
    if request.format == QCOW2:
        disk = work / "disk.qcow2"
        tools.run(
            ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(work / "disk.raw"), str(disk)],
            doing="the conversion to qcow2",
        )
    sha256 = sha256_of(disk)
    manifest = Manifest(
        name=request.name,
        variant=DISK,
        format=request.format,
        system=boot.system,
        toplevel=request.toplevel,
        revision=request.revision,
        closure_paths=len(staged.paths),
        closure_size=staged.nar_size,
        image=image_name(request.name, sha256, request.format),
        size=disk.stat().st_size,
        virtual_size=virtual_size,
        sha256=sha256,
        wishes=request.wishes,
    )
    _keep(request, disk, manifest)
    progress.line(f"{manifest.image}: {manifest.virtual_size // 2**20} MiB")
    return manifest


def _take(request: ImageRequest, tools: Tools, work: Path) -> Manifest:
    """Take the image that a variant has built."""
    output = Path(request.toplevel)
    source = find_image(output)
    request.check_closure(source.parent if output.is_dir() else output)
    image = work / "image"
    tools.run(["cp", "--sparse=always", "--", str(source), str(image)], doing="the copy of the image")
    image.chmod(0o644)
    size, sha256, extension = image.stat().st_size, sha256_of(image), extension_of(source)
    manifest = Manifest(
        name=request.name,
        variant=request.variant,
        format=extension,
        system="",
        toplevel="",
        revision=request.revision,
        closure_paths=0,
        closure_size=0,
        image=image_name(request.name, sha256, extension),
        size=size,
        virtual_size=0,
        sha256=sha256,
        wishes=request.wishes,
    )
    _keep(request, image, manifest)
    return manifest


def _keep(request: ImageRequest, image: Path, manifest: Manifest) -> None:
    """Give a finished image its name."""
    _sync(image)
    image.replace(request.directory / manifest.image)
    describe(request, manifest)


def add_to_store(request: ImageRequest, manifest: Manifest, nix: Nix) -> str:
    """Add a directory with the image and its manifest to the controller's store; return the store path.

    The image is in it as ``disk`` with the extension of its format. Raises ``NixferryError``.
    """
    with tempfile.TemporaryDirectory(prefix=f".{request.name}.store-", dir=request.directory) as name:
        directory = Path(name)
        (directory / f"disk.{manifest.format}").hardlink_to(request.directory / manifest.image)
        (directory / "manifest.json").write_text(manifest.text())
        directory.chmod(0o755)
        added = nix.run(
            ["nix", "store", "add-path", "--name", manifest.image, name],
            step=STEP,
            timeout=request.timeout,
            deadline_name="the timeout for the image on its way into the store",
        )
    return parse_store_path(added.stdout.strip(), step=STEP).path


def describe(request: ImageRequest, manifest: Manifest) -> None:
    """Write the files beside an image, and make it the present one as the last step."""
    directory = request.directory
    write_file(directory / f"{manifest.image}.sha256", manifest.checksum.encode())
    write_file(directory / manifest.file, manifest.text().encode())
    if request.key is not None:
        _sign(request, request.key, manifest)
    else:
        (directory / f"{manifest.file}.sig").unlink(missing_ok=True)
    link_present(directory, request.name, manifest)


def _sign(request: ImageRequest, key: SshKey, manifest: Manifest) -> None:
    content = (request.directory / manifest.file).read_bytes()
    signature = sign_bytes(content, key, namespace=NAMESPACE, step=STEP)
    write_file(request.directory / f"{manifest.file}.sig", signature.encode("ascii"))


def _is_signed(request: ImageRequest, manifest: Manifest) -> bool:
    if request.key is None:
        return True
    try:
        content = (request.directory / manifest.file).read_bytes()
        signature = (request.directory / f"{manifest.file}.sig").read_text("ascii", errors="replace")
    except OSError:
        return False
    return why_not_signed(content, signature, [request.key.public], namespace=NAMESPACE, step=STEP) is None


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(request: ImageRequest, progress: Progress) -> Iterator[None]:
    """Keep other makers of the same image out."""
    file = request.directory / f".{request.name}.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        wait_for_lock(
            lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
            timeout=LOCK_SECONDS,
            poll=LOCK_POLL_SECONDS,
            expired=NixferryError(
                f"the lock timeout expired: another process has held {file} for {LOCK_SECONDS:.0f} seconds",
                step=STEP,
                remedy="Look for another ansible-playbook that makes the same image, and end it or wait for it.",
            ),
            waiting=lambda: progress.line("waiting for another process that makes the same image"),
        )
        yield
    finally:
        os.close(descriptor)
