# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Build on a host: copy derivations there and realise them there, each host for itself."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import CopyRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.store import TargetStore
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.task import copy_closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import (
    command_script,
    read_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import (
    Nix,
    NixResult,
    result_of_log,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.failures import own_failures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import LOG_TAIL_LINES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan

from .floating import built_target
from .realise import STEP, Target, failure_of
from .result import HostBuild
from .task import BuildTask

COPY_RETRIES = 3


class HostPlace:
    """The host of ``shell`` as a place to realise in."""

    def __init__(self, task: BuildTask, shell: RemoteShell) -> None:
        self._task = task
        self._shell = shell

    def copy(self, derivations: Sequence[str], nix: Nix, deadline: float | None) -> None:
        """Copy derivations and everything that building them needs to the host. Raises ``NixferryError``."""
        request = CopyRequest(
            paths=tuple(dict.fromkeys(derivations)),
            source=None,
            root=None,
            substitute=True,
            check_signatures=False,
            retries=COPY_RETRIES,
            timeout=None if deadline is None else max(1, int(deadline - time.monotonic())),
            dry_run=False,
        )
        copy_closure(self._shell, request, nix=nix, progress=self._task.progress)

    def realise(self, realisables: Sequence[str], deadline: float | None) -> NixResult:
        command = ["nix-store", "--realise", "--keep-going", "--log-format", "internal-json", "-v"]
        for name, value in self._task.options.option_pairs:
            command += ["--option", name, value]
        command += realisables
        seconds = None if deadline is None else max(1, int(deadline - time.monotonic()))
        begin = time.monotonic()
        patience = None if seconds is None else seconds + ANSWER_SECONDS
        script = command_script([limited(command, seconds)])
        answer = self._shell.run(script, step=STEP, seconds=patience)
        output = read_commands(answer, step=STEP)
        # The exit code is ambiguous: 124 with GNU coreutils, that of the command with busybox.
        late = seconds is not None and time.monotonic() - begin >= seconds
        return result_of_log(
            command,
            output.code,
            output.text,
            answer.stderr,
            on_event=self._task.logs.event,
            timed_out=late and output.code != 0,
            where=self._shell.host,
        )

    def missing(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        wanted = sorted({path for target in targets.values() for path in target.outputs.values()})
        absent = set(TargetStore(self._shell).missing(wanted))
        return {
            name: target
            for name, target in targets.items()
            if not target.known or absent & set(target.outputs.values())
        }

    def log_tail(self, derivation: str) -> list[str]:
        return self._task.logs.tail(derivation)[-LOG_TAIL_LINES:]


class TargetRealiser:
    """Realises on the host of ``shell``, for ``BuildTask.run``."""

    def __init__(self, task: BuildTask, shell: RemoteShell) -> None:
        self._task = task
        self._place = HostPlace(task, shell)

    def __call__(
        self, nix: Nix, targets: Mapping[str, Target], deadline: float | None
    ) -> dict[str, HostBuild]:
        """Return the build of the only host, including its failure. Raises ``HostUnreachable``."""
        return {host: self._build(host, target, nix, deadline) for host, target in targets.items()}

    def _build(self, host: str, target: Target, nix: Nix, deadline: float | None) -> HostBuild:
        absent = self._place.missing({host: target})
        if self._task.options.dry_run:
            # Check mode: the host could tell what it would build only with the derivation.
            plan = Plan(would_build=(target.realisable,)) if absent else Plan()
            return HostBuild(host, target, plan=plan)
        if not absent:
            return HostBuild(host, target)
        known = target.known
        if target.derivation is not None:
            self._place.copy([target.derivation], nix, deadline)
        self._task.progress.phase("building on the host")
        result = self._place.realise([target.realisable], deadline)
        if result.return_code == 0:
            # Whether the host had it already is not known of a content-addressed derivation.
            return HostBuild(host, target if known else built_target(target, result), built=True)
        failures = own_failures(result.errors)
        tail = self._place.log_tail(failures[0].derivation) if failures else []
        return HostBuild(host, target, error=failure_of(target, result, failures, tail))


def limited(command: Sequence[str], seconds: int | None) -> str:
    """Return sh text that runs ``command``, for at most ``seconds`` if the host has ``timeout``."""
    words = shlex.join(command)
    if not seconds:
        return words
    return (
        f'set -- {words}; if command -v timeout >/dev/null 2>&1; then set -- timeout {seconds} "$@"; fi; "$@"'
    )
