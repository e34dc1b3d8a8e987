# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read from its log how a Nix program ended: on the controller as it runs, or on a host afterwards."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    OUTPUT_TAIL_LINES,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Outcome

from .explain import cause_of, remedy_for
from .fetches import Fetches, without_passwords
from .flake_files import missing_file_remedy
from .log_stream import (
    TRACE,
    WARNING,
    Level,
    LogEvent,
    Message,
    PlainLine,
    parse_line,
)
from .warnings import evaluation_warning

# An error before the log format is in force, as Nix prints it or as the C++ library does for it.
_EARLY = re.compile(r"(?:\s*what\(\):\s*)?(?P<error>error:.*)")


# The first ones explain. The log may come from another machine, and have no end.
ERRORS_KEPT = 2000


@dataclass(frozen=True)
class NixResult:
    """How a Nix program ended.

    ``stderr`` is the end of the log, ``errors`` are Nix's own error texts, ``messages`` is the whole log
    without the output of builds, if the request asked for it. Warnings of an evaluation are in none of them: they go
    to the listener (``EvaluationWarnings``).
    """

    return_code: int
    stdout: str
    stderr: str
    argv: tuple[str, ...]
    errors: tuple[str, ...] = ()
    timed_out: bool = False
    messages: tuple[str, ...] = ()
    where: str = CONTROLLER
    """The machine that it ran on, as in ``NixferryError``."""
    directory: str = ""
    """The directory of relative paths on the command line."""
    fetches: Fetches | None = None
    """What it fetched with git, to explain a failure."""
    peak_mib: int = 0
    """The most memory that it has held, in MiB; 0 if that was not measured."""

    def error(self, *, step: Step, deadline_name: str = "") -> NixferryError:
        """The failure as the user should read it."""
        program = Path(self.argv[0]).name
        output = self.stderr.splitlines()
        if self.timed_out:
            return NixferryError(
                f"{deadline_name or 'the timeout'} expired while {program} was running",
                step=step,
                remedy="Raise the timeout, or see in the output what it waited for.",
                output=output,
                where=self.where,
            )
        causes = list(dict.fromkeys(cause for cause in map(cause_of, self.errors) if cause))
        causes = [self.fetches.told(cause) for cause in causes] if self.fetches else causes
        message = "\n".join(causes) or _last_line(output) or _ending(program, self.return_code)
        # Warnings of an unreachable substituter must not explain an error that has its own cause. A fetch is
        # explained by the words of git, which are in the message only.
        said = "\n".join((*self.errors, message)) if self.errors else "\n".join((self.stderr, message))
        remedy = missing_file_remedy(said, self.argv, self.directory) or remedy_for(
            said, of_inventory=step == Step.READ_FLEET, directory=self.directory
        )
        return NixferryError(message, step=step, remedy=remedy, output=output, where=self.where)


def result_of_log(
    argv: Sequence[str],
    return_code: int,
    stdout: str,
    log: str,
    *,
    on_event: Callable[[LogEvent], None] | None = None,
    timed_out: bool = False,
    where: str = "",
) -> NixResult:
    """Return the result of a Nix program that ran on a host, from its ``log``."""
    reader = LogReader(on_event, keep_messages=False)
    for line in log.splitlines():
        reader.line(line)
    outcome = Outcome(return_code, stdout.encode(errors="replace"), timed_out)
    return replace(reader.result(tuple(argv), outcome), where=where)


class LogReader:
    """Keeps the parts of a program's log that an error needs, and passes the events on."""

    def __init__(self, on_event: Callable[[LogEvent], None] | None, keep_messages: bool) -> None:
        self._on_event = on_event
        self._messages: list[str] | None = [] if keep_messages else None
        self._errors: list[str] = []
        self._fetches = Fetches()
        self._tail: deque[str] = deque(maxlen=4 * OUTPUT_TAIL_LINES)

    def line(self, line: str) -> None:
        event = parse_line(line)
        if event is None:
            return
        self._fetches.event(event)
        if isinstance(event, Message | PlainLine):
            event = replace(event, text=without_passwords(event.text))
        if isinstance(event, Message):
            if event.text.startswith("(use '--show-trace'"):
                # A hint, logged as an error, about an option that playbook users do not have.
                return
            if event.level == Level.ERROR:
                self._error(event.text)
            if event.level <= Level.INFO and not evaluation_warning(event.text):
                self._tail.extend(event.text.splitlines())
                if self._messages is not None:
                    self._messages.append(event.text)
        elif isinstance(event, PlainLine):
            # An error before the log format is in force (an unknown option, a broken nix.conf) is plain.
            early = _EARLY.match(event.text)
            if early is not None:
                self._error(early["error"])
            self._tail.append(event.text)
        if self._on_event is not None:
            self._on_event(event)

    def _error(self, text: str) -> None:
        if len(self._errors) < ERRORS_KEPT:
            self._errors.append(text)

    def result(self, argv: tuple[str, ...], outcome: Outcome) -> NixResult:
        return NixResult(
            return_code=outcome.return_code,
            stdout=outcome.stdout.decode("utf-8", errors="replace"),
            stderr="\n".join(self._tail),
            argv=argv,
            errors=tuple(self._errors),
            timed_out=outcome.timed_out,
            messages=tuple(self._messages or ()),
            fetches=self._fetches,
        )


def _last_line(lines: Sequence[str]) -> str:
    """Return the last meaningful line; a warning or a trace only if there is nothing else."""
    said = [line.strip() for line in reversed(lines) if line.strip()]
    return next((line for line in said if not line.startswith((WARNING, TRACE))), said[0] if said else "")


def _ending(program: str, return_code: int) -> str:
    if return_code >= 0:
        return f"{program} ended with exit code {return_code} without any output"
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = str(-return_code)
    return f"{program} was ended by the signal {name}"
