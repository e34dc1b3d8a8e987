# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what a deploy would do, for a review. Documented in plugins/modules/nix_plan.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import Plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_markdown import plan_markdown
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_page import plan_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_signature import (
    sign_plan,
    signature_file,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.planned import plan_of

LONGEST_HOURS = 24 * 366


class ActionModule(NixferryAction):
    """``nix_plan``: see the module of the same name for its documentation."""

    _requires_connection = False

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "path": {"type": "path", "required": True},
            "summary": {"type": "path"},
            "sign_key": {"type": "path"},
            "html": {"type": "path"},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "registered": {
                "type": "dict",
                "required": True,
                "options": {
                    "build": {"type": "str", "required": True},
                    "generations": {"type": "str", "required": True},
                    "preview": {"type": "str", "required": True},
                    "secrets": {"type": "str"},
                },
            },
            "valid_hours": {"type": "int", "default": 24},
        }
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Write the plan and its summary on the controller, where the play runs."""
        if not 1 <= options["valid_hours"] <= LONGEST_HOURS:
            raise NixferryError(
                f"valid_hours is {options['valid_hours']}",
                step=Step.READ_OPTIONS,
                remedy=f"Give 1 to {LONGEST_HOURS} hours.",
            )
        now = int(time.time())
        plan = plan_of(
            self._results(options["hosts"], options["registered"]),
            made=now,
            expires=now + 3600 * options["valid_hours"],
        )
        path, text = Path(options["path"]), plan.text()
        signature = sign_plan(text, self.controller_file(options["sign_key"])) if options["sign_key"] else ""
        if not self._task.check_mode:
            # In between there is an old signature beside a new plan, which is refused.
            _write(path, text)
            if signature:
                _write(signature_file(path), signature)
            else:
                signature_file(path).unlink(missing_ok=True)
            if options["summary"]:
                _write(Path(options["summary"]), plan_markdown(plan))
            if options["html"]:
                _write(Path(options["html"]), plan_page(plan))
        return {
            "changed": True,
            "path": options["path"],
            "hosts": {name: host.changed for name, host in plan.hosts.items()},
            "left_out": dict(plan.left_out),
            "markdown": plan_markdown(plan),
            **_failure(plan),
        }

    def _results(self, hosts: list[str], registered: dict[str, str | None]) -> dict[str, dict[str, Any]]:
        """Return what the tasks have registered for each host; nothing where a task did not run."""
        known = self.variables["hostvars"]
        return {
            host: {
                key: known[host].get(name, {}) if host in known else {}
                for key, name in registered.items()
                if name
            }
            for host in hosts
        }


def _failure(plan: Plan) -> dict[str, Any]:
    """A plan without one of its hosts is written, and the task fails: what is missing must not go unnoticed."""
    if not plan.left_out:
        return {"failed": False}
    names = ", ".join(list(plan.left_out)[:5])
    return {
        "failed": True,
        "msg": f"the plan was written without {names}. What to do: see `left_out` for the causes.",
    }


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole. Raises ``NixferryError``."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise NixferryError(
            f"{path} cannot be written: {error.strerror}",
            step=Step.WRITE_PLAN,
            remedy="Name a file in a directory that exists and that you may write to.",
        ) from None
