# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell on this machine in place of a managed host, and health checks for it."""

from __future__ import annotations

import subprocess
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HEALTH_CHECK_OPTIONS,
    HealthCheck,
    parse_health_checks,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult


def option(**given: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in HEALTH_CHECK_OPTIONS.items()}
    return {**defaults, "retries": 0, "delay": 0, "timeout": 2, **given}


def checks(*options: dict[str, Any]) -> tuple[HealthCheck, ...]:
    return parse_health_checks(options)


class LocalShell:
    """Runs the scripts here, in place of a managed host."""

    address = "127.0.0.1"

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.scripts: list[str] = []

    def run(self, script: str, **_step: str) -> RemoteResult:
        self.scripts.append(script)
        done = subprocess.run(self.argv, input=script.encode(), capture_output=True, check=False, timeout=30)
        return RemoteResult(done.returncode, done.stdout.decode(), done.stderr.decode())
