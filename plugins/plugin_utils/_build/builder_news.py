# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find remote builders in Nix's log that could not be used.

Nix skips such a builder. It silently builds on this machine what can be built there. For anything else it says that the
platform does not match. Neither names the cause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.failures import (
    Failure,
    classified,
    explained,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    LogEvent,
    Message,
    PlainLine,
    Start,
)

_NOT_USED = re.compile(r"cannot build on '(?P<uri>[^']*)': (?P<reason>.*)", re.DOTALL)
# Nix 2.8 and later announce a connection as an activity; ssh's output follows as plain lines.
_CONNECTING = "connecting to '"
# Errors that only say that no builder is left, and not why.
_CONSEQUENCES = frozenset({"client_mismatch", "no_builder", "no_jobs"})
# Errors of a reachable builder. Nix's text is the same as for a fault of this machine.
_OF_BUILDERS = frozenset({"builder_mismatch", "untrusted", "sandbox", "no_sandbox_shell", "disconnected"})
_REMOTE = re.compile(r"\bon 'ssh(?:-ng)?://|remote store 'ssh|Nix daemon disconnected")
LINES_KEPT = 20


@dataclass(frozen=True)
class Trouble:
    """A builder that was not used, and why."""

    uri: str
    failure: Failure

    @property
    def text(self) -> str:
        """Return the fault, without the remedy."""
        return (
            f"the builder {self.uri} could not be used ({self.failure.stage}): "
            f"{self.failure.cause}: {self.failure.evidence}"
        )


class BuilderNews:
    """Listens to Nix's log. ``troubles`` has one entry per builder, its last one."""

    def __init__(self) -> None:
        self._troubles: dict[str, Trouble] = {}
        self._lines: list[str] = []

    @property
    def troubles(self) -> list[Trouble]:
        return list(self._troubles.values())

    def event(self, event: LogEvent) -> None:
        if isinstance(event, Start) and event.text.startswith(_CONNECTING):
            self._lines = []
        elif isinstance(event, PlainLine):
            self._plain(event.text)
        elif isinstance(event, Message):
            match = _NOT_USED.search(event.text)
            if match is not None:
                self._note(match["uri"], match["reason"])

    def warnings(self) -> list[str]:
        """Return a warning for each builder that could not be used."""
        return [f"{each.text}. What to do: {each.failure.hint}" for each in self.troubles]

    def _plain(self, text: str) -> None:
        match = _NOT_USED.search(text)
        if match is not None:
            self._note(match["uri"], match["reason"])
        else:
            self._lines = [*self._lines, text][-LINES_KEPT:]

    def _note(self, uri: str, reason: str) -> None:
        failure = explained("\n".join([*self._lines, reason]), "connect")
        self._troubles[uri] = Trouble(uri, failure)
        self._lines = []


def with_builders(error: NixferryError, troubles: Sequence[Trouble]) -> NixferryError:
    """Return ``error`` with its cause if a builder is the cause."""
    # Nix's errors about builders come before the resulting error.
    lines = [line for line in error.cause.rstrip().splitlines() if not _NOT_USED.match(line)]
    if troubles and any(_is_consequence(line) for line in lines):
        message = "; ".join(["\n".join(lines), *(each.text for each in troubles)])
        return error.with_(cause=message, remedy=troubles[0].failure.hint)
    text = "\n".join([error.cause, *error.output])
    failure = classified(error.cause) or classified(text)
    if failure is not None and failure.code in _OF_BUILDERS and _REMOTE.search(text):
        return error.with_(remedy=failure.hint)
    return error


def _is_consequence(line: str) -> bool:
    failure = classified(line)
    return failure is not None and failure.code in _CONSEQUENCES
