# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The status of a fleet as metrics, in the text format of Prometheus (for the textfile collector)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line

# The names and meanings of the metrics. All of them are gauges.
HELP = {
    "nixferry_status_timestamp_seconds": "When the fleet was asked.",
    "nixferry_host_up": "Whether the host answered.",
    "nixferry_host_info": "What the host runs, by whom it was deployed, and from which revision.",
    "nixferry_host_generation": "The generation of the profile.",
    "nixferry_host_deployed_timestamp_seconds": "When the generation was deployed, or made by another tool.",
    "nixferry_host_reboot_required": "Whether a reboot is due.",
    "nixferry_host_failed_units": "The number of failed units.",
    "nixferry_host_drift": "Whether the host differs from what was deployed, by the kind of difference.",
    "nixferry_host_locked": "Whether a deploy to the host is under way.",
    "nixferry_pull_active": "Whether the host looks regularly for what is published for it.",
    "nixferry_pull_serial": "The serial of the last pointer that the host accepted.",
    "nixferry_pull_issued_timestamp_seconds": "When that pointer was issued.",
    "nixferry_pull_good_timestamp_seconds": "When a pull ended well for the last time.",
    "nixferry_pull_outcome": "The outcome of the last pull.",
    "nixferry_pull_quarantined_systems": "The number of systems that are not tried again before they are cleared.",
}
_Labels = dict[str, str]


def metrics_text(status: Mapping[str, Any]) -> str:
    """Return the metrics of a status (``FleetStatus.report``); what is not known of a host has no sample."""
    samples: dict[str, list[tuple[_Labels, float]]] = {name: [] for name in HELP}
    samples["nixferry_status_timestamp_seconds"].append(({}, _seconds(status["time"]) or 0))
    for name, host in status["hosts"].items():
        for metric, labels, value in _of_host(host):
            if value is not None:
                samples[metric].append(({"host": name, **labels}, value))
    lines = []
    for metric, found in samples.items():
        if found:
            lines += [f"# HELP {metric} {HELP[metric]}", f"# TYPE {metric} gauge"]
            lines += [f"{metric}{_labels(labels)} {value:.17g}" for labels, value in found]
    return "\n".join(lines) + "\n"


def _of_host(host: Mapping[str, Any]) -> Iterable[tuple[str, _Labels, float | None]]:
    answered = host["current"] is not None
    yield "nixferry_host_up", {}, answered
    if answered:
        deployed = host["deployed"] or {}
        info = {
            "system": str(host["current"]).rpartition("/")[2],
            "revision": str(deployed.get("revision") or ""),
            "deployer": str(deployed.get("deployer") or ""),
            "nix_version": str(host["nix_version"] or ""),
        }
        yield "nixferry_host_info", info, 1
        yield "nixferry_host_generation", {}, host["generation"] or None
        moment = _seconds(deployed.get("time") or host["generation_time"])
        yield "nixferry_host_deployed_timestamp_seconds", {}, moment
        yield "nixferry_host_reboot_required", {}, bool(host["reboot_required"])
        yield "nixferry_host_failed_units", {}, len(host["failed_units"] or ())
        yield "nixferry_host_locked", {}, bool(host["lock"])
        drift = host["drift"] or ()
        # Without a comparison nothing is known of what a build would give.
        for kind in dict.fromkeys(("running", "profile", *map(str, drift))):
            yield "nixferry_host_drift", {"drift": kind}, kind in drift
    yield from _of_pull(host.get("pull"))


def _of_pull(pull: Mapping[str, Any] | None) -> Iterable[tuple[str, _Labels, float | None]]:
    if pull:
        yield "nixferry_pull_active", {}, bool(pull["pulls"])
        yield "nixferry_pull_serial", {}, pull["serial"]
        yield "nixferry_pull_issued_timestamp_seconds", {}, pull["issued"]
        yield "nixferry_pull_good_timestamp_seconds", {}, pull["good_time"]
        if pull["outcome"]:
            yield "nixferry_pull_outcome", {"outcome": str(pull["outcome"])}, 1
        yield "nixferry_pull_quarantined_systems", {}, len(pull["quarantined"])


def _labels(labels: _Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return clean_line(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(moment: Any) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch; None for any other text."""
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return None
