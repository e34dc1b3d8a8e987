# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Keep the public keys of a host in the user's known_hosts file."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.lock import wait_for_lock
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import ssh_command_line, ssh_setting

STEP = Step.KNOW_HOST
LOCK_SECONDS = 60
POLL_SECONDS = 0.1
DEFAULT_PORT = "22"
_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{40,2000}={0,2}")
_MARKER_FIELDS = 3


def is_public_key(text: str) -> bool:
    """Whether ``text`` is type and content of a public key, nothing else."""
    return _KEY.fullmatch(text) is not None


def host_names(shell: RemoteShell, *, port: int | None = None) -> list[str]:
    """Return the names by which ssh looks up the key of the host, with ``port`` instead of the connection's."""
    command = ssh_command_line(shell.connection)
    alias = ssh_setting(command, "hostkeyalias")
    if alias and alias != "none":
        return [alias]
    name = ssh_setting(command, "hostname") or command[-1]
    number = str(port or ssh_setting(command, "port") or DEFAULT_PORT)
    return [name if number == DEFAULT_PORT else f"[{name}]:{number}"]


def known_hosts_file(shell: RemoteShell) -> Path | None:
    """Return the first file in which ssh looks for keys of hosts; None if it keeps none."""
    shown = ssh_setting(ssh_command_line(shell.connection), "userknownhostsfile") or ""
    # ssh prints a name with spaces in it without quotes.
    whole = Path(shown)
    if shown.startswith("/") and whole.is_file():
        return None if shown == os.devnull else whole
    try:
        first = next(iter(shlex.split(shown)), "")
    except ValueError:
        first = ""
    if not first.startswith("/") or first == os.devnull:
        return None
    return Path(first)


def known_hosts_text(text: str, names: Sequence[str], keys: Sequence[str], *, replace: bool) -> str:
    """Return the ``text`` of a known_hosts file in which ``names`` have ``keys``; with ``replace`` no others."""
    wanted = {key: set(names) for key in keys}
    lines = []
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith(("#", "@")) or len(fields) < _MARKER_FIELDS:
            lines.append(line)
            continue
        key = " ".join(fields[1:_MARKER_FIELDS])
        ours = [name for name in names if _matches(fields[0], name)]
        if key in wanted:
            wanted[key] -= set(ours)
        elif replace and ours:
            # Other names of the same line keep their key.
            rest = [part for part in fields[0].split(",") if not any(_matches(part, name) for name in ours)]
            if not rest:
                continue
            line = " ".join([",".join(rest), *fields[1:]])
        lines.append(line)
    for key, missing in wanted.items():
        lines += [f"{name} {key}" for name in names if name in missing]
    return "".join(f"{line}\n" for line in lines)


def _matches(pattern: str, name: str) -> bool:
    """Whether one of the names of a line is ``name``. Patterns with wildcards are for other hosts as well."""
    if pattern.startswith("|1|"):
        _empty, _one, salt, digest = (*pattern.split("|"), "", "", "")[:4]
        with contextlib.suppress(ValueError):
            made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(made, base64.b64decode(digest))
        return False
    return name in pattern.split(",")


@dataclass(frozen=True)
class KnownHost:
    """The names of a host in a known_hosts file; without a ``file`` its keys are kept nowhere."""

    file: Path | None
    names: Sequence[str]

    def keep(self, keys: Sequence[str], *, replace: bool) -> None:
        """Put ``keys`` into the file; with ``replace`` instead of the host's others. Raises ``NixferryError``."""
        if self.file is not None and keys:
            write_known_hosts(self.file, self.names, keys, replace=replace)


def write_known_hosts(file: Path, names: Sequence[str], keys: Sequence[str], *, replace: bool) -> bool:
    """Put ``keys`` into ``file``, replaced as a whole, and return whether that changed it. Raises ``NixferryError``."""
    try:
        file = file.resolve()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (file.parent / f".{file.name}.nixferry-lock").open("w") as lock:
            wait_for_lock(
                lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB),
                timeout=LOCK_SECONDS,
                poll=POLL_SECONDS,
                expired=NixferryError(
                    f"{file} has been locked for {LOCK_SECONDS} s", step=STEP, where=CONTROLLER
                ),
            )
            return _replace(file, names, keys, replace=replace)
    except OSError as error:
        raise NixferryError(
            f"{file} cannot be written: {error.strerror}",
            step=STEP,
            remedy="Let this user write it, or name another file in `known_hosts`.",
            where=CONTROLLER,
        ) from None


def _replace(file: Path, names: Sequence[str], keys: Sequence[str], *, replace: bool) -> bool:
    old = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    new = known_hosts_text(old, names, keys, replace=replace)
    if new == old:
        return False
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as output:
            output.write(new)
            output.flush()
            if file.exists():
                os.fchmod(output.fileno(), file.stat().st_mode & 0o777)
            os.fsync(output.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
