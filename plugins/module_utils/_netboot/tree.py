# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""The directory that a web server offers to machines that boot from the network.

Below it::

    boot.ipxe               finds the script of a machine by the address of its network card
    hosts/MAC.ipxe          the script of a machine: the release that it boots
    releases/ID/            what a release consists of, its checksums, and manifest.json
    v1/boot/MAC             the same for Pixiecore
    pending/TRIAL           one file for each trial that is not booted yet; the web server removes it when it is asked
                            for once/TRIAL
    state/HOST.json         what this program knows of a host; the web server does not offer it

Files are replaced by rename, under a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .script import entry_script, pixiecore_answer, pointer_script

LOCK_DEADLINE = 60  # seconds that another run may hold the lock
LOCK_POLL_SECONDS = 0.1
# A release that no host names is kept for so long: another controller may be about to name it.
GRACE_SECONDS = 86400
CHUNK_BYTES = 1024 * 1024
STATE_BYTES = 1024 * 1024
SUMS = "SHA256SUMS"
MANIFEST = "manifest.json"
# All directories of the tree. Another user may own it, and what is run as root must not be led elsewhere by a link.
DIRECTORIES = ("hosts", "pending", "releases", "state", "v1", "v1/boot")
# What each release has, as its checksums name it.
PARTS = ("boot.ipxe", "initrd", "kernel", "manifest.json", "store")
_SUM = re.compile(r"([0-9a-f]{64})  ([a-z.]+)")
_RELEASE = re.compile(r"[0-9a-f]{32}")
_TRIAL = re.compile(r"[0-9a-f]{32}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class TreeError(Exception):
    """The tree cannot be changed as asked. ``remedy`` says what to do, as full sentences."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def release_id(sums: str) -> str:
    """Return the name of a release: the first half of the SHA-256 of its list of checksums."""
    return hashlib.sha256(sums.encode("ascii")).hexdigest()[:32]


def checked_mac(text: str) -> str:
    """Return the address of a network card in lower case with colons. Raises ``TreeError``."""
    found = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(found):
        raise TreeError(f"{text!r} is not a valid MAC address", "Give it as 52:54:00:12:34:56.")
    return found


def checked_release(text: str) -> str:
    """Return the name of a release. Raises ``TreeError``."""
    if not _RELEASE.fullmatch(text):
        raise TreeError(
            f"{text!r} is not a valid name of a release", "Give the 32 characters of its directory's name."
        )
    return text


def checked_trial(text: str) -> str:
    """Return the name of a trial. Raises ``TreeError``."""
    if not _TRIAL.fullmatch(text):
        raise TreeError(
            f"{text!r} is not a valid name of a trial", "It has 32 digits and letters from a to f."
        )
    return text


class Tree:
    """The directory. Methods raise ``TreeError``, and ``OSError`` when the disk refuses."""

    def __init__(self, directory: str, *, dry_run: bool = False) -> None:
        self._root = Path(directory)
        self._dry_run = dry_run
        self.changed: list[str] = []
        """The names of the files that were written or removed, or would be."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out. In check mode nothing is locked."""
        self._refuse_links()
        if self._dry_run:
            yield
            return
        self._make(self._root)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._root / ".lock", flags, 0o600)
        try:
            deadline = time.monotonic() + LOCK_DEADLINE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TreeError(
                            f"the lock timeout expired: another run has held {self._root}/.lock for {LOCK_DEADLINE} s",
                            "Look for another ansible-playbook that works on this server, and wait for it or end it.",
                        ) from None
                    time.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _refuse_links(self) -> None:
        for name in DIRECTORIES:
            if (self._root / name).is_symlink():
                raise TreeError(
                    f"{self._root}/{name} is a link, and must be a directory",
                    "Find out who has made it, and remove it. To keep the tree elsewhere, name that place in "
                    "netboot_directory. Nothing was changed.",
                )

    def releases(self) -> dict[str, dict[str, Any]]:
        """Return the manifests of the complete releases by their names."""
        found = {}
        for directory in sorted((self._root / "releases").glob("*")):
            if _RELEASE.fullmatch(directory.name) and (directory / SUMS).is_file():
                with contextlib.suppress(OSError, ValueError):
                    manifest = json.loads((directory / MANIFEST).read_bytes()[:STATE_BYTES])
                    if isinstance(manifest, dict):
                        found[directory.name] = manifest
        return found

    def verify(self, release: str) -> None:
        """Compare the files of a release with its checksums, and these with its name. Raises ``TreeError``."""
        directory = self._root / "releases" / release
        again = f"Remove {directory} on the server and run again: the release is sent anew."
        try:
            sums = (directory / SUMS).read_bytes()[:STATE_BYTES].decode("ascii")
        except (OSError, UnicodeDecodeError):
            raise TreeError(f"the release {release} is not complete in {directory}", again) from None
        listed = {name: found for found, name in _SUM.findall(sums)}
        if release_id(sums) != release or tuple(sorted(listed)) != PARTS:
            raise TreeError(f"{directory}/{SUMS} is not that of the release {release}", again)
        for name, wanted in listed.items():
            digest = hashlib.sha256()
            try:
                with (directory / name).open("rb") as file:
                    for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                        digest.update(chunk)
            except OSError as error:
                raise TreeError(f"{directory}/{name} cannot be read: {error.strerror}", again) from None
            if digest.hexdigest() != wanted:
                raise TreeError(f"{directory}/{name} has not the content that {SUMS} says", again)

    def state(self, host: str) -> dict[str, Any]:
        """Return what is known of a host: ``macs``, ``history`` (releases, the current first) and ``trial``."""
        if not _HOST.fullmatch(host):
            raise TreeError(f"{host!r} is not a valid name of a host", "Use letters, digits, dots, - and _.")
        empty: dict[str, Any] = {"host": host, "macs": [], "history": [], "trial": None}
        file = self._root / "state" / f"{host}.json"
        try:
            known = json.loads(file.read_bytes()[:STATE_BYTES])
        except FileNotFoundError:
            return empty
        except ValueError:
            known = None
        if not isinstance(known, dict) or not isinstance(known.get("history"), list):
            raise TreeError(
                f"{file} does not hold the state of a host",
                "Remove it if you know which release the host boots, and publish that again.",
            )
        return {**empty, **known, "host": host}

    def write_state(self, state: dict[str, Any], url: str) -> None:
        """Write what a host boots: its scripts first when they offer less, the file of a trial when they offer more.

        Interrupted at any point, the host boots the release that it has, or once the trial.
        """
        before = self.state(state["host"])
        trial = state["trial"]
        for other in self._states():
            shared = set(other["macs"]) & set(state["macs"])
            if other["host"] != state["host"] and shared:
                raise TreeError(
                    f"{', '.join(sorted(shared))} is a card of {other['host']} already",
                    "Correct netboot_macs of one of the two, or remove the other host (netboot_state: absent).",
                )
        if trial:
            self._write(f"pending/{trial['id']}", f"{state['host']} {trial['release']}\n")
        script = pointer_script(state["host"], state["history"][0], trial)
        for mac in state["macs"]:
            self._write(f"hosts/{mac.replace(':', '-')}.ipxe", script)
            if url:
                self._write(f"v1/boot/{mac}", pixiecore_answer(url, mac))
        for mac in set(before["macs"]) - set(state["macs"]):
            self._forget_card(mac)
        self._write(f"state/{state['host']}.json", json.dumps(state, indent=2, sort_keys=True) + "\n")
        if before["trial"] and (not trial or before["trial"]["id"] != trial["id"]):
            self._remove(f"pending/{before['trial']['id']}")

    def write_entry(self) -> None:
        """Write the script that all machines start with."""
        self._write("boot.ipxe", entry_script())
        if not self._dry_run:
            for name in ("hosts", "releases", "v1/boot"):
                self._make(self._root / name)

    def forget(self, host: str) -> None:
        """Remove a host. Its releases go when nothing names them any more."""
        state = self.state(host)
        for mac in state["macs"]:
            self._forget_card(mac)
        if state["trial"]:
            self._remove(f"pending/{state['trial']['id']}")
        self._remove(f"state/{host}.json")

    def was_taken(self, trial: str) -> bool:
        """Return True if the web server has handed out a trial, or nothing offers it any more."""
        return not (self._root / "pending" / trial).exists()

    def prune(self) -> list[str]:
        """Remove releases that no host names, after a day, and what is left of trials; return the releases."""
        named: set[str] = set()
        trials: set[str] = set()
        for state in self._states():
            named.update(state["history"])
            if state["trial"]:
                named.add(state["trial"]["release"])
                trials.add(state["trial"]["id"])
        for file in sorted((self._root / "pending").glob("*")):
            if _TRIAL.fullmatch(file.name) and file.name not in trials:
                self._remove(f"pending/{file.name}")
        removed = []
        for directory in sorted((self._root / "releases").glob("*")):
            if directory.name in named or not _RELEASE.fullmatch(directory.name):
                continue
            with contextlib.suppress(OSError):
                if time.time() - directory.stat().st_mtime < GRACE_SECONDS:
                    continue
                if not self._dry_run:
                    shutil.rmtree(directory)
                removed.append(directory.name)
                self.changed.append(f"releases/{directory.name}")
        return removed

    def _states(self) -> list[dict[str, Any]]:
        return [self.state(file.name[:-5]) for file in sorted((self._root / "state").glob("*.json"))]

    def _forget_card(self, mac: str) -> None:
        self._remove(f"hosts/{mac.replace(':', '-')}.ipxe")
        self._remove(f"v1/boot/{mac}")

    def _make(self, directory: Path) -> None:
        missing = []
        while not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            each.chmod(0o755)

    def _write(self, name: str, content: str) -> None:
        """Replace a file by rename, so that it survives a power cut whole. The web server may read it."""
        file = self._root / name
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if file.read_text(encoding="ascii") == content:
                return
        self.changed.append(name)
        if self._dry_run:
            return
        self._make(file.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as opened:
                opened.write(content)
                opened.flush()
                os.fchmod(opened.fileno(), 0o644)
                os.fsync(opened.fileno())
            Path(temporary).replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        self._sync(file.parent)

    def _remove(self, name: str) -> None:
        file = self._root / name
        if not file.exists():
            return
        self.changed.append(name)
        if not self._dry_run:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
            self._sync(file.parent)

    def _sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
