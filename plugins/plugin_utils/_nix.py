# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Running Nix programs: the only place that builds a Nix command line.

Knows which program takes which general option, reads the log stream, ends what it started, and turns a
failure into an error that a user can act on. Works with Nix 2.8 and later and with Lix. The environment of
ansible-playbook reaches Nix unchanged (NIX_CONFIG, NIX_PATH, NIX_REMOTE, proxies).

Nothing here may carry a secret: arguments are visible in the process list, and whatever an expression or a
derivation holds ends in the world-readable store.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import OUTPUT_TAIL_LINES, NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._log_stream import (
    Level,
    LogEvent,
    Message,
    PlainLine,
    parse_line,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix_errors import cause_of, remedy_for
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix_process import (
    Command,
    Outcome,
    ParentWatch,
    run_all,
)

EXPERIMENTAL_FEATURES = "nix-command flakes"
# Where installers put Nix. A non-login shell (cron, a systemd unit, AWX) often has none of them on its PATH.
USUAL_DIRECTORIES = (
    "~/.nix-profile/bin",
    "/nix/var/nix/profiles/default/bin",
    "/run/current-system/sw/bin",
)
_EVALUATING_PROGRAMS = frozenset({"nix-instantiate", "nix-build"})
_LOGGING_PROGRAMS = frozenset({"nix", "nix-build", "nix-copy-closure", "nix-instantiate", "nix-store"})
_VERSION = re.compile(r"(?P<major>\d+)\.(?P<minor>\d+)")
VERSION_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class NixResult:
    """How a Nix program ended.

    ``stderr`` is the end of the log, ``errors`` are Nix's own error texts, ``messages`` is the whole log
    without what builds print, where the request asked for it.
    """

    return_code: int
    stdout: str
    stderr: str
    argv: tuple[str, ...]
    errors: tuple[str, ...] = ()
    timed_out: bool = False
    messages: tuple[str, ...] = ()

    def error(self, *, step: str, deadline_name: str = "") -> NixferryError:
        """The failure as the user should read it."""
        program = Path(self.argv[0]).name
        output = self.stderr.splitlines()
        if self.timed_out:
            return NixferryError(
                f"{deadline_name or 'the timeout'} expired while {program} was running",
                step=step,
                remedy="Raise the timeout, or look at the output for what it waited for.",
                output=output,
            )
        causes = list(dict.fromkeys(cause for cause in map(cause_of, self.errors) if cause))
        message = "\n".join(causes) or _last_line(output) or _ending(program, self.return_code)
        # Warnings of an unreachable substituter must not explain an error that has its own cause.
        remedy = remedy_for("\n".join(self.errors) or self.stderr)
        return NixferryError(message, step=step, remedy=remedy, output=output)


@dataclass(frozen=True)
class NixRequest:
    """One of several Nix programs to run side by side.

    ``deadline`` is a time of ``time.monotonic``. With ``keep_messages`` the result has all that Nix told the
    user; without, only the end of it, since a long build tells a lot.
    """

    arguments: tuple[str, ...]
    input: bytes | None = None
    deadline: float | None = None
    keep_messages: bool = False


class Nix:
    """Runs Nix programs with the same options and listener.

    ``options`` are settings of nix.conf. What is relative on a command line counts from ``working_directory``.
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
        """The same programs with another listener."""
        other = copy.copy(self)
        other._on_event = on_event
        return other

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """``arguments``, whose first is the program, with the general options that this program takes."""
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
        step: str,
        input: bytes | None = None,
        timeout: float | None = None,
        deadline_name: str = "",
        extra_environment: Mapping[str, str] | None = None,
        check: bool = True,
        output: int | IO[bytes] | None = None,
    ) -> NixResult:
        """Run one program to its end and return how it ended.

        ``timeout`` is in seconds; ``deadline_name`` says in an error which wait it was. ``output`` takes
        standard output instead of the result (``nix-store --export`` is binary and large).
        Raises ``NixferryError`` when the program is missing, when the parent has gone, and with ``check``
        when the program failed or the deadline passed.
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
        step: str,
        parallel: int,
        on_start: Callable[[NixRequest], None] | None = None,
    ) -> list[NixResult]:
        """Run several programs, at most ``parallel`` at a time; results in order, failures among them."""
        return self._run(requests, step, parallel, None, None, on_start)

    def version(self) -> tuple[int, int]:
        """The version of the ``nix-store`` on PATH, as (2, 8).

        Lix calls itself ``nix (Lix, like Nix) 2.91.0``.
        """
        if self._version is None:
            result = self.run(
                ["nix-store", "--version"],
                step="find Nix",
                timeout=VERSION_TIMEOUT_SECONDS,
                deadline_name="the wait for nix-store --version",
            )
            # The last number, since a distribution of Nix tells its own version before it, in parentheses.
            matches = list(_VERSION.finditer(result.stdout))
            if not matches:
                raise NixferryError(
                    f"nix-store --version printed {result.stdout.strip()!r}, which holds no version",
                    step="find Nix",
                )
            self._version = (int(matches[-1]["major"]), int(matches[-1]["minor"]))
        return self._version

    def find(self, program: str, *, step: str) -> str:
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
        step: str,
        parallel: int,
        extra_environment: Mapping[str, str] | None,
        output: int | IO[bytes] | None,
        on_start: Callable[[NixRequest], None] | None,
    ) -> list[NixResult]:
        readers = [_LogReader(self._on_event, request.keep_messages) for request in requests]
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
            )
        except OSError as error:
            raise NixferryError(f"Nix could not be started: {error}", step=step) from error
        return [
            reader.result(command.argv, outcome)
            for reader, command, outcome in zip(readers, commands, outcomes, strict=True)
        ]


