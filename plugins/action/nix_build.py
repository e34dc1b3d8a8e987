# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate and build the systems of one or many hosts. Documented in plugins/modules/nix_build.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.build_host import BuildHostRealiser
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.every_host import every_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.options import (
    ON_TARGET,
    SPECIFICATION,
    build_options,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.realise import STEP, without_log
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.result import task_result
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.target import TargetRealiser
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.task import BuildTask, Realiser
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.shared import announce
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.shared_results import add_findings
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings, shown


class ActionModule(NixferryAction):
    """``nix_build``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = SPECIFICATION

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Evaluate, then realise or report what would be realised."""
        directory = base_directory(str(self._loader.get_basedir()))
        said = EvaluationWarnings()
        found = None
        try:
            if options["all_hosts"]:
                progress.phase("listing the hosts")
                nix = Nix(working_directory=directory, on_event=said.event)
                found = every_host(options, nix, directory, said)
                options = {**options, "hosts": list(found.names)}
            task = self._task_for(options, self.subject, directory, progress)
            task.evaluation_warnings = said
            builds = task.run(self._realiser(task, shell))
        finally:
            progress.close()
            self._warn(*map(shown, said.texts))
        if options["build_on"] != ON_TARGET:
            announce(
                [each.target.toplevel for each in builds if each.error is None and each.target is not None]
            )
        several = options["hosts"] is not None or options["sources"] is not None
        share = self._share if several else None
        # The hosts of a whole fleet file need not be those of the play. A host that builds for itself fails by itself.
        batch = self.batch if several and not options["all_hosts"] else ()
        batch = (self.subject,) if options["build_on"] == ON_TARGET else batch
        result = task_result(builds, share, warnings=said.texts, full_plan=options["full_plan"], batch=batch)
        if self._task.no_log:
            result = without_log(result)
        if options["note"]:
            result["noted"] = options["note"]
        self._warn(*task.warnings)
        if several and not result["failed"] and result["failed_hosts"]:
            says = (
                "the result says why"
                if options["all_hosts"]
                else "the next task that needs the build says why"
            )
            self._warn(f"Failed for {', '.join(result['failed_hosts'])}: {says}.")
        return result if found is None else {**result, "left_out": dict(found.left_out)}

    def _task_for(self, options: dict[str, Any], host: str, directory: str, progress: Progress) -> BuildTask:
        check_mode = bool(self._task.check_mode)
        request = build_options(options, host=host, directory=directory, check_mode=check_mode)
        if len(request.hosts) > 1:
            progress.rename(f"{len(request.hosts)} hosts")
        return BuildTask(request, progress)

    def _warn(self, *texts: str) -> None:
        for text in texts:
            if not self._task.no_log:
                Display().warning(text)

    def _realiser(self, task: BuildTask, shell: RemoteShell) -> Realiser | None:
        """Return the realiser for a build outside of the controller, if any."""
        name = task.options.build_host
        if not name:
            return TargetRealiser(task, shell) if task.options.build_on == ON_TARGET else None
        # Ansible has already made the connection, with that host's inventory variables.
        if shell.host != name:
            raise NixferryError(
                f"`build_on` is {name}, but this task logs in to {shell.host}",
                step=STEP,
                remedy=f"Add `delegate_to: {name}` to the task.",
            )
        return BuildHostRealiser(task, shell)

    def _share(self, hosts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the parts of ``hosts``, and those of other hosts of the batch that this same task has built."""
        if self._task.loop:
            return hosts
        key = f"{self._task.get_path()} {self._task.register}"
        return add_findings(key, hosts, of=self.batch)
