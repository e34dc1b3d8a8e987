# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The pull agent as a program on the host, and its units: what fetches, what activates, when, and under which limits.

The same files of ``target/agent`` are read by the NixOS module ``plugins/plugin_utils/nix/pull.nix``.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    GuardPolicy,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.on_host import host_checks

from .settings import AgentSettings

DIRECTORY = "/var/lib/nixferry-pull"
# The parts of the agent in the order in which they are joined.
AGENT_PARTS = (
    "lib/base.sh",
    "lib/answer.sh",
    "lib/request.sh",
    "lib/time.sh",
    "lib/files.sh",
    "lib/process.sh",
    "lib/claim.sh",
    "agent/state.sh",
    "agent/pointer.sh",
    "agent/window.sh",
    "agent/fetch.sh",
    "agent/mirror.sh",
    "agent/build.sh",
    "agent/outcome.sh",
    "agent/ask.sh",
    "agent/commit.sh",
    "agent/activate.sh",
    "agent/verbs.sh",
)
UNITS = (
    "nixferry-pull.service",
    "nixferry-pull.timer",
    "nixferry-pull-build.service",
    "nixferry-pull-activate.service",
    "nixferry-pull-resume.service",
    "nixferry-pull-reach.service",
    "nixferry-pull-checks.service",
    "nixferry-pull-report.service",
)
SANDBOX = "sandbox.conf"
_TARGET = Path(__file__).parent.parent / "target"

BEGIN = """\
#!/bin/sh
#
# The nixferry pull agent: fetches the system that a signed pointer names for this host, and has the guard activate it.
# Made by nixferry.deploy; changes are overwritten. Its verbs are described at the end of this file.
"""


@functools.cache
def agent_text() -> str:
    """Return the agent without its settings."""
    return "\n".join((_TARGET / part).read_text(encoding="utf-8") for part in AGENT_PARTS)


@functools.cache
def agent_version() -> str:
    """Return the version of the agent's text, which does not depend on the settings."""
    return hashlib.sha256(agent_text().encode()).hexdigest()[:16]


FILES_OF_PROGRAM = (
    "allowed_signers",
    "commit_signers",
    "commit_openpgp_keys",
    "known_hosts",
    "guard",
    "checks",
)
# Bytes of the largest file of the fetching user: a pointer, or a pack of git's.
FILE_SIZE, REPOSITORY_FILE_SIZE = "1M", "8G"


def agent_program(settings: AgentSettings, files: Mapping[str, str] | None = None) -> str:
    """Return the program, without the last newline. ``files`` are the paths of its other files on the host."""
    places = files or {name: f"{DIRECTORY}/{name}" for name in FILES_OF_PROGRAM}
    variables = {"PULL_VERSION": agent_version(), **settings.variables(program=places)}
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([BEGIN, *lines, "", agent_text()]).rstrip("\n")


def agent_policy(settings: AgentSettings) -> GuardPolicy:
    """Return what the agent may ask of the guard. What a host has built itself, no key has signed."""
    built_here = settings.repository is not None
    return GuardPolicy(settings.kind, settings.profile, settings.public_keys, caller_decides=built_here)


def agent_files(settings: AgentSettings) -> dict[str, tuple[str, str]]:
    """Return text and mode of each file that the host gets in ``DIRECTORY``."""
    policy = agent_policy(settings)
    files = {
        "agent": (agent_program(settings), "755"),
        "guard": (installed_program(policy).rstrip("\n"), "700"),
        "profile": (settings.profile, "644"),
    }
    if settings.repository is None:
        files["allowed_signers"] = (settings.signers(), "644")
    else:
        files.update(settings.repository.files())
    if settings.checks:
        files["checks"] = (host_checks(settings.checks).rstrip("\n"), "700")
    if settings.netrc:
        files["netrc"] = (settings.netrc.rstrip("\n"), "600")
    return files


def agent_units(settings: AgentSettings) -> dict[str, str]:
    """Return the text of each unit. ``@GROUPS@`` is left for the host, which knows who may ask the Nix daemon."""
    directory = _TARGET / "agent/units"
    credentials = settings.credentials(repository_key=f"{DIRECTORY}/repository_key")
    values = {
        "SANDBOX": (directory / SANDBOX).read_text(encoding="utf-8").rstrip("\n"),
        "AGENT": f"{DIRECTORY}/agent",
        "STATE": DIRECTORY,
        "LOGIN": f"StandardInput=file:{DIRECTORY}/netrc" if settings.netrc else "",
        "CREDENTIALS": "\n".join(f"LoadCredential={name}:{path}" for name, path in credentials.items()),
        "FILE_SIZE": REPOSITORY_FILE_SIZE if settings.repository else FILE_SIZE,
        "TIMEOUT_BUILD": str(settings.repository.timeout_build if settings.repository else 1),
        "TIMEOUT_CONFIRM": str(settings.timeout_confirm),
        "CALENDAR": settings.calendar,
        "JITTER": str(settings.jitter),
    }
    return {name: _filled((directory / name).read_text(encoding="utf-8"), values) for name in UNITS}


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.rstrip("\n")
