# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Send exactly the missing paths on the standard input of commands on the host, over any connection of Ansible.

Small paths travel together as ``nix-store --export`` writes them. ``nix-store --import`` holds a whole path in
memory (src/libstore/export-import.cc), so a large one goes piece by piece into a small binary cache on the disk
of the host, which Nix then reads as a stream. Neither side ever holds more than a piece.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import tempfile
import zlib
from collections.abc import Callable, Sequence
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import command_script
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import controller_temporary
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.wait import CLEAN_UP_SECONDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    LogEvent,
    Result,
    ResultType,
    Start,
    Stop,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item

from .explain import STEP
from .export import Exported, read_export
from .options import PIECE_BYTES, groups
from .signed import (
    Proof,
    cache_command,
    describe_command,
    description,
    proofs,
    unpack_commands,
)
from .store import (
    NIX_COMMAND,
    TargetStore,
    store_option,
)

# zlib's fastest level still halves most of a system, and is faster than most links.
COMPRESSION_LEVEL = 1
GZIP_FORMAT = 16 + zlib.MAX_WBITS
# For a piece, on a link of 10 KiB per second, and its import.
PIECE_SECONDS = 2 * 3600.0
_REMOVE = 'rm -rf "$directory"'


class Stream:
    """Sends paths from the controller's store to ``target``.

    ``seconds_left`` raises if the deadline has passed; it is called between two pieces. ``on_event`` gets the
    progress in the form of Nix's own events. ``arrived`` has the paths that the host has imported. With
    ``check_signatures`` the paths travel with their signatures, and the host accepts only those that it trusts.
    """

    def __init__(
        self,
        target: TargetStore,
        nix: Nix,
        *,
        compress: bool,
        on_event: Callable[[LogEvent], None],
        seconds_left: Callable[[], float | None] = lambda: None,
        piece_bytes: int = PIECE_BYTES,
        check_signatures: bool = False,
    ) -> None:
        self._target = target
        self._nix = nix
        self._compress = compress
        self._on_event = on_event
        self._seconds_left = seconds_left
        self._piece_bytes = piece_bytes
        self._check_signatures = check_signatures
        self.arrived: list[str] = []

    def send(self, items: Sequence[Item]) -> None:
        """Send ``items``, each after its references.

        Raises ``HostUnreachable`` or ``CopyError``; paths that have arrived until then are complete and stay.
        """
        progress = _Progress(self._on_event, items)
        with progress:
            for group in groups(items, self._piece_bytes):
                progress.begin(group)
                if len(group) == 1 and group[0].nar_size > self._piece_bytes:
                    self._send_large(group[0], progress.bytes_of_group)
                else:
                    self._send_group(group)
                progress.end(group)
                self.arrived += [item.path for item in group]

    def _send_group(self, group: Sequence[Item]) -> None:
        with _temporary_file() as file:
            self._write(["nix-store", "--export", *(item.path for item in group)], file)
            if self._check_signatures:
                exported = read_export(file, [item.path for item in group])
                file.seek(0)
                known = proofs(self._nix, [item.path for item in group], timeout=self._seconds_left())
                commands = unpack_commands(exported, known)
                self._send_cache(file, "export", commands, group, lambda _bytes: None)
                return
            data = file.read()
        self._command(f"nix-store{store_option(self._target.root)} --import >/dev/null", data)

    def _send_large(self, item: Item, tell: Callable[[int], None]) -> None:
        commands = [cache_command(), describe_command(item.path, self._describe(item, "large.nar"))]
        with _temporary_file() as file:
            self._write(["nix-store", "--dump", item.path], file)
            self._send_cache(file, "large.nar", commands, [item], tell)

    def _send_cache(
        self,
        file: IO[bytes],
        name: str,
        commands: Sequence[str],
        items: Sequence[Item],
        tell: Callable[[int], None],
    ) -> None:
        """Send ``file`` piece by piece as ``$directory/name``, let ``commands`` make a cache of it, and read that."""
        # Unguessable, and made without -p, so that no other user on the host can have made it.
        unique = f"nixferry-{secrets.token_hex(16)}"
        place = f'directory=/var/tmp; [ -w "$directory" ] || directory=/tmp; directory=$directory/{unique}'
        try:
            make = 'umask 077; mkdir "$directory" && '
            while piece := file.read(self._piece_bytes):
                self._command(f'cat >>"$directory/{name}"', piece, before=f"{place}; {make}")
                make = ""
                tell(file.tell())
            read = self._read_cache([item.path for item in items])
            self._target.ask([place, "umask 077", *commands, read, _REMOVE], seconds=self._patience())
        except BaseException:
            # A lost host keeps the directory until it clears its temporary files.
            with contextlib.suppress(NixferryError):
                self._target.shell.run(f"{place}; {_REMOVE}", step=STEP, seconds=CLEAN_UP_SECONDS)
            raise

    def _read_cache(self, paths: Sequence[str]) -> str:
        """Return the sh command that copies ``paths`` from the binary cache in ``$directory`` into the store."""
        root = self._target.root
        destination = f" --to {shlex.quote(root)}" if root else ""
        trust = "" if self._check_signatures else " --no-check-sigs"
        source = f' --from "file://$directory"{destination}'
        return f"{NIX_COMMAND} copy --no-recursive{trust}{source} {shlex.join(paths)}"

    def _describe(self, item: Item, url: str) -> str:
        """Return a binary cache's description of a path, as text."""

        def query(what: str) -> list[str]:
            return self._nix.run(["nix-store", "--query", what, item.path], step=STEP).stdout.split()

        known = proofs(self._nix, [item.path])[item.path] if self._check_signatures else Proof()
        references = tuple(query("--references"))
        return description(Exported(item.path, 0, item.nar_size, query("--hash")[0], references), url, known)

    def _write(self, arguments: Sequence[str], file: IO[bytes]) -> None:
        """Let a program on the controller write into ``file``, and rewind it."""
        self._nix.run(
            arguments,
            step=STEP,
            output=file,
            timeout=self._seconds_left(),
            deadline_name="the timeout of the copy",
        )
        file.seek(0)

    def _command(self, command: str, data: bytes, *, before: str = "") -> None:
        """Run sh ``command`` on the host with ``data`` on its standard input."""
        seconds = self._patience()
        if self._compress:
            packer = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
            data = packer.compress(data) + packer.flush()
            command = f"gunzip -c | {command}"
        script = command_script([f"{before}{command}"], reads_input=True)
        result = self._target.shell.run_command(
            f"/bin/sh -c {shlex.quote(script)}", data=data, step=STEP, seconds=seconds
        )
        self._target.read(result)

    def _patience(self) -> float:
        """Return the longest time in seconds that a piece may take."""
        left = self._seconds_left()
        return PIECE_SECONDS if left is None else min(left, PIECE_SECONDS)


