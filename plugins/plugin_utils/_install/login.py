# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The logins to a machine that changes its system: to the installer, and to the new system that is known by its key."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    RemoteShell,
    controller_temporary,
)

from .known_hosts import host_names, is_public_key, known_hosts_text
from .look import NOTHING, STEP

LOGIN_OPTIONS: dict[str, dict[str, Any]] = {
    "user": {"type": "str"},
    "port": {"type": "int"},
    "host_key": {"type": "str"},
    "check_host_key": {"type": "bool", "default": True},
}


@dataclass(frozen=True)
class InstallerLogin:
    """How the login to the installer differs from that to the new system, which the inventory describes."""

    user: str = ""
    port: int | None = None
    host_key: str = ""
    """The public key that the installer shows; empty: what known_hosts says."""
    check_host_key: bool = True

    @property
    def differs(self) -> bool:
        """Whether it differs at all."""
        return self != InstallerLogin()


def installer_login(given: Mapping[str, Any] | None) -> InstallerLogin:
    """Return the login in the option ``login``. Raises ``NixferryError`` for what is not a key."""
    if not given:
        return InstallerLogin()
    key = " ".join(str(given.get("host_key") or "").split()[:2])
    if given.get("host_key") and not is_public_key(key):
        raise NixferryError(
            "the `host_key` of `login` is not a public key of OpenSSH",
            step=STEP,
            remedy=f"Write it as in a file ssh_host_ed25519_key.pub. {NOTHING}",
        )
    if key and not given["check_host_key"]:
        raise NixferryError(
            "`login` has a `host_key` and says not to check it", step=STEP, remedy=f"Leave one out. {NOTHING}"
        )
    return InstallerLogin(str(given.get("user") or ""), given.get("port"), key, bool(given["check_host_key"]))


@contextlib.contextmanager
def on_installer(shell: RemoteShell, login: InstallerLogin) -> Iterator[RemoteShell]:
    """Let ``shell`` log in to the installer within the block."""
    if not login.differs:
        yield shell
        return
    changes: dict[str, Any] = {}
    if login.user:
        changes["remote_user"] = login.user
    if login.port is not None:
        changes["port"] = login.port
    if not shell.is_ssh:
        with shell.connected(changes):
            yield shell
        return
    with contextlib.ExitStack() as stack:
        first: list[str] = []
        if login.host_key:
            first = stack.enter_context(_knowing(shell, [login.host_key], port=login.port))
        elif not login.check_host_key:
            first = ["-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"]
        if first:
            # A connection that was opened without this check must not be used.
            about = hashlib.sha256(f"{shell.host} {login}".encode()).hexdigest()[:12]
            changes["control_path"] = f"%(directory)s/{about}"
        stack.enter_context(shell.connected(changes, first=first))
        yield shell


@contextlib.contextmanager
def on_new_system(shell: RemoteShell, host_keys: Sequence[str]) -> Iterator[RemoteShell]:
    """Let ``shell`` log in with a brand-new connection, to a host that shows one of ``host_keys`` only.

    Without keys, or over other connections than ssh, the settings of the inventory decide.
    """
    if not host_keys or not shell.is_ssh:
        with shell.fresh():
            yield shell
        return
    with _knowing(shell, host_keys) as first, shell.connected({}, first=first, fresh=True):
        yield shell


@contextlib.contextmanager
def _knowing(shell: RemoteShell, keys: Sequence[str], *, port: int | None = None) -> Iterator[list[str]]:
    """Yield arguments of ssh that accept ``keys`` only."""
    with tempfile.TemporaryDirectory(prefix="nixferry-keys-", dir=controller_temporary()) as directory:
        file = Path(directory) / "known_hosts"
        file.write_text(
            known_hosts_text("", host_names(shell, port=port), keys, replace=True), encoding="utf-8"
        )
        yield [
            f"""-o 'UserKnownHostsFile="{file}"' -o GlobalKnownHostsFile=/dev/null -o KnownHostsCommand=none"""
            " -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o CheckHostIP=no -o VerifyHostKeyDNS=no"
        ]
