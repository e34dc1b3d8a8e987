# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Install the pull agent on a running host, or remove it (``target/agent/install.sh``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Completed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    LIBRARY,
    answer_of_script,
    host_script,
)

from .agent import DIRECTORY, UNITS, agent_files, agent_units
from .repository import FILES_OF_REPOSITORY
from .settings import STEP, AgentSettings

PARTS = (*LIBRARY, "lib/own.sh", "agent/install.sh")
ORDER_PARTS = (*LIBRARY, "agent/state.sh", "agent/order.sh")
# What an installed agent can be told, and what that is for the program.
ORDERS = ("held", "released", "cleared", "forgotten")
# What an agent may have, whatever its settings are.
FILES = ("agent", "guard", "profile", "checks", "netrc", "allowed_signers", *FILES_OF_REPOSITORY)
_REMEDIES = {
    "not_root": "Use `become: true` for this task. Nothing was changed.",
    "no_systemd": "A pull agent needs systemd 249 or later. Deploy this host by push. Nothing was changed.",
    "no_nix": "Install Nix on the host. Nothing was changed.",
    "no_ssh_keygen": "Install OpenSSH's client programs on the host: they verify pointers. Nothing was changed.",
    "no_nsenter": "Install util-linux on the host. Nothing was changed.",
    "no_daemon": "Install Nix with its daemon (a multi-user installation). Nothing was changed.",
    "no_user": "Create this system user without a home and with the shell /bin/false.",
    "no_agent": "Install it first (state: present), or look for the configuration that should have brought it.",
    "no_curl": "Install curl on the host, or give neither `report_url` nor `certificate`. Nothing was changed.",
    "no_git": "Install git on the host: it fetches the repository. Nothing was changed.",
    "no_ssh": "Install OpenSSH's client on the host: git fetches with it. Nothing was changed.",
    "no_gpg": "Install GnuPG on the host: it verifies commits. Nothing was changed.",
    "no_certificate": "Place the certificate and its key on the host first. Nothing was changed.",
    "open_key": "Let only root read it: chmod 600. Nothing was changed.",
    "no_repository": "Only an agent with a repository has a branch to forget.",
    "no_directory": "Create it, or install node_exporter, which has a directory for such files. Nothing was changed.",
    "generated": "Change the options `nixferry.pull` of its configuration instead. Nothing was changed.",
    "unsafe_place": "Give it to root alone. Nothing was changed.",
    "unwritable": "Make room on, or mount, the file system, then run it again.",
    "systemd_failed": "Run `systemctl status nixferry-pull.timer` and `journalctl --boot` on the host.",
}


@dataclass(frozen=True)
class AgentInstallation:
    """The changes of an installation, made or predicted: paths of files, links and units."""

    changed_files: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.changed_files)

    def diff(self) -> dict[str, str]:
        """For ``--diff``: names only, since texts are long, and one of them may be secret."""
        return {
            "before_header": DIRECTORY,
            "after_header": DIRECTORY,
            "before": "",
            "after": "".join(f"{file}\n" for file in self.changed_files),
        }


def install_script(settings: AgentSettings | None, *, dry_run: bool, now: int) -> str:
    """Return the script for the host; without ``settings`` it removes the agent.

    ``now`` is in seconds since the epoch.
    """
    files = agent_files(settings) if settings else {}
    units = agent_units(settings) if settings else {}
    repository = settings.repository if settings else None
    variables = {
        "WANTED": "present" if settings else "absent",
        "DRY_RUN": str(int(dry_run)),
        "NOW": str(now),
        "FILES": " ".join(files),
        "FILES_UNWANTED": " ".join(name for name in FILES if name not in files),
        "UNITS_WANTED": " ".join(UNITS),
        "PULL_METRICS": settings.metrics_directory if settings else "",
        "NEEDS_CURL": "1" if settings and (settings.report_url or settings.certificate) else "",
        "NEEDS_GIT": "1" if repository else "",
        "NEEDS_SSH": "1" if repository and repository.known_hosts else "",
        "NEEDS_GPG": "1" if repository and repository.openpgp_keys else "",
        "CERTIFICATE": settings.certificate if settings else "",
        "CERTIFICATE_KEY": settings.certificate_key if settings else "",
        **{f"FILE_{name}": text for name, (text, _mode) in files.items()},
        **{f"MODE_{name}": mode for name, (_text, mode) in files.items()},
        **{f"UNIT_{_variable(name)}": text for name, text in units.items()},
    }
    return host_script(variables, PARTS)


def order_script(order: str, until: int, reason: str, *, dry_run: bool) -> str:
    """Return the script that gives an installed agent one of ``ORDERS``. A hold ends ``until``, 0 for never."""
    text = "".join(character if " " <= character <= "~" else "?" for character in reason)[:500]
    return host_script(
        {"ORDER": order, "UNTIL": str(until), "REASON": text, "DRY_RUN": str(int(dry_run))}, ORDER_PARTS
    )


def _variable(name: str) -> str:
    return re.sub(r"[^A-Za-z]", "_", name)


def parse_installation(completed: Completed) -> AgentInstallation:
    """Read the answer of the script. Raises ``NixferryError`` for an error that it reports."""
    answer = answer_of_script("pull_agent", completed, step=STEP, remedies=_REMEDIES)
    return AgentInstallation(answer.all("changed_file"))