def result_of_log(
    argv: Sequence[str],
    return_code: int,
    stdout: str,
    log: str,
    *,
    on_event: Callable[[LogEvent], None] | None = None,
    timed_out: bool = False,
) -> NixResult:
    """The result of a Nix program that ran elsewhere, on a host, from the ``log`` that it left."""
    reader = _LogReader(on_event, keep_messages=False)
    for line in log.splitlines():
        reader.line(line)
    outcome = Outcome(return_code, stdout.encode(errors="replace"), timed_out)
    return reader.result(tuple(argv), outcome)


def search_directories(environment: Mapping[str, str]) -> str:
    """PATH with the usual places of Nix at its end."""
    directories = [entry for entry in environment.get("PATH", os.defpath).split(os.pathsep) if entry]
    for directory in map(os.path.expanduser, USUAL_DIRECTORIES):
        if directory not in directories:
            directories.append(directory)
    return os.pathsep.join(directories)


class _LogReader:
    """Keeps of one program's log what an error will need, and passes the events on."""

    def __init__(self, on_event: Callable[[LogEvent], None] | None, keep_messages: bool) -> None:
        self._on_event = on_event
        self._messages: list[str] | None = [] if keep_messages else None
        self._errors: list[str] = []
        self._tail: deque[str] = deque(maxlen=4 * OUTPUT_TAIL_LINES)

    def line(self, line: str) -> None:
        event = parse_line(line)
        if event is None:
            return
        if isinstance(event, Message):
            if event.text.startswith("(use '--show-trace'"):
                # A hint about an option that the user of a playbook does not have, logged as an error.
                return
            if event.level == Level.ERROR:
                self._errors.append(event.text)
            if event.level <= Level.INFO:
                self._tail.extend(event.text.splitlines())
                if self._messages is not None:
                    self._messages.append(event.text)
        elif isinstance(event, PlainLine):
            # An error before the log format is in force (an unknown option, a broken nix.conf) is plain.
            if event.text.startswith("error:"):
                self._errors.append(event.text)
            self._tail.append(event.text)
        if self._on_event is not None:
            self._on_event(event)

    def result(self, argv: tuple[str, ...], outcome: Outcome) -> NixResult:
        return NixResult(
            return_code=outcome.return_code,
            stdout=outcome.stdout.decode("utf-8", errors="replace"),
            stderr="\n".join(self._tail),
            argv=argv,
            errors=tuple(self._errors),
            timed_out=outcome.timed_out,
            messages=tuple(self._messages or ()),
        )


def _last_line(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _ending(program: str, return_code: int) -> str:
    if return_code >= 0:
        return f"{program} ended with exit code {return_code} and said nothing"
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = str(-return_code)
    return f"{program} was ended by the signal {name}"
