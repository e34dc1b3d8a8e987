# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The machine as an installation finds it: with which login, and what it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .login import InstallerLogin, on_installer
from .look import INSTALLED, INSTALLER, MANAGED, Disk, Look, chosen_disks, devices_in, identity, look
from .options import InstallOptions

PAUSE_SECONDS = 3.0
# The installer that kexec starts knows no other.
KEXEC_USER = "root"


class Session:
    """What the steps have in common."""

    def __init__(self, shell: RemoteShell, options: InstallOptions, progress: Progress) -> None:
        self.shell = shell
        self.options = options
        self.progress = progress

    @contextlib.contextmanager
    def found(self) -> Iterator[Look]:
        """Yield what the machine is, with the login that it answers to within the block.

        The new system's login is tried first: a machine that is a host already must be left alone. Then that of
        ``login``, and that of an installer that kexec has started.
        """
        login = self.options.login
        logins = [InstallerLogin(), login] if login.differs else [login]
        started = replace(login, user=KEXEC_USER, port=self.options.given["kexec_port"])
        if self.options.given["kexec"] and self.shell.is_ssh:
            logins.append(started)
        failed: list[HostUnreachable] = []
        for candidate in dict.fromkeys(logins):
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(on_installer(self.shell, candidate))
                    seen = self.look()
                except HostUnreachable as error:
                    # What the user has said of the installer matters more than the rest.
                    failed.insert(0 if candidate == login else len(failed), error)
                    continue
                if candidate in (login, started) or seen.state in (INSTALLED, MANAGED):
                    yield seen
                    return
        # One that answers as what it is for has been yielded.
        raise failed[0]

    def look(self) -> Look:
        """Look at the machine with the present login."""
        options = self.options
        return look(
            self.shell,
            mount_point=options.mount_point,
            script=options.script,
            devices=devices_in(options.script) if options.script else (),
        )

    def chosen(self, seen: Look, *, script: str, known: bool) -> list[tuple[str, Disk]]:
        """Return the disks that may be formatted. Raises ``NixferryError``."""
        return chosen_disks(
            seen,
            self.options.disks,
            self.options.confirm,
            script=script,
            script_known=known,
            mount_point=self.options.mount_point,
        )

    @property
    def formatted(self) -> str:
        """What is recorded once the disks are formatted."""
        return identity(self.options.script, self.options.disks)

    def wait_for_installer(self, deadline: float) -> None:
        self.progress.phase("waiting for the installer")
        while True:
            try:
                with self.found() as seen:
                    if seen.state == INSTALLER:
                        return
                    said = f"it runs {seen.name or 'an unknown system'}"
            except HostUnreachable as error:
                said = error.headline
            if time.monotonic() > deadline:
                raise NixferryError(
                    f"the installer did not answer within timeout_kexec: {said}",
                    step=Step.START_INSTALLER,
                    remedy="Look at the machine's console: the installer lets root in with the keys and the host keys "
                    "that the old system had. The disks are unchanged; a reboot brings the old system back.",
                )
            time.sleep(PAUSE_SECONDS)

    def check_installer(self, seen: Look) -> None:
        """Raise ``NixferryError`` unless the machine runs the installer."""
        if seen.state != INSTALLER:
            raise NixferryError(
                f"the machine runs {seen.name or 'an unknown system'}, not an installer of NixOS",
                step=Step.LOOK_AT_MACHINE,
                remedy="Run the installation again from its first step. Nothing was changed.",
            )
