# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deploy of a plan takes what the plan says, and a plan that cannot be read is told in the collection's own lines."""

from __future__ import annotations

import time
from pathlib import Path

from stage import Stage

from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import Plan, PlannedHost

OLD = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-old"
NEW = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-new"
BUILD = "Build the systems of all hosts together"
SWITCH = "Activate the system, and roll back if it is not healthy"
PLAYS = [{"hosts": "all", "roles": ["nixferry.deploy.nixos"]}]


def test_what_the_plan_says_is_deployed(stage: Stage, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    now = round(time.time())
    plan.write_text(Plan(now, now + 600, {"web1": PlannedHost(NEW, OLD, OLD, changed=True)}).text())
    built = {"answers": {"nix_build": {"toplevel": NEW}}}
    hosts = {
        name: {**built, "nixos_plan": str(path)}
        for name, path in (("web1", plan), ("web2", plan), ("web3", tmp_path / "none.json"))
    }
    done = stage.run(PLAYS, hosts)
    assert done.failed == {"web2", "web3"}
    # web1 is the first of those that are left, and builds for all of them.
    assert done.options["web1"][BUILD]["sources"] == {"web1": {"store_path": NEW}}
    assert done.options["web1"][SWITCH]["expected"] == {"current": OLD, "boot_default": OLD}
    assert [done.steps[name] for name in ("web2", "web3")] == [[], []]
    lines = [line.strip() for line in done.output.splitlines()]
    for cause in (
        "web2: read the plan failed: the plan has no host web2",
        f"web3: read the plan failed: {tmp_path}/none.json cannot be read: No such file or directory",
    ):
        at = next(number for number, line in enumerate(lines) if cause in line and "[ERROR]" in line)
        assert lines[at + 1].startswith("What to do: "), done.output
    # No chain of what asked for it.
    assert "caused by" not in done.output
    assert "lookup" not in done.output
