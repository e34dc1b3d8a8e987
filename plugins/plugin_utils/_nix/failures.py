# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the failed derivation if a host's system could not be built."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .explain import cause_of

_DERIVATION = re.compile(r"/nix/store/[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9a-zA-Z+\-._?=]+\.drv")
# "2 dependencies of derivation '...' failed to build" (Nix 2.8), "Reason: 1 dependency failed." (since 2.31).
_DEPENDENCY = re.compile(r"\d+ dependenc(?:y|ies)\b.*failed")
# The summary at the end names the requested derivation, of which only a dependency may have failed.
_SUMMARY = re.compile(r"^\s*(?:error:\s*)?build of '")


@dataclass(frozen=True)
class Failure:
    """A derivation that failed itself, and Nix's reason."""

    derivation: str
    reason: str


def own_failures(errors: Sequence[str]) -> list[Failure]:
    """Return the derivations in Nix's error texts that failed themselves, not for a dependency, in Nix's order."""
    failures: dict[str, Failure] = {}
    for error in errors:
        match = _DERIVATION.search(error)
        if match is not None and not _DEPENDENCY.search(error) and not _SUMMARY.match(error):
            failures.setdefault(match[0], Failure(match[0], _reason(error)))
    return list(failures.values())


def failures_within(failures: Sequence[Failure], requisites: Collection[str]) -> list[Failure]:
    """Return the ``failures`` that are among ``requisites``, the closure of a host's derivation."""
    known = set(requisites)
    return [failure for failure in failures if failure.derivation in known]


def _reason(error: str) -> str:
    """Return the error's text in one line."""
    return " ".join(cause_of(error).split()).rstrip(":;")