class _Progress:
    """Reports the progress of a stream, in the form of Nix's own copy events."""

    _PATHS = 1
    _BYTES = 2

    def __init__(self, on_event: Callable[[LogEvent], None], items: Sequence[Item]) -> None:
        self._on_event = on_event
        self._paths_expected = len(items)
        self._bytes_expected = sum(item.nar_size for item in items)
        self._paths = self._bytes = 0

    def __enter__(self) -> None:
        self._on_event(Start(id=self._PATHS, type=ActivityType.COPY_PATHS, level=0, text=""))
        self._on_event(
            Start(id=self._BYTES, type=ActivityType.COPY_PATH, level=0, text="", parent=self._PATHS)
        )

    def __exit__(self, *_exception: object) -> None:
        self._on_event(Stop(id=self._BYTES))
        self._on_event(Stop(id=self._PATHS))

    def begin(self, group: Sequence[Item]) -> None:
        self._tell(running=len(group))

    def bytes_of_group(self, size: int) -> None:
        self._tell(running=1, further_bytes=size)

    def end(self, group: Sequence[Item]) -> None:
        self._paths += len(group)
        self._bytes += sum(item.nar_size for item in group)
        self._tell(running=0)

    def _tell(self, *, running: int, further_bytes: int = 0) -> None:
        for activity, done, expected in (
            (self._PATHS, self._paths, self._paths_expected),
            (self._BYTES, self._bytes + further_bytes, self._bytes_expected),
        ):
            fields = (done, expected, running, 0)
            self._on_event(Result(id=activity, type=ResultType.PROGRESS, fields=fields))


def _temporary_file() -> IO[bytes]:
    """Return an unnamed file on the disk: an exported path may be larger than the memory."""
    return tempfile.TemporaryFile(dir=controller_temporary())
