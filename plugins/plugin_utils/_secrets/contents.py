# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read the contents of secrets on the controller when they are placed. They stay in its memory."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one

from .declared import STEP, Secret

COMMAND_DEADLINE = 120
"""Seconds that a command may take to print a secret; a person may have to touch a key."""
LARGEST_TOTAL = 256 * 1024 * 1024
"""Bytes of all contents that travel together."""


def read_contents(
    secrets: Sequence[Secret], read_file: Callable[[str], bytes], *, directory: str
) -> dict[str, bytes]:
    """Return the contents of ``secrets`` by name.

    ``read_file`` reads a file on the controller, and decrypts one of a vault. Of its ``OSError`` only ``strerror`` is
    shown. Commands run in ``directory`` unless the secret says another one.
    Raises ``NixferryError``, whose text holds nothing of a content.
    """
    contents: dict[str, bytes] = {}
    total = 0
    for secret in secrets:
        content = _content(secret, read_file, directory)
        total += len(content)
        if total > LARGEST_TOTAL:
            raise NixferryError(
                f"the secrets are larger than {LARGEST_TOTAL // 2**20} MiB together",
                step=STEP,
                remedy="Place them with several tasks, or send what is that large by other means.",
            )
        contents[secret.name] = content
    return contents


def _content(secret: Secret, read_file: Callable[[str], bytes], directory: str) -> bytes:
    if secret.source == "text":
        return str(secret.value).encode("utf-8", "surrogateescape")
    if secret.source == "command":
        return _output(secret, secret.working_directory or directory)
    try:
        return read_file(str(secret.value))
    except OSError as error:
        # A content may stand where the name of its file belongs, so the name is not shown.
        raise NixferryError(
            f"the file of the secret {secret.name} cannot be read: {error.strerror or type(error).__name__}",
            step=STEP,
            remedy="Write the path of a file, relative to the playbook, into `file`, and a content itself into `text`.",
        ) from None


def _output(secret: Secret, directory: str) -> bytes:
    """Return the output of the secret's command. If it fails, its standard error is shown, and nothing else."""
    try:
        ended = run_one(_argv(secret), timeout=COMMAND_DEADLINE, working_directory=directory)
    except OSError as error:
        raise _failed(secret, f"cannot be started: {error.strerror}") from None
    if ended.timed_out:
        raise _failed(secret, f"did not end within {COMMAND_DEADLINE} s")
    if ended.return_code != 0:
        raise _failed(secret, f"failed with exit code {ended.return_code}", ended.errors)
    if not ended.stdout and not secret.allow_empty:
        raise _failed(
            secret, "printed nothing", ended.errors, also="`allow_empty: true` places an empty secret. "
        )
    return ended.stdout


def _argv(secret: Secret) -> list[str]:
    command = secret.value
    try:
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    except (TypeError, ValueError):
        words = []
    if not words:
        raise _failed(secret, "is neither a list of words nor a line that can be split into words")
    return words


def _failed(secret: Secret, problem: str, output: Sequence[str] = (), *, also: str = "") -> NixferryError:
    return NixferryError(
        f"the command of the secret {secret.name} {problem}",
        step=STEP,
        remedy=f"{also}Run it by hand on the controller. It is run without a shell and cannot ask questions.",
        output=output,
    )
