# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Start the installer on a machine that runs another Linux, with nixos-anywhere's phase ``kexec``.

nixos-anywhere wants the store paths of the whole installation, but only its phase ``kexec`` is run: its further phases
check neither host keys nor disks, and wait without a limit. It logs in by itself, so it gets the address, the port, the
key and the jump hosts of Ansible's connection; it cannot use a password.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    OUTPUT_TAIL_LINES,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Command, run_all
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import (
    login_password_given,
    ssh_command_line,
    ssh_setting,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .known_hosts import DEFAULT_PORT

STEP = Step.START_INSTALLER
TIMEOUT_NAME = "timeout_kexec"
ARCHIVES = (".tar", ".tar.gz", ".tar.xz", ".tar.zst")
# Settings of ssh that lead to the machine, by their names in the output of ssh -G.
_PASSED_ON = {"proxyjump": "ProxyJump", "proxycommand": "ProxyCommand"}


@dataclass(frozen=True)
class Kexec:
    """``image`` is a tarball of nixos-images on the controller. ``program`` is nixos-anywhere."""

    program: str
    image: str
    disko_script: str
    toplevel: str
    port_after: int
    """Where the installer listens."""


def kexec_command(
    kexec: Kexec, *, user: str, address: str, port: str, key_file: str, settings: Mapping[str, str]
) -> list[str]:
    """Return the command line of nixos-anywhere. ``settings`` are further ones of ssh."""
    command = [
        kexec.program,
        "--phases",
        "kexec",
        "--store-paths",
        kexec.disko_script,
        kexec.toplevel,
        "--build-on",
        "local",
        "--kexec",
        kexec.image,
        "--ssh-port",
        port,
        "--post-kexec-ssh-port",
        str(kexec.port_after),
    ]
    if key_file:
        command += ["-i", key_file]
    for name, value in settings.items():
        command += ["--ssh-option", f"{name}={value}"]
    return [*command, "--target-host", f"{user}@{address}" if user else address]


def _command_for(shell: RemoteShell, kexec: Kexec) -> list[str]:
    if not shell.is_ssh:
        raise NixferryError(
            f"nixos-anywhere logs in with ssh, and the connection is {shell.transport}", step=STEP
        )
    if login_password_given(shell.connection):
        raise NixferryError(
            "the login uses a password, which nixos-anywhere would read from its environment",
            step=STEP,
            remedy="Log in with a key (ansible_ssh_private_key_file), or boot the machine from an installer. "
            "Nothing was changed.",
        )
    if not kexec.image.endswith(ARCHIVES):
        raise NixferryError(
            f"{kexec.image} does not end with one of {', '.join(ARCHIVES)}",
            step=STEP,
            remedy="nixos-anywhere tells by the name how to unpack the image. Nothing was changed.",
            where=CONTROLLER,
        )
    for what, path in (
        ("the image", kexec.image),
        ("the disko script", kexec.disko_script),
        ("the system", kexec.toplevel),
    ):
        if not Path(path).exists():
            raise NixferryError(
                f"{what} is not on the controller: {path}",
                step=STEP,
                remedy="nixos-anywhere reads it there. Build on the controller, and fetch the image beforehand. "
                "Nothing was changed.",
                where=CONTROLLER,
            )
    line = ssh_command_line(shell.connection)
    shown = {name: ssh_setting(line, name) or "" for name in ("user", "hostname", "port", *_PASSED_ON)}
    key = str(shell.connection.get_option("private_key_file") or "")
    return kexec_command(
        kexec,
        user=shown["user"],
        address=shown["hostname"] or line[-1],
        port=shown["port"] or DEFAULT_PORT,
        key_file=str(Path(key).expanduser()) if key else "",
        settings={name: shown[word] for word, name in _PASSED_ON.items() if shown[word] not in ("", "none")},
    )


def start_installer(shell: RemoteShell, kexec: Kexec, *, seconds: int, progress: Progress) -> None:
    """Replace the running system of the machine by the installer, in its memory. Raises ``NixferryError``."""
    command = _command_for(shell, kexec)
    output: deque[str] = deque(maxlen=OUTPUT_TAIL_LINES)

    def note(_index: int, line: str) -> None:
        output.append(clean_line(line))
        if line.startswith("### "):
            progress.line(clean_line(line).strip("# "))

    environment = {
        name: value for name, value in os.environ.items() if name not in ("SSHPASS", "SSH_PRIVATE_KEY")
    }
    progress.phase("starting the installer with nixos-anywhere")
    try:
        outcome = run_all(
            [Command(tuple(command), environment, deadline=time.monotonic() + seconds)], on_line=note
        )[0]
    except OSError as error:
        raise NixferryError(
            f"nixos-anywhere cannot be started: {error.strerror}",
            step=STEP,
            remedy=f"Install it on the controller, or say in `nixos_anywhere` where it is (now {kexec.program}). "
            "Nothing was changed.",
            where=CONTROLLER,
        ) from None
    said = [*outcome.stdout.decode("utf-8", "replace").splitlines()[-OUTPUT_TAIL_LINES:], *output]
    if outcome.timed_out:
        raise _failed(f"nixos-anywhere did not end within {TIMEOUT_NAME} ({seconds} s)", said)
    if outcome.return_code != 0:
        raise _failed(f"nixos-anywhere ended with exit code {outcome.return_code}", said)


def _failed(cause: str, output: Sequence[str]) -> NixferryError:
    return NixferryError(
        cause,
        step=STEP,
        remedy="`output` has what it said. The disks are unchanged: after a reboot the machine has its old system, "
        "unless the installer has come up and only cannot be reached (see `login`).",
        output=output,
        where=CONTROLLER,
    )
