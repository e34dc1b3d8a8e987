# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The system that a task is to activate, and its activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    KNOWN_LATER,
    built_newly,
    built_revision,
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .options import STEP, start_request
from .result import unknown_result
from .task import switch_host

SYSTEM_OPTIONS: dict[str, dict[str, Any]] = {
    "toplevel": {"type": "str"},
    "build": BUILD_OPTION,
    "action": {"type": "str", "choices": list(map(str, Action)), "default": str(Action.SWITCH)},
    "specialisation": {"type": "str", "default": ""},
    "expected": {
        "type": "dict",
        "options": {
            "current": {"type": "str", "default": ""},
            "boot_default": {"type": "str", "default": ""},
        },
    },
    "rollback": {"type": "bool", "default": True},
    "secrets": {"type": "str", "default": "", "no_log": False},
}


@dataclass(frozen=True)
class Wanted:
    """A system, and where it comes from. ``repository`` is a checkout on the controller, or empty."""

    toplevel: str
    revision: str = ""
    repository: str = ""
    built_newly: bool = False
    """Whether this run has built it, so that the host cannot have it unless it was built elsewhere too."""


def wanted_system(options: Mapping[str, Any], subject: str, *, check_mode: bool) -> Wanted | None:
    """Return the system for the host ``subject``; None in check mode if only the build will tell.

    Raises ``NixferryError`` if the options name none, or its build has failed.
    """
    revision, repository = options["revision"], options["repository"] or ""
    build = options["build"]
    if build is not None:
        if check_mode and is_known_later(subject, build):
            return None
        toplevel = built_toplevel(subject, build)
        built, checkout = built_revision(subject, build)
        return Wanted(toplevel, revision or built, repository or checkout, built_newly(subject, build))
    if options["toplevel"] is None:
        raise NixferryError("one of `toplevel` and `build` is required", step=STEP)
    return Wanted(options["toplevel"], revision, repository)


@dataclass(frozen=True)
class Activation:
    """The activation that the options of a task describe. ``base`` is the directory of the playbook."""

    options: Mapping[str, Any]
    guard: Guard
    progress: Progress
    base: str
    environment: tuple[tuple[str, str], ...]
    check_mode: bool
    diff_mode: bool

    def run(self, wanted: Wanted | None, *, hold: int = 0) -> dict[str, Any]:
        """Activate and check, then confirm and commit, or roll back; return the task's result.

        With ``hold`` a healthy host waits that many seconds for a later task instead. Raises ``NixferryError``.
        """
        action = self.options["action"]
        if wanted is None:
            return unknown_result(action, KNOWN_LATER)
        request = start_request(
            self.options,
            wanted.toplevel,
            Action(action),
            self.options["specialisation"],
            revision=wanted.revision,
            environment=self.environment,
        )
        return switch_host(
            self.guard,
            request,
            self.options["health_checks"],
            self.progress,
            check_mode=self.check_mode,
            diff_mode=self.diff_mode,
            repository=wanted.repository or self.base,
            hold=hold,
        )
