# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run Nix programs: the only place that builds a Nix command line.

It knows which program takes which general option, reads the log stream, ends its child processes, and turns a
failure into an error that a user can act on. Works with Nix 2.8 and later and with Lix. The environment of
ansible-playbook reaches Nix unchanged (NIX_CONFIG, NIX_PATH, NIX_REMOTE, proxies).

Never pass a secret here: arguments are visible in the process list, and the content of an expression or a derivation
ends in the world-readable store.
"""

from __future__ import annotations

import copy
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.parent import ParentWatch
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Command, run_all

from .log_stream import LogEvent, is_error
from .result import (
    LogReader,
    NixResult,
    result_of_log,
)

__all__ = ["Nix", "NixRequest", "NixResult", "result_of_log", "search_directories"]

EXPERIMENTAL_FEATURES = "nix-command flakes"
# The directories of installers. A non-login shell (cron, a systemd unit, AWX) often has none of them on its PATH.
USUAL_DIRECTORIES = (
    "~/.nix-profile/bin",
    "/nix/var/nix/profiles/default/bin",
    "/run/current-system/sw/bin",
)
_EVALUATING_PROGRAMS = frozenset({"nix-instantiate", "nix-build", "nix-eval-jobs"})
_LOGGING_PROGRAMS = frozenset(
    {"nix", "nix-build", "nix-copy-closure", "nix-eval-jobs", "nix-instantiate", "nix-store"}
)
_VERSION = re.compile(r"(?P<major>\d+)\.(?P<minor>\d+)")
VERSION_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class NixRequest:
    """One of several Nix programs to run side by side.

    ``deadline`` is a time of ``time.monotonic``. With ``keep_messages`` the result has all of Nix's messages; without,
    only the last ones, since a long build prints many.
    """

    arguments: tuple[str, ...]
    input: bytes | None = None
    deadline: float | None = None
    keep_messages: bool = False


class Nix:
    """Runs Nix programs with the same options and listener.

    ``options`` are settings of nix.conf. ``working_directory`` is the base of relative paths on a command line.
    ``on_event`` gets every log event of every program, ``on_tick`` is called a few times a second while one
    runs.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, str] | None = None,
        on_event: Callable[[LogEvent], None] | None = None,
        on_tick: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
    ) -> None:
        self._options = dict(options or {})
        self._on_event = on_event
        self._on_tick = on_tick
        self._environment = {**os.environ, **(environment or {})}
        self._environment["PATH"] = search_directories(self._environment)
        self._working_directory = working_directory
        self._watch = ParentWatch()
        self._version: tuple[int, int] | None = None

    def listening(self, on_event: Callable[[LogEvent], None]) -> Nix:
        """Return the same programs with another listener."""
        other = copy.copy(self)
        other._on_event = on_event
        return other

    def trying(self) -> Nix:
        """Return the same programs for a question that may fail: its errors do not reach the listener."""
        told = self._on_event
        return self.listening(lambda event: None if told is None or is_error(event) else told(event))

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """Return ``arguments``, whose first is the program, with the general options of this program."""
        program, *rest = map(str, arguments)
        line = [program]
        if program == "nix" or program in _EVALUATING_PROGRAMS:
            line += ["--extra-experimental-features", EXPERIMENTAL_FEATURES]
        if program in _LOGGING_PROGRAMS:
            line += ["--log-format", "internal-json", "-v"]
        for name, value in self._options.items():
            line += ["--option", name, value]
        return line + rest

    def run(
        self,
        arguments: Sequence[str],
        *,
        step: Step,
        input: bytes | None = None,
        timeout: float | None = None,
        deadline_name: str = "",
        extra_environment: Mapping[str, str] | None = None,
        check: bool = True,
        output: int | IO[bytes] | None = None,
    ) -> NixResult:
        """Run one program to its end and return how it ended.

        ``timeout`` is in seconds; ``deadline_name`` names the wait in an error. ``output`` takes
        standard output instead of the result (``nix-store --export`` is binary and large).
        Raises ``NixferryError`` if the program is missing, if the parent is gone, and with ``check``
        if the program failed or the deadline passed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        request = NixRequest(tuple(arguments), input=input, deadline=deadline)
        result = self._run([request], step, 1, extra_environment, output, None)[0]
        if check and (result.return_code != 0 or result.timed_out):
            raise result.error(step=step, deadline_name=deadline_name)
        return result

    def run_many(
        self,
        requests: Sequence[NixRequest],
        *,
        step: Step,
        parallel: int,
        on_start: Callable[[NixRequest], None] | None = None,
        may_start: Callable[[Sequence[int]], bool] | None = None,
    ) -> list[NixResult]:
        """Run several programs, at most ``parallel`` at a time; results in order, failures among them.

        ``may_start`` is as in ``run_all``: with it the results have the memory that the programs took.
        """
        return self._run(requests, step, parallel, None, None, on_start, may_start)

    def version(self) -> tuple[int, int]:
        """Return the version of the ``nix-store`` on PATH, such as (2, 8).

        Lix prints ``nix (Lix, like Nix) 2.91.0``.
        """
        if self._version is None:
            result = self.run(
                ["nix-store", "--version"],
                step=Step.FIND_NIX,
                timeout=VERSION_TIMEOUT_SECONDS,
                deadline_name="the wait for nix-store --version",
            )
            # The last number, since a distribution of Nix prints its own version before it, in parentheses.
            matches = list(_VERSION.finditer(result.stdout))
            if not matches:
                raise NixferryError(
                    f"nix-store --version printed {result.stdout.strip()!r}, which contains no version",
                    step=Step.FIND_NIX,
                )
            self._version = (int(matches[-1]["major"]), int(matches[-1]["minor"]))
        return self._version

    def has(self, program: str) -> bool:
        """Return True if ``program`` exists."""
        return shutil.which(program, path=self._environment["PATH"]) is not None

    def find(self, program: str, *, step: Step) -> str:
        """The absolute path of a Nix program. Raises ``NixferryError`` when there is none."""
        found = shutil.which(program, path=self._environment["PATH"])
        if found is None:
            raise NixferryError(
                f"{program} was not found on the controller",
                step=step,
                remedy="Install Nix on the controller, or put the directory of its programs on the PATH of "
                f"ansible-playbook. Searched: {self._environment['PATH']}.",
            )
        return found

    def _run(
        self,
        requests: Sequence[NixRequest],
        step: Step,
        parallel: int,
        extra_environment: Mapping[str, str] | None,
        output: int | IO[bytes] | None,
        on_start: Callable[[NixRequest], None] | None,
        may_start: Callable[[Sequence[int]], bool] | None = None,
    ) -> list[NixResult]:
        readers = [LogReader(self._on_event, request.keep_messages) for request in requests]
        commands = []
        for request in requests:
            line = self.command_line(request.arguments)
            line[0] = self.find(line[0], step=step)
            commands.append(
                Command(
                    argv=tuple(line),
                    environment={**self._environment, **(extra_environment or {})},
                    input=request.input,
                    deadline=request.deadline,
                    working_directory=self._working_directory,
                    output=output,
                )
            )
        try:
            outcomes = run_all(
                commands,
                parallel=parallel,
                watch=self._watch,
                on_line=lambda index, line: readers[index].line(line),
                on_start=lambda index: on_start(requests[index]) if on_start else None,
                on_tick=self._on_tick,
                may_start=may_start,
            )
        except OSError as error:
            remedy = (
                "Pass less data to it, for instance in `specialargs`." if error.errno == errno.E2BIG else ""
            )
            raise NixferryError(f"Nix could not be started: {error}", step=step, remedy=remedy) from error
        directory = self._working_directory or str(Path.cwd())
        return [
            replace(reader.result(command.argv, outcome), directory=directory, peak_mib=outcome.peak_mib)
            for reader, command, outcome in zip(readers, commands, outcomes, strict=True)
        ]


def search_directories(environment: Mapping[str, str]) -> str:
    """Return PATH with the usual directories of Nix at its end."""
    directories = [entry for entry in environment.get("PATH", os.defpath).split(os.pathsep) if entry]
    for directory in map(os.path.expanduser, USUAL_DIRECTORIES):
        if directory not in directories:
            directories.append(directory)
    return os.pathsep.join(directories)
