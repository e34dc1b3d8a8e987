# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Place the secrets that a disk keeps, in the new system before it boots for the first time.

What nix_secrets does on a host is done in the new system's root, so that its record is there as well, and owners are
those of the new system. Secrets in main memory are placed after the boot.
"""

from __future__ import annotations

import shlex

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    OUTPUT_CHARACTERS,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import EXTEND_SEARCH_PATH
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import (
    PERSISTENT,
    parse_secrets,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.task import (
    ALL,
    SecretsTask,
    place_secrets,
)

from .options import InstallOptions

# The mounts are seen by this command alone, and go with it. What arrives in /run stays in main memory.
_ENTER = """set -e
for shared in dev proc; do
    mkdir -p "$1/$shared"
    mount --rbind "/$shared" "$1/$shared"
done
mkdir -p "$1/run"
mount -t tmpfs -o mode=0755 tmpfs "$1/run"
exec chroot "$1" /bin/sh -c "$2"
"""
_PATH = "/nix/var/nix/profiles/system/sw/bin"


class EnteredShell(RemoteShell):
    """Runs commands in the root of a system that is installed below ``mount_point``."""

    def __init__(self, shell: RemoteShell, mount_point: str) -> None:
        super().__init__(shell.action, shell.host)
        self.search_path = shell.search_path
        self._mount_point = mount_point

    def run_command(
        self,
        command: str,
        *,
        data: bytes,
        step: Step,
        private: bool = False,
        seconds: float | None = ANSWER_SECONDS,
        most: int = OUTPUT_CHARACTERS,
    ) -> RemoteResult:
        """Run ``command`` in the new system's root. See ``RemoteShell``."""
        inside = f"PATH={_PATH}:$PATH; export PATH; {command}"
        words = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _ENTER, "sh"]
        entered = f"{EXTEND_SEARCH_PATH}; {shlex.join([*words, self._mount_point, inside])}"
        return super().run_command(entered, data=data, step=step, private=private, seconds=seconds, most=most)


def place_secrets_below(shell: RemoteShell, options: InstallOptions, progress: Progress) -> list[str]:
    """Place the declared persistent secrets, and return the names of those that were written."""
    storage = options.given["storage"]
    declared = parse_secrets(options.given["secrets"] or {}, {"storage": storage} if storage else {})
    kept = [secret for secret in declared if secret.storage == PERSISTENT]
    if not kept:
        return []
    progress.phase("placing the secrets")
    task = SecretsTask(kept, ALL, exclusive=False, stage=False, check_mode=False, diff_mode=False)
    result = place_secrets(
        task,
        EnteredShell(shell, options.mount_point),
        progress,
        options.read_file,
        directory=options.directory,
    )
    return sorted(result["secrets"])
