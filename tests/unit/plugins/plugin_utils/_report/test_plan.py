# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what is written is what is read, what is not a plan is refused, and the summary holds no foreign markup."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import (
    Plan,
    PlannedHost,
    planned_host,
    read_plan,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_markdown import plan_markdown
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.planned import plan_of

OLD = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-old"
NEW = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-new"
CLOSURE = {
    "packages": [
        {"name": "openssl", "change": "changed", "before": ["3.0.1"], "after": ["3.0.2"], "size_delta": 4096}
    ],
    "size_before": 1000000,
    "size_after": 1004096,
}


def results(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "build": {"toplevel": NEW, "revision": "abc", "failed": False},
        "generations": {"current": OLD, "boot_default": OLD},
        "preview": {
            "outcome": "committed",
            "rebooted": False,
            "reboot_reasons": ["kernel"],
            "closure": CLOSURE,
        },
        "secrets": {"secrets": {"key": {}}, "removed": ["/run/keys/old"]},
    }
    return {**found, **changes}


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = plan_of({"web1": results()}, made=100, expires=200)
    assert read_plan(plan.text().encode(), now=199) == plan
    host = planned_host(plan, "web1")
    assert (host.toplevel, host.current, host.boot_default) == (NEW, OLD, OLD)
    assert host.secrets == ("key", "/run/keys/old (removed)")
    assert host.reboot_reasons == ("kernel",)
    assert host.changed


def test_a_plan_ends() -> None:
    plan = plan_of({"web1": results()}, made=100, expires=200)
    with pytest.raises(NixferryError, match="has expired at 1970-01-01"):
        read_plan(plan.text().encode(), now=200)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ({}, "nothing|lost"),
        (results(build={"failed": True, "msg": "web2: build failed: no"}), "build failed: no"),
        (results(generations={"unreachable": True, "msg": "no route"}), "could not be reached: no route"),
        (results(preview={}), "lost"),
        (results(secrets={"failed": True, "msg": "secret"}), "secret"),
        ("text", "nothing is known"),
    ],
)
def test_what_is_not_known_is_left_out_by_name(found: Any, cause: str) -> None:
    plan = plan_of({"web1": results(), "web2": found}, made=1, expires=2)
    assert list(plan.hosts) == ["web1"]
    assert re.search(cause, plan.left_out["web2"])
    with pytest.raises(NixferryError, match="leaves web2 out"):
        planned_host(plan, "web2")
    with pytest.raises(NixferryError, match="no host web3"):
        planned_host(plan, "web3")
    assert "web2" in plan_markdown(plan)


def test_a_build_for_many_hosts_is_read_host_by_host() -> None:
    both = {"hosts": {"web1": {"toplevel": NEW}, "web2": {"failed": True, "msg": "broken"}}, "failed": False}
    plan = plan_of({"web1": results(build=both), "web2": results(build=both)}, made=1, expires=2)
    assert plan.hosts["web1"].toplevel == NEW
    assert plan.left_out == {"web2": "broken"}


def test_no_host_is_no_plan() -> None:
    with pytest.raises(NixferryError, match="no host is given"):
        plan_of({}, made=1, expires=2)


def changed(path: list[str], value: Any) -> bytes:
    """A plan with one value replaced."""
    tree = json.loads(plan_of({"web1": results()}, made=100, expires=200).text())
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        changed(["format"], 2),
        changed(["made"], True),
        changed(["expires"], -1),
        changed(["hosts"], []),
        changed(["hosts", "web1"], []),
        changed(["hosts", "web1", "more"], 1),
        changed(["hosts", "web1", "toplevel"], ""),
        changed(["hosts", "web1", "toplevel"], "/nix/store/../etc"),
        changed(["hosts", "web1", "current"], "/etc"),
        changed(["hosts", "web1", "current"], None),
        changed(["hosts", "web1", "changed"], 1),
        changed(["hosts", "web1", "secrets"], [1]),
        changed(["hosts", "web1", "closure"], []),
    ],
)
def test_what_is_not_a_plan_is_refused(content: bytes) -> None:
    with pytest.raises(NixferryError, match="not a valid plan"):
        read_plan(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    with pytest.raises(NixferryError):
        read_plan(content)


def test_the_summary_tells_what_would_happen() -> None:
    same = results(preview={"outcome": "unchanged", "reboot_reasons": []}, secrets={})
    text = plan_markdown(plan_of({"web1": results(), "web2": results(), "db": same}, made=0, expires=3600))
    assert "2 hosts would change, 1 host would stay as it is." in text
    assert "| web1 | +4.0 KiB | due afterwards: kernel | key, /run/keys/old \\(removed\\) |" in text
    assert text.count("- openssl: 3.0.1 → 3.0.2, +4.0 KiB") == 1
    assert "## web1, web2" in text
    assert "Unchanged: db" in text


HOSTILE = "<script>x</script> [a](javascript:b) `c` | **d**\n# e \x1b[31m"


def test_the_summary_holds_no_foreign_markup() -> None:
    host = PlannedHost(
        NEW,
        OLD,
        OLD,
        changed=True,
        reboot_reasons=(HOSTILE,),
        closure={"packages": [{"name": HOSTILE, "before": [HOSTILE], "after": [], "size_delta": 1}]},
        secrets=(HOSTILE,),
    )
    text = plan_markdown(Plan(0, 1, {HOSTILE: host}, {HOSTILE: HOSTILE}))
    assert "\x1b" not in text
    for mark in ("<script", "[a]", "**d", "`c", "\n# e"):
        assert not re.search(rf"(?<!\\){re.escape(mark)}", text), mark


def test_the_summary_names_units_once() -> None:
    unit = {"name": "unit-web.service", "change": "rebuilt", "before": ["∅"], "after": ["∅"], "size_delta": 0}
    units = {"changed": ["web.service"], "added": [], "removed": [HOSTILE]}
    closure = {"packages": [unit], "size_before": 1, "size_after": 1, "units": units}
    text = plan_markdown(plan_of({"web1": results(preview={"closure": closure})}, made=1, expires=2))
    assert "- units changed: web.service" in text
    assert text.count("web.service") == 1
    assert HOSTILE not in text
