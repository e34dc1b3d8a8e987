# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks that run while a test does something else, and what can happen to them."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import PATIENCE
from processes import wait_until
from project import PlaybookRun, Project

END_DEADLINE = 150  # seconds until a playbook that is waited for must have ended
KILLED_DEADLINE = 20  # seconds until nothing of a killed playbook may be left

# Every process that a playbook starts inherits this variable, in whatever session and however long it lives.
MARK = "NIXFERRY_TEST_RUN"


class Background:
    """A playbook that runs on this machine."""

    def __init__(self, project: Project, playbook: list[Any], *arguments: str) -> None:
        argv, settings = project.prepare(playbook, *arguments)
        self._project = project
        self._mark = f"{MARK}={secrets.token_hex(8)}"
        self._output = project.directory / "output"
        name, _separator, value = self._mark.partition("=")
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=project.directory,
                env={**os.environ, **settings, name: value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def finish(self, deadline: float = END_DEADLINE) -> PlaybookRun:
        """Wait for its end; raises AssertionError with its output so far after `deadline` seconds."""
        try:
            self._process.wait(timeout=deadline * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the playbook did not end within {deadline} s\n{self._output.read_text()}"
            ) from None
        return self.so_far()

    def so_far(self) -> PlaybookRun:
        """What it has printed and recorded up to now; the return code is -1 while it runs."""
        code = self._process.poll()
        done = subprocess.CompletedProcess(
            self._process.args, -1 if code is None else code, self._output.read_text(errors="replace"), ""
        )
        return self._project.collect(done)

    def kill(self) -> None:
        """End at once the playbook with all its children."""
        wait_until(
            lambda: not self._kill_once(), deadline=KILLED_DEADLINE, what="the playbook's processes are gone"
        )
        self._process.wait()

    def kill_main(self) -> None:
        """End at once the playbook's first process alone, as the kernel does when memory runs out."""
        self._process.kill()
        self._process.wait()

    def kill_ssh(self) -> None:
        """End at once the connections that the playbook has open."""
        assert self._kill_once("ssh"), "there is no connection"

    def _kill_once(self, name: str = "") -> bool:
        found = [pid for pid in self._processes() if name in ("", _name(pid))]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A zombie goes away when it is asked for.
        self._process.poll()
        return bool(found)

    def _processes(self) -> Iterator[int]:
        mark = self._mark.encode()
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                # A zombie has no environment; a process may end meanwhile.
                with contextlib.suppress(OSError):
                    if mark in (directory / "environ").read_bytes().split(b"\0"):
                        yield int(directory.name)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextmanager
def in_background(project: Project, playbook: list[Any], *arguments: str) -> Iterator[Background]:
    """Start a playbook; nothing of it is left at the end of the block."""
    running = Background(project, playbook, *arguments)
    try:
        yield running
    finally:
        running.kill()
