# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of a fleet: what Prometheus' own parser reads from them is what was known."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sample_reports import BEGAN, a_status

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.metrics import HELP, metrics_text


def read(status: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """The samples by metric and values of labels; each metric stands once, with a help text and a type."""
    text = metrics_text(status)
    assert text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found: dict[tuple[str, ...], float] = {}
    for family in families:
        assert (family.type, family.documentation) == ("gauge", HELP[family.name])
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            # The textfile collector refuses samples with a time.
            assert sample.timestamp is None
            found[key] = sample.value
    return found


def test_what_is_known_of_a_fleet() -> None:
    found = read(a_status())
    assert found[("nixferry_status_timestamp_seconds",)] == BEGAN
    assert [found[("nixferry_host_up", host)] for host in ("web1", "web2", "away")] == [1, 1, 0]
    assert found["nixferry_host_failed_units", "web2"] == 1
    assert found["nixferry_host_reboot_required", "cache1"] == 1
    assert found["nixferry_host_locked", "web2"] == 1
    drift = {key[2]: value for key, value in found.items() if key[:2] == ("nixferry_host_drift", "web2")}
    assert drift == {"running": 1, "profile": 0, "build": 1}
    assert found["nixferry_host_deployed_timestamp_seconds", "web1"] == 1_789_740_800
    assert found["nixferry_pull_outcome", "kiosk7", "rolled-back"] == 1
    assert found["nixferry_pull_good_timestamp_seconds", "kiosk7"] == BEGAN - 90000
    # Of a host without an answer nothing else is known, and it says nothing.
    assert [key for key in found if "away" in key] == [("nixferry_host_up", "away")]


@given(st.text(st.sampled_from('"\\\n\r\t{}=, #x\u2028é'), max_size=20) | st.text(max_size=20))
def test_what_a_host_says_is_one_label(said: str) -> None:
    found = read(a_status(said))
    assert found["nixferry_host_up", clean_line(f"web1{said}")] == 1
    assert len(found) == len(read(a_status()))


def test_a_fleet_without_hosts() -> None:
    assert read({"time": "2026-09-21T14:13:20+00:00", "hosts": {}}) == {
        ("nixferry_status_timestamp_seconds",): BEGAN
    }
