# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Choose the transport of store paths to a host, and call ssh exactly as Ansible does.

Nix starts ``ssh`` itself and lets the caller add options through NIX_SSHOPTS only, which Nix 2.8 splits at
spaces and later versions like a shell, and it reads ``remote-program`` as one word or several depending on the
version (src/libstore/ssh.cc, legacy-ssh-store.cc). It does not support privilege escalation. Therefore a small program
named ``ssh`` comes first on the search path of Nix: for one invented host name it runs exactly the command line that
Ansible's connection would run, and for any other host the real ssh. Port, key, jump hosts, multiplexing, become and a
user name with an odd character then need no translation.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    RemoteShell,
    controller_temporary,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import EXTEND_SEARCH_PATH
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import (
    login_password_given,
    master_runs,
    ssh_command_line,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import search_directories

# The host in the store address. Not "localhost", for which Nix starts no ssh at all.
TARGET_ALIAS = "nixferry-target"


# macOS has no such flag.
_ST_NOEXEC = getattr(os, "ST_NOEXEC", 0)


class Transport(Enum):
    """A transport to the store of the host."""

    SSH = "ssh"
    """Nix's own protocol, over ssh."""
    STREAM = "stream"
    """Exported paths on the standard input of a command, over any connection."""
    LOCAL = "local"
    """The host is the controller itself."""


def choose_transport(shell: RemoteShell) -> Transport:
    """Return the transport for the host of ``shell``. A first command must have opened the multiplexed connection."""
    if shell.transport == "local":
        return Transport.LOCAL
    # A connection plugin named ssh need not be the one of ansible-core.
    if not shell.is_ssh or not hasattr(shell.connection, "_build_command"):
        return Transport.STREAM
    if shell.becomes and (become_password_given(shell) or shell.needs_terminal):
        return Transport.STREAM
    if login_password_given(shell.connection) and not master_runs(ssh_command_line(shell.connection)):
        return Transport.STREAM
    return Transport.SSH


def become_password_given(shell: RemoteShell) -> bool:
    """Return True if privilege escalation asks for a password, which Nix could not answer."""
    return bool(shell.connection.become.get_option("become_pass"))


def privileged_command(shell: RemoteShell, command: str) -> str:
    """Return ``command`` for the remote login shell, run as the become user of the task.

    The escalation program prints a marker on standard output; a reader of binary data must skip it.
    """
    connection = shell.connection
    connection._shell.executable = "/bin/sh"
    if shell.becomes:
        command = str(connection.become.build_become_command(command, connection._shell))
    return "/bin/sh -c " + shlex.quote(command)


def render_ssh_program(command: Sequence[str], *, marker: str, search_path: str) -> str:
    """Return the text of the program that Nix runs as ssh.

    ``command`` is complete, with the remote command, which prints ``marker`` on a line of its own when Nix's
    protocol begins. ``search_path`` contains the real ssh.
    """
    return f"""#!/bin/sh
# Replaces ssh while a copy runs; removed afterwards.
PATH={shlex.quote(search_path)}
export PATH
ours='' announce=''
for word do
    case $word in
    {TARGET_ALIAS}) ours=1 ;;
    '-oLocalCommand=echo started') announce=1 ;;
    esac
done
[ -n "$ours" ] || exec ssh "$@"
# "ssh -O check": if Nix believes that no master runs, it waits for the word that follows.
[ "$1" != -O ] || exit 1
[ -z "$announce" ] || echo started
{shlex.join(command)} | {{
    # Skip what a login script or sudo prints before the protocol begins.
    while IFS= read -r line; do
        case $line in
        *{marker}) exec cat ;;
        esac
    done
    exit 1
}}
"""


@contextlib.contextmanager
def ssh_program(shell: RemoteShell, remote: str, *, compress: bool | None) -> Iterator[Path]:
    """Yield a directory for Nix's search path, with a program ``ssh`` that runs the sh text ``remote`` on the host.

    ``remote`` must end in ``exec``; it runs with the privileges of the task, after the search path was
    extended. ``compress`` is that of ``ssh_command_line``. The directory is removed when the block is left. It contains
    no secret.
    """
    marker = f"nixferry-{secrets.token_hex(8)}"
    script = f"{shell.search_path}{EXTEND_SEARCH_PATH}; echo {marker}; {remote}"
    command = [
        *ssh_command_line(shell.connection, compress=compress),
        privileged_command(shell, f"/bin/sh -c {shlex.quote(script)}"),
    ]
    text = render_ssh_program(command, marker=marker, search_path=os.environ.get("PATH", os.defpath))
    directory = Path(tempfile.mkdtemp(prefix="nixferry-ssh-", dir=_executable_directory()))
    try:
        program = directory / "ssh"
        descriptor = os.open(program, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def search_path_with(directory: Path) -> str:
    """Return the search path of Nix with ``directory`` first."""
    return f"{directory}{os.pathsep}{search_directories(os.environ)}"


def _executable_directory() -> str:
    """Return a directory for temporary programs: Ansible's own, unless its file system forbids execution."""
    candidates = [controller_temporary(), tempfile.gettempdir(), str(Path.home())]
    for candidate in candidates:
        with contextlib.suppress(OSError):
            if not os.statvfs(candidate).f_flag & _ST_NOEXEC:
                return candidate
    raise NixferryError(
        f"no program can be started from any of {', '.join(candidates)}",
        step=Step.COPY,
        remedy="Set local_tmp in ansible.cfg to a directory on a file system that is not mounted noexec.",
    )
