# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A shell whose scripts for the guard become requests to the guard that is installed on the host."""

from __future__ import annotations

import re
import shlex

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import WIRE_VERSION
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    RemoteResult,
    RemoteShell,
)

from .installed import request_text
from .script import GuardScript

_ANSWER = f"nixferry={WIRE_VERSION}\n"
_INSTALL = "Let somebody who may become root install it once for this user (nixferry.deploy.nix_guard)."
# What sudo and the shell say when there is no rule, no program or no sudo.
_REASONS = (
    (re.compile(r"command not found|no such file|not found", re.I), "is not on the host, or sudo is not"),
    (
        re.compile(r"password is required|not allowed|may not run|not in the sudoers", re.I),
        "may not be run by",
    ),
)


class GuardedShell(RemoteShell):
    """Runs ``GuardScript``s through the program ``guard``, as root by way of sudo, and any other script as usual."""

    def __init__(self, shell: RemoteShell, guard: str) -> None:
        super().__init__(shell.action, shell.host)
        self.guard = guard

    def run(self, script: str, *, step: str) -> RemoteResult:
        """Run ``script``, or ask the installed guard for what it asks for.

        Raises ``HostUnreachable``, and ``NixferryError`` when there is no guard, or it may not be asked for that.
        """
        if not isinstance(script, GuardScript):
            return super().run(script, step=step)
        program = shlex.quote(self.guard)
        # Root needs no sudo, and may have none.
        command = f'if [ "$(id -u)" = 0 ]; then exec {program}; else exec sudo -n {program}; fi'
        result = self.run_command(
            f"/bin/sh -c {shlex.quote(command)}", data=request_text(script).encode("ascii"), step=step
        )
        if result.return_code != 0 and _ANSWER not in result.stdout:
            raise self._no_answer(result, step)
        return result

    def _no_answer(self, result: RemoteResult, step: str) -> NixferryError:
        output = [*result.stdout.splitlines(), *result.stderr.splitlines()]
        user = self.login_user or "this user"
        reason = next((text for sign, text in _REASONS if sign.search("\n".join(output))), "did not answer")
        who = f" {user}" if reason.endswith("by") else ""
        return NixferryError(
            f"the installed guard {self.guard} {reason}{who}", step=step, remedy=_INSTALL, output=output
        )


def guarded(shell: RemoteShell, guard: object) -> RemoteShell:
    """``shell`` itself, or with the path of an installed ``guard`` a shell that asks that one."""
    return GuardedShell(shell, str(guard)) if guard else shell
