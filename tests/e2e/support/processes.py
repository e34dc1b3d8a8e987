# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of this machine that tests run, and conditions that they wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# How many times as long the tests wait on a machine that is busy with other work.
PATIENCE = float(os.environ.get("NIXFERRY_TEST_PATIENCE") or 1)
POLL_SECONDS = 0.2  # between two looks at a condition
COMMAND_DEADLINE = 120  # seconds for one command of a test
WAKE_SECONDS = 5.0  # between two looks whether a program was stopped


def wait_until(condition: Callable[[], bool], *, deadline: float, what: str) -> None:
    """Poll `condition` until it holds; raises TimeoutError naming `what` after `deadline` seconds."""
    end = time.monotonic() + deadline * PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline} s")
        time.sleep(POLL_SECONDS)


def nix_environment() -> dict[str, str]:
    """Environment variables that let Nix build here.

    Root on a machine without build users (Debian's nix-bin alone) builds by itself; there is no network.
    """
    settings = ["substituters ="]
    if os.geteuid() == 0:
        settings += ["build-users-group =", "sandbox = false"]
    return {"NIX_CONFIG": "\n".join(settings)}


def run(
    arguments: Sequence[str],
    *,
    input: str | None = None,
    check: bool = True,
    timeout: float = COMMAND_DEADLINE,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program; raises AssertionError with its output when `check` and it fails."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        cwd=directory,
    ) as process:
        try:
            output, errors = _communicate(process, input, timeout * PATIENCE)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(list(arguments), process.returncode, output, errors)
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(arguments)} failed with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done


def _communicate(process: subprocess.Popen[str], input: str | None, timeout: float) -> tuple[str, str]:
    """Send input and wait for the output; raises subprocess.TimeoutExpired after ``timeout`` seconds.

    A host that shuts down stops all of its processes for a moment, to kill them one by one. `nsenter` stops with the
    one that it has started there, and nothing would ever continue it.
    """
    given: str | None = input
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(given, timeout=max(0.0, min(left, WAKE_SECONDS)))
        except subprocess.TimeoutExpired:
            if left <= WAKE_SECONDS:
                raise
            given = None
            if _is_stopped(process.pid):
                process.send_signal(signal.SIGCONT)


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
