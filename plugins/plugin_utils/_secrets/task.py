# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Place the secrets of a host in one task: compare, send what differs, and report it without any content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import deployer_name
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .contents import read_contents
from .declared import Secret, parse_secrets
from .fleet import FleetSecrets
from .wire import (
    STEP,
    Comparison,
    Placement,
    compare_script,
    parse_comparison,
    parse_placed,
    place_command,
)

ALL, BEFORE, AFTER = PHASES = ("all", "pre-activation", "post-activation")

# Units are restarted: each may use up its own time limits.
PLACE_SECONDS = 3600


@dataclass(frozen=True)
class SecretsTask:
    """The options of the task."""

    secrets: Sequence[Secret]
    phase: str
    exclusive: bool
    stage: bool
    check_mode: bool
    diff_mode: bool
    warnings: tuple[str, ...] = ()

    @property
    def asked(self) -> list[Secret]:
        """The secrets that this phase places, with their contents."""
        return [secret for secret in self.secrets if self.phase in (ALL, secret.upload_at)]

    @property
    def watched(self) -> list[Secret]:
        """The secrets that this phase checks. After the activation, owners exist that were missing before."""
        return self.asked if self.phase == BEFORE else list(self.secrets)


def secrets_task(
    options: Mapping[str, Any], fleet: FleetSecrets | None = None, *, check_mode: bool, diff_mode: bool
) -> SecretsTask:
    """Build the task from the options and the fleet file's secrets. Raises ``NixferryError``."""
    fleet = fleet or FleetSecrets()
    defaults = {name: options[name] for name in ("dest_dir", "storage") if options.get(name)}
    if options["stage"] and options["phase"] == AFTER:
        raise NixferryError(
            "stage and phase: post-activation contradict each other",
            step=STEP,
            remedy="After the activation secrets are put into place at once: leave out `stage`.",
        )
    declared = options["secrets"] or {}
    of_fleet = fleet.entries.keys() - declared.keys()
    return SecretsTask(
        secrets=[
            replace(secret, working_directory=fleet.directory) if secret.name in of_fleet else secret
            for secret in parse_secrets(fleet.with_declared(declared), defaults)
        ],
        phase=options["phase"],
        exclusive=options["exclusive"] and options["phase"] != BEFORE,
        stage=options["stage"],
        check_mode=check_mode,
        diff_mode=diff_mode,
        warnings=fleet.warnings,
    )


def place_secrets(
    task: SecretsTask,
    shell: RemoteShell,
    progress: Progress,
    read_file: Callable[[str], bytes],
    *,
    directory: str,
) -> dict[str, Any]:
    """Run the task and return its result. Raises ``NixferryError``; then nothing was changed."""
    if not task.watched and not task.exclusive:
        return _result(task, [], Comparison({}, frozenset(), frozenset(), ()), [])
    contents = read_contents(task.asked, read_file, directory=directory)
    watched = task.watched
    script = compare_script(watched, contents, owners_may_come=task.phase == BEFORE)
    compared = shell.run_command("/bin/sh", data=script.encode(), step=STEP, private=True)
    comparison = parse_comparison(compared, len(watched))
    declared = {secret.path for secret in task.secrets}
    removed = sorted(set(comparison.ours) - declared) if task.exclusive else []
    result = _result(task, watched, comparison, removed)
    if task.check_mode or not result["changed"]:
        return result
    # Between the comparison and the placement, the owner of a file may have written to it.
    unknown = [
        watched[number]
        for number, difference in comparison.differences.items()
        if watched[number].name not in contents and not difference.is_roots
    ]
    contents |= read_contents(unknown, read_file, directory=directory)
    command, data = place_command(
        Placement(
            secrets=watched,
            comparison=comparison,
            contents=contents,
            exclusive=task.exclusive,
            apply=not task.stage,
            deployer=deployer_name(),
        )
    )
    placed = parse_placed(
        shell.run_command(command, data=data, step=STEP, private=True, seconds=PLACE_SECONDS)
    )
    result["set"] = placed.set_name if task.stage else ""
    progress.line(_summary(result, staged=task.stage))
    if placed.failed_units:
        error = NixferryError(
            f"the secrets are in their places, but these units failed to take them: {', '.join(placed.failed_units)}",
            step=STEP,
            remedy="Run `systemctl status` for them on the host.",
            output=placed.output,
        )
        result.update(error.result(shell.host), changed=True)
    return result


def _result(
    task: SecretsTask, watched: Sequence[Secret], comparison: Comparison, removed: Sequence[str]
) -> dict[str, Any]:
    changes = {
        watched[number].name: {"path": watched[number].path, "change": list(difference.what)}
        for number, difference in sorted(comparison.differences.items())
    }
    units = {
        unit
        for number, difference in comparison.differences.items()
        if {"new", "content"} & set(difference.what)
        for unit in (*watched[number].restart_units, *watched[number].reload_units)
    }
    result: dict[str, Any] = {
        "failed": False,
        "changed": bool(changes or removed),
        "secrets": changes,
        "removed": list(removed),
        "waiting_for_owner": [watched[number].name for number in sorted(comparison.later)],
        "units": sorted(units),
        "set": "",
    }
    if task.warnings:
        result["warnings"] = list(task.warnings)
    if task.diff_mode and result["changed"]:
        result["diff"] = _difference(watched, comparison, removed)
    return result


def _difference(watched: Sequence[Secret], comparison: Comparison, removed: Sequence[str]) -> dict[str, str]:
    """Return which secrets change, and how, without anything that depends on a content."""
    before: list[str] = []
    after: list[str] = []
    for number, found in sorted(comparison.differences.items()):
        secret = watched[number]
        place = f"{secret.name} ({secret.path})"
        new_content = ", new content" if "content" in found.what else ""
        if "new" not in found.what:
            before.append(f"{place}: {found.owner} {found.mode}")
        owner, mode = ("root:root", "600") if number in comparison.later else (secret.owner, secret.mode)
        after.append(f"{place}: {owner} {mode}{new_content}")
    before += [f"{path}: placed earlier" for path in removed]
    return {
        "before_header": "secrets",
        "after_header": "secrets",
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }


def _summary(result: Mapping[str, Any], *, staged: bool) -> str:
    count = len(result["secrets"])
    text = f"{count} secret{'' if count == 1 else 's'} {'staged' if staged else 'placed'}"
    return f"{text}, {len(result['removed'])} removed" if result["removed"] else text
