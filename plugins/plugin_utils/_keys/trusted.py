# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The public keys whose signatures a host's Nix accepts (``target/trusted_keys.sh``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Completed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    LIBRARY,
    answer_of_script,
    host_script,
)

STEP = Step.TRUST_KEYS
PARTS = (*LIBRARY, "trusted_keys.sh")
_REMEDIES = {
    "no_nix": "Install Nix on the host, or name the directory of its programs there in the host's variable "
    "`nixferry_nix_directory`.",
    "generated": "On NixOS and nix-darwin add the key to `nix.settings.trusted-public-keys` of the host's "
    "configuration and deploy that once as root. Nothing was changed.",
    "not_root": "Use `become: true` for this task; it is needed once. Nothing was changed.",
    "unreadable": "Use `become: true` for this task. Nothing was changed.",
    "no_settings": "Run `nix show-config` on the host and fix the reported errors. Nothing was changed.",
    "unwritable": "Check the file system of /etc on the host. Nothing was changed.",
    "ineffective": "Run `nix show-config` on the host and fix the reported errors. The file is as it was before.",
    "daemon_not_restarted": "Run `systemctl status nix-daemon` on the host.",
    "still_trusted": "Remove it from nix.conf, or from the file that this includes, by hand.",
}


@dataclass(frozen=True)
class TrustedKeys:
    """The keys in the block of the host's configuration, before and after."""

    file: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> dict[str, str]:
        """For ``--diff``."""

        def text(keys: Sequence[str]) -> str:
            return "".join(f"{key}\n" for key in keys)

        header = f"{self.file} (extra-trusted-public-keys)"
        return {
            "before_header": header,
            "after_header": header,
            "before": text(self.before),
            "after": text(self.after),
        }


def trusted_keys_script(keys: Sequence[str], *, wanted: str, dry_run: bool) -> str:
    """Return the script for the host; ``wanted`` is ``present`` or ``absent``."""
    return host_script({"KEYS": " ".join(keys), "WANTED": wanted, "DRY_RUN": str(int(dry_run))}, PARTS)


def parse_trusted_keys(completed: Completed) -> TrustedKeys:
    """Parse the answer of the script. Raises ``NixferryError`` for an error that it reports."""
    answer = answer_of_script("trusted_keys", completed, step=STEP, remedies=_REMEDIES)
    return TrustedKeys(
        file=answer.text("file"),
        before=answer.all("before"),
        after=answer.all("after"),
        notes=answer.all("note"),
    )
