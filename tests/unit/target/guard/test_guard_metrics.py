# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard leaves for the monitoring of a host."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from guard_host import SHELLS, Host, wait_for

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
LINE = re.compile(r'nixferry_deploy_(\w+)\{(?:outcome="([a-z-]+)",)?kind="nixos",profile="([^"]+)"\} (\d+)')


def found(host: Host, place: Path) -> dict[str, str]:
    """The outcome, and the value of each metric. The file comes after the last phase."""
    (file,) = place.glob("*.prom")
    values = {}
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        assert match[3] == str(host.profile)
        values[match[1]] = match[2] or match[4]
    return values


def await_outcome(host: Host, place: Path, outcome: str) -> dict[str, str]:
    wait_for(
        lambda: bool(list(place.glob("*.prom"))) and found(host, place)["outcome"] == outcome,
        f"the outcome {outcome}",
    )
    return found(host, place)


@EVERY_SHELL
def test_metrics_say_how_the_last_activation_ended(host: Host) -> None:
    place = host.directory / "metrics"
    place.mkdir()
    begin = int(time.time())
    host.deploy(host.toplevel("good"), metrics_directory=str(place))
    good = await_outcome(host, place, "committed")
    assert begin <= int(good["last_good_run_timestamp_seconds"]) <= time.time()
    assert good["last_run_timestamp_seconds"] == good["last_good_run_timestamp_seconds"]
    assert good["needs_reboot"] == "0"
    broken = host.toplevel("broken", test="exit 2")
    host.ended(host.start(broken, metrics_directory=str(place)).activation_id)
    bad = await_outcome(host, place, "rolled-back")
    assert bad["last_good_run_timestamp_seconds"] == good["last_good_run_timestamp_seconds"]
    host.deploy(host.toplevel("tried"), action="test", metrics_directory=str(place))
    await_outcome(host, place, "tested")
    assert [path.suffix for path in place.iterdir()] == [".prom"]
    assert next(iter(place.iterdir())).stat().st_mode & 0o777 == 0o644


def test_the_usual_directory_is_used_where_it_is_and_none_is_made(host: Host) -> None:
    usual = host.directory / "var/lib/prometheus/node-exporter"
    assert host.deploy(host.toplevel("first")).phase == "committed"
    assert not usual.exists()
    usual.mkdir(parents=True)
    assert host.deploy(host.toplevel("second"), metrics_directory="none").phase == "committed"
    host.deploy(host.toplevel("third"))
    await_outcome(host, usual, "committed")


def test_a_directory_that_is_absent_or_hostile_changes_nothing_else(host: Host) -> None:
    absent = host.deploy(host.toplevel("first"), metrics_directory=str(host.directory / "absent"))
    assert absent.phase == "committed"
    place, victim = host.directory / "metrics", host.directory / "victim"
    place.mkdir()
    victim.write_text("precious")
    name = "nixferry_deploy" + re.sub(r"[^A-Za-z0-9]", "_", str(host.profile))
    for suffix in (".new", ".prom"):
        (place / f"{name}{suffix}").symlink_to(victim)
    host.deploy(host.toplevel("second"), metrics_directory=str(place))
    wait_for(lambda: not (place / f"{name}.prom").is_symlink(), "the metrics")
    assert victim.read_text() == "precious"
    assert found(host, place)["outcome"] == "committed"
