# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.realise import Target
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.result import HostBuild, task_result
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.target import (
    limited,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import (
    CommandOutput,
    command_script,
    read_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.about import about_host

SHELLS = [
    pytest.param(
        argv, id=argv[0], marks=pytest.mark.skipif(not shutil.which(argv[0]), reason=f"{argv[0]} is missing")
    )
    for argv in (["dash"], ["bash", "--posix"], ["busybox", "sh"])
]
TARGET = Target("/nix/store/web1.drv", {"out": "/nix/store/web1"}, "/nix/store/web1")
ERROR = NixferryError("bad luck", step="build", remedy="Try again.", output=["one", "two"])


def test_a_host_that_was_built() -> None:
    assert HostBuild("web1", TARGET, built=True).facts() == {
        "failed": False,
        "drv_path": "/nix/store/web1.drv",
        "outputs": {"out": "/nix/store/web1"},
        "toplevel": "/nix/store/web1",
        "built": True,
        "revision": "",
        "repository": "",
        "fleet": None,
    }


def test_what_the_fleet_file_says_about_a_host() -> None:
    said = {
        "tool": "morph",
        "kind": "nixos",
        "target_host": "ann@192.0.2.1",
        "target_user": None,
        "target_port": None,
    }
    about = about_host("web1", {**said, "tags": ["web"], "place": "/srv/network.nix:3"})
    assert about == {
        "tool": "morph",
        "address": "192.0.2.1",
        "user": "ann",
        "port": None,
        "tags": ["web"],
        "place": "/srv/network.nix:3",
    }
    assert HostBuild("web1", TARGET, about=about).facts()["fleet"] == about


def test_warnings_of_the_evaluation_are_those_of_all_hosts() -> None:
    builds = [HostBuild("web1", TARGET, built=True), HostBuild("web2", error=ERROR)]
    assert task_result(builds[:1], warnings=["old"])["evaluation_warnings"] == ["old"]
    result = task_result(builds, dict, warnings=["old"])
    assert result["evaluation_warnings"] == ["old"]
    assert all("evaluation_warnings" not in facts for facts in result["hosts"].values())
    assert task_result(builds[1:])["evaluation_warnings"] == []


def test_check_mode_has_the_same_keys_and_the_plan() -> None:
    plan = Plan(("/nix/store/web1.drv",), ("/nix/store/dep",), 10, 20)
    facts = HostBuild("web1", TARGET, plan=plan).facts()
    assert set(HostBuild("web1", TARGET).facts()) < set(facts)
    assert facts["would_build"] == ["/nix/store/web1.drv"]
    assert facts["would_fetch"] == ["/nix/store/dep"]
    assert (facts["download_size"], facts["unpacked_size"]) == (10, 20)


def test_a_plan_names_the_first_paths_unless_all_are_asked_for() -> None:
    # As Nix orders them: the host's own derivation is the last one.
    built = tuple(f"/nix/store/{number}.drv" for number in range(500))
    fetched = tuple(f"/nix/store/{number}" for number in range(700))
    build = HostBuild("web1", TARGET, plan=Plan(built, fetched, 10, 20))
    facts = build.facts()
    assert facts["would_build"] == [f"/nix/store/{number}.drv" for number in range(499, 489, -1)]
    assert facts["would_fetch"] == list(fetched[:10])
    assert (facts["would_build_count"], facts["would_fetch_count"]) == (500, 700)
    full = build.facts(full_plan=True)
    assert (full["would_build"], full["would_fetch"]) == (list(built[::-1]), list(fetched))
    assert task_result([build], dict)["hosts"]["web1"] == facts
    assert task_result([build], dict, full_plan=True)["hosts"]["web1"] == full


def test_a_path_that_is_not_known_yet_is_told_as_such() -> None:
    target = Target("/nix/store/web1.drv", {}, "")
    facts = HostBuild("web1", target, plan=Plan(("/nix/store/web1.drv",))).facts()
    assert (facts["toplevel"], facts["outputs"], facts["failed"]) == (None, {}, False)
    assert facts["msg"].startswith("web1: ")
    assert "known after the build" in facts["msg"]
    assert is_known_later("web1", facts)
    assert is_known_later("web1", {"hosts": {"web1": facts}})
    assert not is_known_later("web1", HostBuild("web1", TARGET).facts())
    assert not is_known_later("web1", HostBuild("web1", target, error=ERROR).facts())


def test_a_host_that_failed_has_no_toplevel_to_copy() -> None:
    facts = HostBuild("web1", TARGET, error=ERROR).facts()
    assert facts["failed"]
    assert facts["toplevel"] is None
    assert facts["drv_path"] == "/nix/store/web1.drv"
    assert (facts["step"], facts["output"]) == ("build", ["one", "two"])
    assert facts["msg"] == "web1: build failed: bad luck\nWhat to do: Try again."


def test_a_host_that_could_not_be_evaluated_has_the_same_keys() -> None:
    facts = HostBuild("web1", error=ERROR).facts()
    assert (facts["drv_path"], facts["outputs"], facts["toplevel"], facts["built"]) == (None, {}, None, False)


@pytest.mark.parametrize(
    ("build", "changed"),
    [
        (HostBuild("web1", TARGET), False),
        (HostBuild("web1", TARGET, built=True), True),
        (HostBuild("web1", TARGET, plan=Plan()), False),
        (HostBuild("web1", TARGET, plan=Plan(would_fetch=("/nix/store/dep",))), True),
        (HostBuild("web1", TARGET, plan=Plan(unknown=("/nix/store/web1",)), error=ERROR), False),
        (HostBuild("web1", error=ERROR), False),
    ],
)
def test_changed(build: HostBuild, changed: bool) -> None:
    assert task_result([build])["changed"] == changed
    assert task_result([build], dict)["changed"] == changed


def test_one_host_fails_the_task_and_several_do_not() -> None:
    builds = [HostBuild("web1", TARGET, built=True), HostBuild("web2", error=ERROR)]
    assert task_result(builds[1:])["failed"]
    result = task_result(builds, dict)
    assert not result["failed"]
    assert result["failed_hosts"] == ["web2"]
    assert set(result["hosts"]) == {"web1", "web2"}


@pytest.mark.parametrize("where", ["", "controller"])
def test_one_failure_of_the_whole_batch_is_that_of_the_task(where: str) -> None:
    builds = [HostBuild(name, error=ERROR.with_(where=where)) for name in ("web1", "web2")]
    result = task_result(builds, dict, batch=("web1", "web2"))
    assert result["failed"]
    assert result["failed_hosts"] == ["web1", "web2"]
    assert result["msg"] == "web1, web2: build failed: bad luck\nWhat to do: Try again."
    assert (result["cause"], result["output"]) == ("bad luck", ["one", "two"])
    # What the tool said stands once.
    assert json.dumps(result).count('"one"') == 1
    # What later tasks read of it: the same error.
    with pytest.raises(NixferryError, match="bad luck") as error:
        built_toplevel("web2", result)
    assert error.value.step == "build"


@pytest.mark.parametrize(
    ("errors", "batch"),
    [
        # Another host of the batch goes on: it has been built, builds elsewhere, or has no part in this.
        ((ERROR, None), ("web1", "web2")),
        ((ERROR, ERROR), ("web1", "web2", "web3")),
        ((ERROR, ERROR), ()),
        # Each host has its own reason.
        ((ERROR, ERROR.with_(cause="no luck")), ("web1", "web2")),
        ((ERROR, ERROR.with_(remedy="Wait.")), ("web1", "web2")),
    ],
)
def test_what_is_not_the_failure_of_all_fails_later_for_each(
    errors: tuple[NixferryError | None, ...], batch: tuple[str, ...]
) -> None:
    builds = [HostBuild(f"web{number}", TARGET, error=error) for number, error in enumerate(errors, 1)]
    result = task_result(builds, dict, batch=batch)
    assert not result["failed"]
    assert set(result["hosts"]) == {"web1", "web2"}


def test_ansible_gets_no_key_that_means_something_else() -> None:
    for result in (
        task_result([HostBuild("web1", TARGET, plan=Plan(), error=ERROR)]),
        task_result([HostBuild("web1", TARGET, error=ERROR)], dict),
    ):
        assert not {"results", "warnings", "message", "invocation", "skipped"} & set(result)


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c", "d"], "a, b, c, d"),
        (["a", "b", "c", "d", "e"], "5 hosts (a, b, c, d ...)"),
    ],
)
def test_names(hosts: list[str], text: str) -> None:
    assert names_text(hosts) == text


def run_script(shell: list[str], directory: Path, command: list[str], seconds: int | None) -> CommandOutput:
    program = directory / "nix-store"
    program.write_text('#!/bin/sh\ncat\nfor each in "$@"; do printf \'<%s>\' "$each"; done\nexit 3\n')
    program.chmod(0o755)
    done = subprocess.run(
        shell,
        input=command_script([limited(command, seconds)]),
        env={"PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return read_commands(RemoteResult(0, done.stdout, done.stderr), step=Step.BUILD)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("seconds", [None, 20])
def test_the_host_runs_the_command_as_it_is(shell: list[str], seconds: int | None, tmp_path: Path) -> None:
    output = run_script(
        shell, tmp_path, ["nix-store", "--option", "builders", "a 'b' $(c)\n;d", "--realise"], seconds
    )
    assert output.text == "<--option><builders><a 'b' $(c)\n;d><--realise>"
    assert output.code == 3


@pytest.mark.parametrize("shell", SHELLS)
def test_the_host_ends_a_command_that_takes_too_long(shell: list[str], tmp_path: Path) -> None:
    begin = time.monotonic()
    assert run_script(shell, tmp_path, ["sleep", "600"], 1).code != 0
    assert 1 <= time.monotonic() - begin < 20
