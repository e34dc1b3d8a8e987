# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Input for commands on the host, as a file, for a connection that passes none to them."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

from .result import RemoteResult
from .wait import CLEAN_UP_SECONDS, WaitEnded, bounded_wait


class Execute(Protocol):
    """Runs a command, with input if the connection passes any."""

    def __call__(self, command: str, data: bytes | None = None) -> RemoteResult: ...


@dataclass(frozen=True)
class LoginUser:
    """The user who logs in: Ansible's connection, and what runs commands without privilege escalation."""

    connection: Any
    execute: Execute


@contextmanager
def input_file(login: LoginUser, data: bytes, *, private: bool, reader: object, step: Step) -> Iterator[str]:
    """Provide a file on the host with ``data``, for a connection that passes no input to commands.

    The file belongs to the user who logs in, and only that user, root, and ``reader``, whom the task becomes, can read
    it. Its name need not be secret: every user can list the arguments of the command that reads it.
    """
    parent = "/dev/shm" if private and _has_shared_memory(login) else "/tmp"  # noqa: S108
    # mkdir fails if the directory exists.
    directory = f"{parent}/nixferry-{secrets.token_hex(16)}"
    name = f"{directory}/{secrets.token_hex(16)}"
    made = login.execute(f"umask 077 && mkdir {directory}")
    if made.return_code != 0:
        raise AnsibleConnectionFailure(
            f"cannot make the directory {directory} on the host: {made.stderr.strip()}"
        )
    try:
        _put(login, data, name, private)
        if reader not in (None, "root"):
            _let_read(login, str(reader), directory, name, step)
        yield name
    finally:
        # A host that did not end its answer may not end this one either.
        with suppress(WaitEnded), bounded_wait(CLEAN_UP_SECONDS):
            login.execute(f"rm -rf {directory}")


def _let_read(login: LoginUser, user: str, directory: str, name: str, step: Step) -> None:
    """Let ``user`` read the file ``name`` in ``directory``, and no other user.

    Raises ``NixferryError`` if the host cannot do that.
    """
    rights = (
        (f"u:{user}:r", f"{user} allow read", name),
        (f"u:{user}:x", f"{user} allow execute", directory),
    )
    # POSIX ACLs, or those of macOS.
    commands = [
        f"{{ setfacl -m {shlex.quote(posix)} {place} || chmod +a {shlex.quote(macos)} {place}; }}"
        for posix, macos, place in rights
    ]
    done = login.execute(" && ".join([f"chmod 600 {name}", *commands]))
    if done.return_code != 0:
        raise NixferryError(
            f"commands get no input here, and a file for the user {user} cannot be kept from other users",
            step=step,
            remedy="Become root, log in as that user, use ssh with an escalation that needs no terminal (sudo), "
            "or install setfacl on the host (often in the package acl).",
            output=done.stderr.splitlines(),
        )


def _has_shared_memory(login: LoginUser) -> bool:
    return login.execute("test -d /dev/shm && test -w /dev/shm").return_code == 0


def _put(login: LoginUser, data: bytes, name: str, private: bool) -> None:
    """Write ``data`` into a new file on the host, as the user who logs in."""
    if private and login.connection.has_pipelining:
        # Without privilege escalation no terminal gets in the way.
        made = login.execute(f"umask 066 && cat >{name}", data)
        if made.return_code != 0:
            raise AnsibleConnectionFailure(f"cannot write {name} on the host: {made.stderr.strip()}")
        return
    with _private_file() if private else tempfile.NamedTemporaryFile() as local:
        local.write(data)
        local.flush()
        login.connection.put_file(f"/proc/{os.getpid()}/fd/{local.fileno()}" if private else local.name, name)


def _private_file() -> IO[bytes]:
    """Return a nameless file in main memory, for connections that copy only files."""
    if not hasattr(os, "memfd_create"):
        raise AnsibleError(
            "this connection takes files only, and this controller has none that is not on its disk"
        )
    return os.fdopen(os.memfd_create("nixferry"), "w+b")
