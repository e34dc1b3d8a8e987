# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Report who deployed to a host, and how the host differs from the deployed system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import built_toplevel
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import shown_revision
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult

RUNNING = "running"
PROFILE = "profile"
BUILD = "build"
_NOTES = {
    RUNNING: "what runs is not what boots next: a test, a specialisation, or a reboot is due",
    PROFILE: "the profile was changed since the last deploy by something else",
    BUILD: "a deploy would change it: the source builds {wanted}",
}


def deploy_facts(host: str, probe: ProbeResult, build: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the part of the result of ``nix_generations`` that is about deploys.

    ``build`` is the result of ``nix_build`` for the next deploy, if requested.
    """
    drift = []
    notes = []
    wanted = ""
    if probe.current != probe.profile_target:
        drift.append(RUNNING)
    # A third party may also have switched back to an earlier deploy.
    deployed = probe.deployed
    if probe.deployed_last is not None and (deployed is None or deployed.generation != probe.deployed_last):
        drift.append(PROFILE)
    if build is not None:
        try:
            wanted = built_toplevel(host, build)
        except NixferryError as error:
            notes.append(f"what a deploy would bring is not known: {error.headline}")
        if wanted and wanted != probe.profile_target:
            drift.append(BUILD)
    notes = [*(_NOTES[word].format(wanted=wanted) for word in drift), *notes]
    by_generation = {record.generation: record for record in probe.deploys}
    current = next((generation for generation in probe.generations if generation.current), None)
    made = current.date if current else None
    facts: dict[str, Any] = {
        "deployed": deployed.facts() if deployed else {},
        "generation_time": "" if made is None else datetime.fromtimestamp(made, UTC).isoformat(),
        "drift": drift,
        "wanted": wanted,
        "notes": notes,
        "history": [record.facts() for record in probe.history],
        "deploys": [record.facts() for _number, record in sorted(by_generation.items())],
    }
    summary = [f"drift      {note}" for word, note in zip(drift, notes, strict=False) if word != RUNNING]
    if deployed:
        revision = f" from revision {shown_revision(deployed.revision)}" if deployed.revision else ""
        how = "went back to it" if deployed.action == "rollback" else "deployed it"
        summary.insert(
            0, f"deployed   {deployed.deployer or 'an unknown deployer'} {how} on {deployed.moment}{revision}"
        )
    facts["summary"] = summary
    return facts
