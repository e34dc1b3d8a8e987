# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Ask a machine what it has booted. Its answers are hostile input."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.script import (
    RELEASE_PARAMETER,
    TRIAL_PARAMETER,
    TRIAL_UNIT,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell

STEP = Step.TRY_RELEASE
# Seconds for a script that only looks.
LOOK_SECONDS = 60
OUTPUT_CHARACTERS = 256 * 1024
BEGIN = "nixferry-netboot 1"
# What systemctl is-system-running says of a boot that has ended.
BOOTED = ("running", "degraded", "maintenance")
_LINE = re.compile(r"(boot|user|parameter|system|state|failed|timer) (\S+)")
_BOOT = re.compile(r"[0-9a-f-]{36}")

SCRIPT = f"""
echo '{BEGIN}'
echo "user $(id -u)"
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "system $(readlink /run/booted-system)"
for word in $(cat /proc/cmdline); do
    case $word in {RELEASE_PARAMETER}=* | {TRIAL_PARAMETER}=*) echo "parameter $word" ;; esac
done
echo "state $(systemctl is-system-running)"
systemctl list-units --state=failed --plain --no-legend --full | while read -r unit rest; do echo "failed $unit"; done
echo "timer $(systemctl is-active {TRIAL_UNIT})"
"""


@dataclass(frozen=True)
class Look:
    """What a machine says of itself. Texts are empty if it does not say them."""

    boot: str
    """The kernel's id of the boot."""
    user: str = ""
    release: str = ""
    trial: str = ""
    system: str = ""
    """The toplevel that it has booted."""
    state: str = ""
    """How far systemd is."""
    failed: tuple[str, ...] = ()
    """Failed units."""
    timer: str = ""
    """Whether the timer of a trial runs: ``active``."""


def look(shell: RemoteShell) -> Look:
    """Ask over ``shell``. Raises ``HostUnreachable``, and ``NixferryError`` for an answer that is none."""
    ran = shell.run(SCRIPT, step=STEP, seconds=LOOK_SECONDS, most=OUTPUT_CHARACTERS)
    found = parse_look(ran.stdout)
    if found is None:
        raise NixferryError(
            "the host does not say which boot it is in",
            step=STEP,
            remedy="Look at what a login and /bin/sh print there. Nothing was changed.",
            output=[*ran.stdout.splitlines(), *ran.stderr.splitlines()],
        )
    return found


def parse_look(text: str) -> Look | None:
    """Read the answer of a machine; None if it is none."""
    _before, begin, answer = text.partition(f"{BEGIN}\n")
    values: dict[str, str] = {}
    failed: list[str] = []
    for key, value in (match.groups() for match in map(_LINE.fullmatch, answer.splitlines()) if match):
        if key == "failed":
            failed.append(value)
        elif key == "parameter":
            name, _equals, value = value.partition("=")
            values[name] = value
        else:
            values.setdefault(key, value)
    if not begin or not _BOOT.fullmatch(values.get("boot", "")):
        return None
    system = values.get("system", "")
    return Look(
        boot=values["boot"],
        user=values.get("user", ""),
        release=values.get(RELEASE_PARAMETER, ""),
        trial=values.get(TRIAL_PARAMETER, ""),
        system=system if is_store_path(system) else "",
        state=values.get("state", ""),
        failed=tuple(failed),
        timer=values.get("timer", ""),
    )
