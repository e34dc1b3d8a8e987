# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy store paths and their closures from a host to the controller, over Ansible's connection to that host.

As in the other direction (``_copy/transport.py``), either ``nix copy`` runs over Ansible's ssh, or exported paths
travel through the connection. Ansible reads the output of commands as text, so there they travel as base64.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import EXTEND_SEARCH_PATH
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    Item,
    batches,
    invalid_paths,
    parse_path_info,
)

from .explain import CopyError, explain
from .options import PIECE_BYTES, groups
from .store import NIX_COMMAND
from .transport import TARGET_ALIAS, Transport, choose_transport, search_path_with, ssh_program

STEP = Step.COPY_BACK
TIMEOUT_NAME = "the timeout for the build"


def copy_back(shell: RemoteShell, paths: Sequence[str], *, nix: Nix, timeout: float | None) -> None:
    """Make ``paths`` of the host and their closures valid in the controller's store.

    ``timeout`` is in seconds for everything, None for no limit. Raises ``NixferryError``.
    """
    transport = choose_transport(shell)
    if transport is Transport.LOCAL:
        # The host is the controller, and has one store.
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    with _kept(shell, paths, deadline):
        if transport is Transport.SSH:
            _by_ssh(shell, paths, nix, deadline)
        else:
            _Stream(shell, nix, deadline).fetch(paths)


@contextlib.contextmanager
def _kept(shell: RemoteShell, paths: Sequence[str], deadline: float | None) -> Iterator[None]:
    """Protect ``paths`` from the host's garbage collector, which a builder with a full disk starts by itself."""
    with _directory(shell) as place:
        make = 'umask 077; mkdir "$directory" || exit 1; '
        for number, some in enumerate(batches(paths)):
            root = f'nix-store --realise --add-root "$directory/root{number}" {shlex.join(some)} >/dev/null'
            _ask(shell, f"{place}; {make}{root}", deadline)
            make = ""
        yield


@contextlib.contextmanager
def _directory(shell: RemoteShell) -> Iterator[str]:
    """Yield sh text that sets ``directory`` to a name on the host, and remove that directory at the end.

    The name is unguessable. Make the directory without -p, so that no other user can have made it.
    """
    unique = f"nixferry-{secrets.token_hex(16)}"
    place = f'directory=/var/tmp; [ -w "$directory" ] || directory=/tmp; directory=$directory/{unique}'
    try:
        yield place
    finally:
        # A lost host keeps the directory until it clears its temporary files.
        with contextlib.suppress(NixferryError):
            shell.run(f'{place}; rm -rf "$directory"', step=STEP)


def _ask(shell: RemoteShell, command: str, deadline: float | None) -> str:
    """Return standard output of sh ``command`` on the host, which must succeed."""
    _seconds_left(deadline)
    answer = shell.run(f"{EXTEND_SEARCH_PATH}; {{ {command}; }} </dev/null", step=STEP)
    if answer.return_code != 0:
        raise explain(answer.stderr.splitlines(), f"the host ended with exit code {answer.return_code}")
    return answer.stdout


def _by_ssh(shell: RemoteShell, paths: Sequence[str], nix: Nix, deadline: float | None) -> None:
    with ssh_program(shell, "exec nix-store --serve --write", compress=False) as directory:
        for some in batches(paths):
            result = nix.run(
                ["nix", "copy", "--no-check-sigs", "--from", f"ssh://{TARGET_ALIAS}", *some],
                step=STEP,
                timeout=_seconds_left(deadline),
                extra_environment={"PATH": search_path_with(directory)},
                check=False,
            )
            _expect_success(result)


class _Stream:
    """Copy exported paths, in pieces that fit into memory.

    A path larger than a piece is held in memory as a whole once, which ``nix-store --import`` does anyway.
    """

    def __init__(self, shell: RemoteShell, nix: Nix, deadline: float | None) -> None:
        self._shell = shell
        self._nix = nix
        self._deadline = deadline

    def fetch(self, paths: Sequence[str]) -> None:
        for group in groups(self._missing_here(paths)):
            exported = self._exported([item.path for item in group])
            result = self._nix.run(
                ["nix-store", "--import"],
                step=STEP,
                input=exported,
                timeout=_seconds_left(self._deadline),
                check=False,
            )
            _expect_success(result)

    def _missing_here(self, paths: Sequence[str]) -> list[Item]:
        """Return the missing paths of the closure, every path after its references."""
        ordered: dict[str, None] = {}
        sizes: dict[str, int] = {}
        for some in batches(paths):
            answer = self._ask(f"nix-store --query --requisites {shlex.join(some)}")
            # Ignore the output of a login script.
            ordered.update(dict.fromkeys(filter(is_store_path, answer.split())))
        absent = invalid_paths(self._nix, ordered, step=STEP)
        wanted = [path for path in ordered if path in absent]
        for some in batches(wanted):
            answer = self._ask(f"{NIX_COMMAND} path-info --size {shlex.join(some)}")
            sizes.update({item.path: item.nar_size for item in parse_path_info(answer)})
        return [Item(path, sizes[path]) for path in wanted]

    def _exported(self, paths: Sequence[str]) -> bytes:
        with _directory(self._shell) as place:
            make = 'umask 077; mkdir "$directory" || exit 1'
            self._ask(f'{place}; {make}; nix-store --export {shlex.join(paths)} >"$directory/export"')
            pieces: list[bytes] = []
            while not pieces or len(pieces[-1]) == PIECE_BYTES:
                read = f'dd if="$directory/export" bs={PIECE_BYTES} skip={len(pieces)} count=1 2>/dev/null'
                pieces.append(_decoded(self._ask(f"{place}; {read} | base64")))
            return b"".join(pieces)

    def _ask(self, command: str) -> str:
        return _ask(self._shell, command, self._deadline)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise CopyError(
            "the host's output is not the expected data",
            remedy="Make sure that a login to it prints nothing, for instance from a login script.",
            output=text.splitlines()[:5],
        ) from error


def _expect_success(result: NixResult) -> None:
    """Raise the failure. Here the controller checks signatures, unlike in ``explain``."""
    if result.timed_out:
        raise result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    if result.return_code == 0:
        return
    error = explain(result.stderr.splitlines(), f"Nix ended with exit code {result.return_code}")
    if error.untrusted:
        error = error.with_(
            cause=error.cause.replace("the host's Nix", "the controller's Nix"),
            remedy="The daemon of the controller accepts unsigned paths from trusted users only. Add yourself to its "
            "`trusted-users`; or let the build host sign what it builds (`secret-key-files` in its nix.conf) and add "
            "the key to `trusted-public-keys` here.",
            where=CONTROLLER,
        )
    raise error.with_(step=STEP)


def _seconds_left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise NixferryError(f"{TIMEOUT_NAME} expired", step=STEP, remedy="Raise `timeout`, or run again.")
    return left
