# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Bring a report of the machine's hardware to the controller, for the configuration."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import EXTEND_SEARCH_PATH

STEP = Step.READ_HARDWARE
FACTER, CONFIG = PROGRAMS = ("nixos-facter", "nixos-generate-config")
SECONDS = 300
LARGEST_BYTES = 8 * 1024 * 1024
_COMMANDS = {
    FACTER: "nixos-facter",
    # Disko declares the file systems.
    CONFIG: "nixos-generate-config --show-hardware-config --no-filesystems",
}


@dataclass(frozen=True)
class Report:
    """The text of a report, and whether it differs from the file on the controller."""

    text: str
    before: str
    changed: bool


def read_report(shell: RemoteShell, program: str) -> str:
    """Return the report of ``program`` on the machine. Raises ``NixferryError``."""
    mark = f"nixferry-{secrets.token_hex(8)}"
    # Its output could hold anything, so it comes between two marks.
    script = f"""{EXTEND_SEARCH_PATH}
if ! command -v {program} >/dev/null 2>&1; then echo; echo {mark}-missing; exit 0; fi
report=$({_COMMANDS[program]} </dev/null) || {{ echo; echo "{mark}-failed $?"; exit 0; }}
echo; echo {mark}-begin
printf '%s\\n' "$report" | base64
echo {mark}-end
"""
    said = shell.run(script, step=STEP, seconds=SECONDS)
    lines = said.stdout.split("\n")
    if f"{mark}-missing" in lines:
        raise NixferryError(
            f"the machine has no {program}",
            step=STEP,
            remedy="Use an installer that has it, or the other program.",
        )
    if any(line.startswith(f"{mark}-failed") for line in lines):
        raise NixferryError(
            f"{program} failed", step=STEP, remedy="Run it by hand as root.", output=said.stderr.splitlines()
        )
    try:
        begin, end = lines.index(f"{mark}-begin"), lines.index(f"{mark}-end")
        content = base64.b64decode("".join(lines[begin + 1 : end]), validate=True)
        text = content.decode("utf-8")
        if program == FACTER:
            json.loads(text)
    except (ValueError, binascii.Error, RecursionError):
        raise NixferryError(
            f"what {program} has printed cannot be read",
            step=STEP,
            remedy="Run it by hand as root.",
            output=said.stderr.splitlines(),
        ) from None
    if len(content) > LARGEST_BYTES:
        raise NixferryError(f"the report is larger than {LARGEST_BYTES // 2**20} MiB", step=STEP)
    return text


def keep_report(text: str, file: Path, *, dry_run: bool) -> Report:
    """Write the report to ``file`` as a whole if it differs. Raises ``NixferryError``."""
    try:
        before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        report = Report(text, before, text != before)
        if report.changed and not dry_run:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as output:
                output.write(text)
                # It is part of the configuration, not a secret.
                os.fchmod(output.fileno(), 0o644)
            Path(temporary).replace(file)
    except OSError as error:
        raise NixferryError(
            f"{file} cannot be written: {error.strerror}",
            step=STEP,
            remedy="Name a file that this user can write in `hardware_file`.",
            where=CONTROLLER,
        ) from None
    return report
