# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell at the end of a run what became of every host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: aggregate
short_description: Summarise at the end of a run the outcome of every host
description:
  - Prints a summary of the hosts by outcome (unchanged, committed, rolled back, failed, unreachable, reboot required),
    and writes the same as JSON for programs, as a page of HTML, and as JUnit XML for CI.
  - If a run only asks hosts with M(nixferry.deploy.nix_generations), it prints the fleet as a table, and writes it as
    JSON, as a page of HTML, and as metrics for Prometheus.
  - The collection's own playbooks do this by default. For other playbooks, enable it.
  - A report contains only the collection's own return values, and nothing of tasks with C(no_log).
extends_documentation_fragment:
  - nixferry.deploy._report
requirements:
  - enabled in the configuration, C(callbacks_enabled = nixferry.deploy.report)
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
example: |
  # ansible.cfg
  [defaults]
  callbacks_enabled = nixferry.deploy.report

  [nixferry_report]
  file = report.json
  html = report.html
  junit = report.xml
  status_prometheus = /var/lib/prometheus/node-exporter/nixferry.prom
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ansible import constants
from ansible.plugins.callback import CallbackBase

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.closures import add_closures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet import (
    STATUS,
    FleetStatus,
    deploy_lines,
    status_lines,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet_page import fleet_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.junit import junit_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.metrics import metrics_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plays import actions_of
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run import (
    BUILD,
    COPY,
    SWITCHES,
    RunReport,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run_page import run_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.text import (
    Line,
    json_text,
    summary_lines,
    write_whole,
)

COLOURS = {
    "good": "COLOR_OK",
    "changed": "COLOR_CHANGED",
    "bad": "COLOR_ERROR",
    "warn": "COLOR_WARN",
}


def contained(method: Callable[..., None]) -> Callable[..., None]:
    """Turn an error in a report into a warning; it must not end a deploy."""

    @functools.wraps(method)
    def wrapper(self: CallbackModule, *arguments: Any, **keywords: Any) -> None:
        if self.passive or self.broken:
            return
        try:
            method(self, *arguments, **keywords)
        except Exception as error:
            self.broken = True
            self._display.warning(f"nixferry.deploy.report: no report of this run: {error!r}")

    return wrapper


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    """Record task results, and report once, at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "nixferry.deploy.report"
    CALLBACK_NEEDS_ENABLED = True

    speaker: ClassVar[CallbackModule | None] = None
    """The instance that reports, if the deployer enabled the callback and runs a playbook of the collection."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.run = RunReport()
        self.fleet = FleetStatus()
        self.extra_variables: dict[str, Any] = {}

    @property
    def passive(self) -> bool:
        """Whether another instance reports."""
        return CallbackModule.speaker not in (None, self)

    @property
    def asks_only(self) -> bool:
        """Whether the run asks hosts what they run, and deploys nothing."""
        return self.fleet.asked and not self.run.attempted

    @contained
    def v2_playbook_on_start(self, playbook: Any) -> None:
        CallbackModule.speaker = self
        self.run.playbook = str(playbook._file_name)
        self.run.began = self.run.began or time.time()

    @contained
    def v2_playbook_on_play_start(self, play: Any) -> None:
        variables = play.get_variable_manager()
        self.extra_variables = variables.extra_vars
        known = variables.get_vars(play=play)
        self.run.check_mode = bool(known.get("ansible_check_mode"))
        actions = actions_of(play)
        hosts, batch = known.get("ansible_play_hosts_all", ()), known.get("ansible_play_batch", ())
        first = not self.run.deploys
        deploys = not actions.isdisjoint((*SWITCHES, COPY)) or (BUILD in actions and STATUS not in actions)
        self.run.play(map(str, hosts), map(str, batch), deploys=deploys)
        if STATUS in actions and not deploys:
            self.fleet.play(map(str, hosts))
        if first and self.run.deploys:
            # A reader that is too early, or reads after a kill, must not mistake an older run's report for this one's.
            self._write_run(self.run.report(None))

    @contained
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.run.task_begins(host.get_name(), str(task.resolved_action or task.action), time.time())

    @contained
    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended("ok", result)

    @contained
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._ended("ignored" if ignore_errors else "failed", result)

    @contained
    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended("unreachable", result)

    def _ended(self, status: str, result: Any) -> None:
        task = result.task
        action = str(task.resolved_action or task.action)
        host = result.host.get_name()
        self.fleet.task_ends(host, action, status, result.result)
        self.run.task_ends(host, action, task.get_name(), status, result.result, time.time())

    @contained
    def v2_playbook_on_stats(self, stats: Any) -> None:
        now = time.time()
        if self.asks_only:
            status = self.fleet.report(now)
            target = self._setting("status_file")
            self._write(self._setting("status_html"), lambda: fleet_page(status))
            self._write(self._setting("status_prometheus"), lambda: metrics_text(status))
            if target == "-":
                self._display.display(json_text(status))
            else:
                self._write(target, lambda: json_text(status))
                lines = status_lines(self.fleet.hosts, now) + deploy_lines(self.fleet.deploys)
                self._show("FLEET", lines)
        elif self.run.deploys:
            report = self.run.report(now, stats.failures)
            self._write_run(report)
            # It takes a moment: what is known is written already.
            if self._setting("html") and add_closures(report, Nix()):
                self._write_run(report)
            self._show("NIXFERRY", summary_lines(report))

    def so_far(self) -> dict[str, Any]:
        """Return what is recorded until now: of a fleet that is only asked its status, else of the run."""
        now = time.time()
        if self.asks_only:
            return self.fleet.report(now)
        return self.run.report(now, [name for name, run in self.run.hosts.items() if run.failure])

    def _setting(self, name: str) -> str:
        variable = self.extra_variables.get(
            f"nixferry_{'' if name.startswith('status_') else 'report_'}{name}"
        )
        return str(variable or self.get_option(name) or "")

    def _write_run(self, report: dict[str, Any]) -> None:
        self._write(self._setting("file"), lambda: json_text(report))
        self._write(self._setting("html"), lambda: run_page(report))
        self._write(self._setting("junit"), lambda: junit_text(report))

    def _write(self, target: str, text: Callable[[], str]) -> None:
        """Replace a file as a whole; what cannot be written is a warning, and the other files are written."""
        if not target:
            return
        path = Path(target).expanduser()
        try:
            write_whole(path, text())
        except OSError as error:
            self._display.warning(f"nixferry.deploy.report: cannot write {path}: {error.strerror or error}")
        except Exception as error:
            self._display.warning(f"nixferry.deploy.report: cannot make {path}: {error!r}")

    def _show(self, title: str, lines: list[Line]) -> None:
        if not self.get_option("summary"):
            return
        self._display.banner(title)
        for line in lines:
            self._display.display(line.text, color=getattr(constants, COLOURS[line.tone]))
        self._display.display("")
