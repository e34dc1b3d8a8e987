# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible runs them on a host: a process that reads its options and prints its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[4]
DEADLINE = 120  # seconds for one run of a module
_PROGRAM = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.loads(sys.argv[2])):
    importlib.import_module(f"ansible_collections.nixferry.deploy.plugins.modules.{sys.argv[1]}").main()
"""


class Run:
    """A module that is running."""

    def __init__(self, module: str, options: Mapping[str, Any], path: str, environment: Mapping[str, str]):
        variables = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / ".build/collections"),
            "PATH": path or os.environ["PATH"],
            **environment,
        }
        argv = [sys.executable, "-c", _PROGRAM, module, json.dumps(options)]
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        )

    def result(self) -> dict[str, Any]:
        """What the module returned, with its warnings as texts."""
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        assert stdout.strip(), stderr
        result: dict[str, Any] = json.loads(stdout)
        result["warnings"] = [
            text if isinstance(text, str) else text["event"]["msg"] for text in result.get("warnings", [])
        ]
        return result


def start(
    module: str,
    options: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    path: str = "",
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Start a module; ``path`` is the PATH that it finds programs on."""
    given = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    return Run(module, given, path, environment or {})


def ran(module: str, options: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Run a module to its end."""
    return start(module, options, **settings).result()
