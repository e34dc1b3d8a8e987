# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The base of all action plugins of the collection: read arguments, show progress, explain failures."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import test_loader
from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import NIX_DIRECTORY
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .arguments import variable_behind
from .options import base_directory, refuse_unknown_options

# Ansible loads its tests for templates when it meets the first one, which is in the process of each host. The main
# process imports this file before it makes those.
test_loader.get("defined")

PROGRESS_OPTION: dict[str, Any] = {"type": "str", "choices": ["auto", "lines", "none"], "default": "auto"}


class NixferryAction(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """An action plugin whose ``perform`` gets checked arguments and may raise ``NixferryError``."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True
    TRANSFERS_FILES = False

    specification: ClassVar[dict[str, Any]]
    """The keyword arguments of ``validate_argument_spec``."""
    on_controller: ClassVar[bool] = False
    """Whether the work is done on the controller. Then ``delegate_to`` changes nothing, and messages ignore it."""
    subject: str = "localhost"
    """The host of the inventory that the task is for. It finds this host's part of a build, a fleet or a transaction.
    With ``delegate_to`` the task works on another one, ``shell.host``, which messages name."""
    batch: tuple[str, ...] = ()
    """The hosts that Ansible works on at the same time as on this one."""
    variables: Mapping[str, Any] = MappingProxyType({})
    """The variables of the host, as templates where they are that."""

    @classmethod
    def finalize_task_arg(cls, name: str, value: Any, templar: Any, context: Any) -> Any:
        """Return the value of an argument of a task. If Ansible does not call this, it templates each of them."""
        behind = variable_behind(value, templar.available_variables)
        return super().finalize_task_arg(name, behind, templar, context)

    @abstractmethod
    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Do the work on ``shell.host`` and return the task's result."""

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Return the merged keyword ``environment`` of the task, its blocks and its play."""
        found: dict[str, Any] = {}
        self._compute_environment_string(found)
        return tuple(sorted((str(name), str(value)) for name, value in found.items()))

    def controller_file(self, path: str) -> str:
        """Return a path on the controller. A relative one is relative to the playbook (``base_directory``)."""
        return os.path.join(base_directory(str(self._loader.get_basedir())), path)  # noqa: PTH118  (a string is wanted)

    def read_controller_file(self, name: str) -> bytes:
        """Return the content of a file on the controller; a vault file is decrypted in memory, not to a file.

        Raises ``OSError`` if it is missing, or the vault cannot be opened. Its ``strerror`` does not hold ``name``.
        """
        try:
            content, _may_be_shown = self._loader._get_file_contents(self._find_needle("files", name))
        except AnsibleFileNotFound:
            raise OSError(errno.ENOENT, "it was not found on the controller") from None
        except AnsibleError as error:
            cause = error.__cause__
            known = cause.strerror if isinstance(cause, OSError) else None
            raise OSError(errno.EIO, known or "no vault password of this run decrypts it") from None
        return bytes(content)

    def _nix_directory(self, machine: str) -> object:
        """Return the variable of the host that the task works on, with ``delegate_to`` of another one."""
        if machine == self.subject:
            given = self.variables.get(NIX_DIRECTORY)
            return self._templar.template(given) if given else None
        of_others = self.variables.get("hostvars", {})
        return of_others[machine].get(NIX_DIRECTORY) if machine in of_others else None

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Called by Ansible. A host that cannot be reached before anything was changed is UNREACHABLE."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        self.subject = str((task_vars or {}).get("inventory_hostname", "localhost"))
        machine = str(self._task.delegate_to or self.subject)
        host = self.subject if self.on_controller else machine
        self.variables = task_vars or {}
        self.batch = tuple(map(str, (task_vars or {}).get("ansible_play_batch", ())))
        try:
            refuse_unknown_options(
                self.specification["argument_spec"], self._task.args, action=self._task.resolved_action
            )
        except NixferryError as error:
            return {**result, **error.result(host)}
        _validation, options = self.validate_argument_spec(**self.specification)
        progress = Progress(
            Display(), prefix=host, muted=bool(self._task.no_log), mode=options.get("progress", "auto")
        )
        try:
            shell = RemoteShell(self, machine, nix_directory=self._nix_directory(machine))
            result.update(self.perform(options, shell, progress))
        except HostUnreachable as error:
            # Ansible would append the cause, which the text contains already.
            raise AnsibleConnectionFailure(error.text(host)) from None
        except NixferryError as error:
            result.update(error.result(host))
        finally:
            progress.close()
        return result
