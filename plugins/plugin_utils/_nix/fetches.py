# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find out what could not be fetched, and what git and ssh said about it.

Nix reports only that git failed, at most with the address. The address is in the activity that Nix starts before
("fetching Git repository", ``getAccessorFromCommit`` in src/libfetchers/git.cc), and the words of git and ssh
are the plain lines after it.
"""

from __future__ import annotations

import re

from .log_stream import LogEvent, PlainLine, Start

_ACTIVITY = re.compile(r"(?:fetching Git repository|updating Git repository) '(?P<url>[^']+)'")
# Nix 2.8; 2.26, which goes on with a branch that it does not have; 2.34.
_FAILED = re.compile(
    r"program 'git' failed|resolving Git reference '[^']*': revspec|[Ff]ailed to fetch git repository"
)
# What git says after each failure over ssh, and what follows from it in Nix 2.26.
_NOISE = re.compile(
    r"Please make sure you have the correct access rights|and the repository exists|"
    r"fatal: Refusing to point HEAD|Warning: Permanently added"
)
_PASSWORD = re.compile(r"(?P<before>\w://)[^/@\s'\"]*:[^/@\s'\"]*@|(?P<web>\bhttps?://)[^/@\s'\"]+@")
LINES_KEPT = 6


def without_passwords(text: str) -> str:
    """Return ``text`` without the credentials in its addresses: user and password, or what may be a token."""
    return _PASSWORD.sub(lambda match: f"{match['before'] or match['web']}***@", text)


class Fetches:
    """Listens to Nix's log for the last fetch with git."""

    def __init__(self) -> None:
        self._url = ""
        self._lines: dict[str, None] = {}

    def event(self, event: LogEvent) -> None:
        if isinstance(event, Start):
            match = _ACTIVITY.match(event.text)
            if match is not None:
                self._url = match["url"]
                self._lines = {}
        elif isinstance(event, PlainLine) and not _NOISE.search(event.text):
            self._lines[event.text.strip()] = None

    def told(self, cause: str) -> str:
        """Return the cause of an error with the address and the words of git, if it is that of a failed fetch."""
        if not _FAILED.search(cause):
            return cause
        words = "; ".join([*self._lines][-LINES_KEPT:])
        if self._url:
            return without_passwords(f"{self._url} could not be fetched: {words or cause}")
        return without_passwords(f"{cause}: {words}") if words else cause
