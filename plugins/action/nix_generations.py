# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report which systems a host runs, boots and keeps."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import BUILD_OPTION
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import guard_on
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import ProbeRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.asking import AskingShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import (
    PULL_QUESTION,
    parse_status,
    read_status,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.drift import deploy_facts
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import SWITCH_OPTIONS, kind_of
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import generations_result
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.rollback import (
    nearest_deploys,
    remembered_deploys,
)


class ActionModule(NixferryAction):
    """``nix_generations``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **{name: SWITCH_OPTIONS[name] for name in ("kind", "profile", "guard")},
            "build": BUILD_OPTION,
            "deploy": {"type": "str", "default": ""},
            "pull": {"type": "bool", "default": False},
        }
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Ask the host and its pull agent in one round trip, with an installed guard in two."""
        request = ProbeRequest(kind=kind_of(options), profile=str(options["profile"] or ""), history=True)
        asking = AskingShell(shell, PULL_QUESTION)
        probe = guard_on(asking if options["pull"] else shell, options["guard"]).probe(request)
        result = generations_result(probe)
        facts = deploy_facts(self.subject, probe, options["build"])
        return {
            **result,
            **facts,
            "nearest_deploys": nearest_deploys(options["deploy"], remembered_deploys(probe)),
            "summary": [*result["summary"], *facts["summary"]],
            **({"pull": _pull(shell, asking.asked)} if options["pull"] else {}),
        }


def _pull(shell: RemoteShell, asked: RemoteResult | None) -> dict[str, Any] | None:
    """Return what the pull agent says; None if that makes no sense, since the systems are known all the same.

    ``asked`` is its answer, None if it was not asked, since an installed guard takes no other question.
    """
    try:
        return (read_status(shell) if asked is None else parse_status(asked)).result()
    except HostUnreachable:
        raise
    except NixferryError:
        return None
