# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds with the Nix of this machine. No lab is needed here: test_build_lab.py has what needs one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import REPOSITORY, nix_environment, run
from processes import wait_until
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal

HOSTS = ("web1", "web2", "db.example.org")
# Seconds until a process that was told to end must have ended.
END_DEADLINE = 20
# Hosts whose systems can be built, and hosts that go wrong in one way each. SALT makes the derivations new.
FLEET = """
{ version ? "1", settings ? { } }:
let
  derive = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    salt = "SALT";
    text = builtins.toJSON settings;
    passAsFile = [ "text" ];
  };
  copyText = "read -r line <$textPath || :; printf '%s' \\"$line\\" >$out";
  system = name: { config.system.build.toplevel = derive name copyText; };
  libbroken = derive "libbroken" "echo compiling; echo 'undefined reference' >&2; exit 3";
in
{
  web1 = system "web1-${version}";
  web2 = system "web2-${version}";
  "db.example.org" = derive "db" "echo >$out";
  nodes.web1 = derive "nested" "echo >$out";
  cannotEvaluate = throw "no such luck";
  warns = builtins.trace "warning: an option is old" (builtins.trace "a value" (system "warns" // {
    config = (system "warns").config // { said = 4; };
  }));
  warnsAndFails = builtins.trace "warning: an option is old" (builtins.trace "a value" (throw "the mistake"));
  cannotBuild = derive "needs" "echo ${libbroken} >$out";
  foreign = derivation { name = "foreign-SALT"; system = "riscv64-linux"; builder = "/bin/sh"; };
  number = 4;
  several = derivation {
    name = "several-SALT";
    system = builtins.currentSystem;
    outputs = [ "out" "dev" ];
    builder = "/bin/sh";
    args = [ "-c" "echo 1 >$out; echo 2 >$dev" ];
  };
  slow = derive "slow" "echo $$ >PIDFILE; echo begun; while :; do read -t 1 line </dev/zero; done";
}
"""
FLAKE = """
{
  inputs = { };
  outputs = { self, ... }@inputs:
    let fleet = import ./fleet.nix; derive = name: derivation {
      inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo >$out" ]; salt = "SALT";
    }; in
    {
      nixosConfigurations.web1.config.system.build.toplevel = derive "web1";
      nixosConfigurations.web2.config.system.build.toplevel = derive "web2";
      nixosConfigurations."db.example.org".config.system.build.toplevel = derive "db";
      nixosConfigurations.broken.config.system.build.toplevel = throw "this host is broken";
      darwinConfigurations.mac1.system = derive "mac1";
      packages.x86_64-linux.tool = derive "tool";
      packages.x86_64-linux.impure = derive "home-${builtins.getEnv "HOME_FOR_TEST"}";
      packages.x86_64-linux.input = derive "input-${if inputs ? other then inputs.other.lib.name else "none"}";
    };
}
"""


def fleet(directory: Path) -> str:
    return FLEET.replace("SALT", secrets.token_hex(8)).replace("PIDFILE", str(directory / "pid"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a fleet file and a flake, for hosts that nobody connects to."""
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    inventory = {"all": {"hosts": {host: {"ansible_connection": "local"} for host in HOSTS}}}
    project.write("inventory.yml", json.dumps(inventory))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    project.write("fleet.nix", fleet(tmp_path))
    project.write("flake/flake.nix", FLAKE.replace("SALT", secrets.token_hex(8)))
    return project


def build(
    project: Project,
    *flags: str,
    on: str = "web1",
    environment: dict[str, str] | None = None,
    keywords: dict[str, Any] | None = None,
    **options: Any,
) -> PlaybookRun:
    """Run one nix_build task."""
    task = {"name": "build", "nixferry.deploy.nix_build": options, **(keywords or {})}
    play = {"hosts": on, "gather_facts": False, "tasks": [task]}
    state = {"XDG_STATE_HOME": str(project.directory / "state"), **(environment or {})}
    return project.run_playbook([play], *flags, environment=state)


def build_each(
    project: Project, cases: list[dict[str, Any]], *flags: str, environment: dict[str, str] | None = None
) -> PlaybookRun:
    """Run one nix_build task a case, called `case N`; a case that fails does not stop the next one."""
    tasks = [
        {"name": f"case {number}", "nixferry.deploy.nix_build": options, "ignore_errors": True}
        for number, options in enumerate(cases)
    ]
    play = {"hosts": "web1", "gather_facts": False, "tasks": tasks}
    state = {"XDG_STATE_HOME": str(project.directory / "state"), **(environment or {})}
    return project.run_playbook([play], *flags, environment=state)


def is_valid(path: str) -> bool:
    argv = ["nix-store", "--check-validity", path]
    return run(argv, environment=nix_environment(), check=False).returncode == 0


def test_a_fleet_is_built_in_one_task(project: Project) -> None:
    def once(*flags: str) -> dict[str, Any]:
        options = {"file": "fleet.nix", "attr": "{host}", "hosts": "{{ ansible_play_hosts }}"}
        ran = build(project, *flags, on="all", keywords={"run_once": True}, **options).assert_ok()
        return ran.result("build")

    planned = once("--check")
    assert planned["changed"]
    for host in HOSTS:
        plan = planned["hosts"][host]
        assert plan["would_build"] == [plan["drv_path"]]
        assert (plan["would_fetch"], plan["download_size"], plan["built"]) == ([], 0, False)
        assert not is_valid(plan["toplevel"])
    assert not (project.directory / "state/nixferry/gcroots").exists()

    made = once()
    assert made["changed"]
    assert made["failed_hosts"] == []
    for host in HOSTS:
        assert made["hosts"][host]["built"]
        assert made["hosts"][host]["toplevel"] == planned["hosts"][host]["toplevel"]
        assert is_valid(made["hosts"][host]["toplevel"])

    again, planned_again = once(), once("--check")
    assert not again["changed"]
    assert not planned_again["changed"]
    assert not any(each["built"] for each in again["hosts"].values())
    assert planned_again["hosts"]["web1"]["would_build"] == []


def test_hosts_that_fail_do_not_stop_the_others(project: Project) -> None:
    hosts = ["web1", "cannotEvaluate", "cannotBuild", "foreign", "nowhere", "number", "db.example.org"]
    ran = build(project, file="fleet.nix", attr="{host}", hosts=hosts).assert_ok()
    result = ran.result("build")
    good = {"web1", "db.example.org"}
    assert set(result["failed_hosts"]) == set(hosts) - good
    for host in hosts:
        part = result["hosts"][host]
        assert part["failed"] == (host not in good)
        assert (part["toplevel"] is None) == part["failed"]
    assert all(is_valid(result["hosts"][host]["toplevel"]) for host in good)

    def failure(host: str) -> dict[str, Any]:
        return cast(dict[str, Any], result["hosts"][host])

    assert failure("cannotEvaluate")["step"] == "evaluate"
    assert failure("cannotEvaluate")["msg"].startswith("cannotEvaluate: evaluate failed: no such luck\n")
    assert failure("cannotBuild")["step"] == "build"
    assert "-libbroken.drv' failed" in failure("cannotBuild")["msg"]
    assert "-needs.drv needs it" in failure("cannotBuild")["msg"]
    assert failure("cannotBuild")["output"] == ["compiling", "undefined reference"]
    assert "riscv64-linux" in failure("foreign")["msg"]
    assert "attribute 'nowhere' in selection path 'nowhere' not found: it has" in failure("nowhere")["msg"]
    assert "attribute 'number' is a int, not a derivation" in failure("number")["msg"]
    # The reasons come where the build is used.
    (warned,) = [line for line in ran.stderr.splitlines() if line.startswith("[WARNING]")]
    assert all(host in warned for host in result["failed_hosts"])
    assert "no such luck" not in ran.stderr


def test_warnings_of_the_evaluation_are_shown_once_and_causes_come_first(project: Project) -> None:
    listed = """builtins.trace "warning: a fleet is old" {
      network.nixpkgs = import ./nixpkgs { };
      old1 = { deployment.targetHost = "127.0.0.1"; };
    }"""
    project.write("network.nix", listed)
    run([str(REPOSITORY / "tests/fixtures/nixpkgs/materialise"), str(project.directory / "nixpkgs")])
    project.write("network.fleet.yml", "plugin: nixferry.deploy.fleet\nfleet: network.nix\nformat: nixops\n")
    inventories = ("-i", "inventory.yml", "-i", "network.fleet.yml")
    looked_up = "{{ lookup('nixferry.deploy.nix_eval', file='fleet.nix', attr='warns.config.said') }}"
    ran = build(
        project,
        *inventories,
        file="fleet.nix",
        attr="{host}",
        hosts=["warns", "warnsAndFails"],
        keywords={"vars": {"said": looked_up}, "failed_when": "said != 4"},
    ).assert_ok()
    result = ran.result("build")
    assert result["evaluation_warnings"] == ["an option is old"]
    assert result["hosts"]["warns"]["built"]
    failed = result["hosts"]["warnsAndFails"]
    assert failed["cause"] == "the mistake"
    assert "trace: a value" in failed["output"]
    shown = [line for line in ran.stderr.splitlines() if "evaluation warning:" in line]
    assert sorted(line.partition("evaluation warning: ")[2] for line in shown) == [
        "a fleet is old",
        "an option is old",
        "an option is old",
    ], ran.stderr
    assert {"nix_eval", "network.fleet.yml"} <= {
        word for line in shown for word in ("nix_eval", "network.fleet.yml") if word in line
    }


def test_nothing_is_evaluated_for_a_host_that_is_offline(project: Project) -> None:
    """A stopped host: nothing listens on its port."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = {"ansible_host": "127.0.0.1", "ansible_port": closed.getsockname()[1]}
    local = {"ansible_connection": "local"}
    project.write("inventory.yml", json.dumps({"all": {"hosts": {"cannotEvaluate": away, "web1": local}}}))
    role = {
        "role": "nixferry.deploy.nixos",
        "vars": {"nixos_file": "fleet.nix", "nixos_attr": "{host}", "nixos_secrets": {"a": {"text": "x"}}},
    }
    play = {"hosts": "all", "gather_facts": False, "roles": [role]}
    state = {"XDG_STATE_HOME": str(project.directory / "state")}

    def deploy(variables: dict[str, Any], **keywords: Any) -> PlaybookRun:
        plays = [{**play, **keywords}]
        return project.run_playbook(plays, "--tags", "build", variables=variables, environment=state)

    asked = deploy({"nixos_skip_offline": True})
    assert [
        (entry.host, entry.status) for entry in asked.results if entry.status not in ("ok", "skipped")
    ] == [("cannotEvaluate", "unreachable")], str(asked)
    built = asked.result("Build the systems of all hosts together")
    assert list(built["hosts"]) == ["web1"]
    assert is_valid(built["hosts"]["web1"]["toplevel"])
    goes_on = deploy({"nixos_skip_offline": True}, ignore_unreachable=True).assert_ok()
    assert list(goes_on.result("Build the systems of all hosts together")["hosts"]) == ["web1"]
    # As ever without it: the build does not ask.
    assert deploy({}).result("Build the systems of all hosts together")["failed_hosts"] == ["cannotEvaluate"]


@pytest.mark.parametrize(
    ("attribute", "step", "words"),
    [
        ("cannotEvaluate", "evaluate", "web1: evaluate failed: no such luck"),
        ("cannotBuild", "build", "libbroken.drv"),
        ("nowhere", "evaluate", "not found"),
    ],
)
def test_a_single_host_that_fails_fails_the_task(
    project: Project, attribute: str, step: str, words: str
) -> None:
    ran = build(project, file="fleet.nix", attr=attribute)
    result = ran.result("build")
    assert (ran.return_code, ran.find("build")[-1].status) == (2, "failed")
    assert (result["step"], result["toplevel"]) == (step, None)
    assert words in result["msg"]


def test_arguments_arrive_as_they_are(project: Project) -> None:
    given_settings = {
        "text": "a ${b} \"c\" 'd' \\ $e é",
        "list": [1, -2.5, None, True, {}],
        "nested": {"a.b": {"": []}},
    }
    result = build(
        project, file="fleet.nix", attr="web1", args={"settings": given_settings}, argstrs={"version": 7}
    ).result("build")
    assert result["toplevel"].endswith("-web1-7")
    assert json.loads(Path(result["toplevel"]).read_text()) == given_settings


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63 - 1)
            | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner
                )
            ),
            max_leaves=10,
        ),
        max_size=20,
    )
)
def test_literals_mean_to_nix_what_they_mean_to_ansible(values: list[object]) -> None:
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--json", "--strict", "-"],
        input=nix_literal(values).encode(),
        env={**os.environ, **nix_environment()},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == values


def test_an_expression_a_derivation_and_a_store_path(project: Project) -> None:
    expression = (
        '{ name }: derivation { inherit name; system = builtins.currentSystem; builder = "/bin/sh"; '
        f'args = [ "-c" "echo >$out" ]; salt = "{secrets.token_hex(8)}"; }}'
    )
    planned = build(project, "--check", expr=expression, args={"name": "made"}).result("build")
    assert planned["drv_path"].endswith("-made.drv")
    by_derivation = build(project, drv_path=planned["drv_path"]).result("build")
    assert by_derivation["built"]
    assert by_derivation["outputs"] == planned["outputs"]
    ready = build(project, store_path=planned["toplevel"]).result("build")
    assert (ready["changed"], ready["drv_path"], ready["toplevel"]) == (False, None, planned["toplevel"])


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"store_path": "/etc/passwd"}, "is not a store path"),
    ({"store_path": f"/nix/store/{'0' * 32}-nowhere"}, "is not in the store, and no substituter has it"),
    ({"drv_path": f"/nix/store/{'0' * 32}-nowhere.drv"}, "is not in the controller's store"),
    ({"drv_path": f"/nix/store/{'0' * 32}-nowhere"}, "is not a derivation"),
    ({"file": "nowhere.nix"}, "nowhere.nix does not exist"),
    ({"file": "fleet.nix", "flake": "."}, "mutually exclusive"),
    ({"flake": "flake", "args": {"a": 1}}, "`args` goes with file or expr or fleet, not with flake"),
    ({"flake": "flake#a..b"}, "has an empty name in it"),
    ({"flake": "./flake", "kind": "profile"}, "names no attribute"),
    ({"build_on": "target", "file": "fleet.nix", "hosts": ["a", "b"]}, "every host builds its own system"),
    ({"file": "fleet.nix", "hosts": []}, "is an empty list"),
    ({"file": "fleet.nix", "evaluators": 0}, "must be positive"),
    ({}, "one of the following is required"),
]


@pytest.mark.parametrize("flags", [(), ("--check",)], ids=["real", "check"])
def test_mistakes_are_explained(project: Project, flags: tuple[str, ...]) -> None:
    ran = build_each(project, [options for options, _words in MISTAKES], *flags)
    for number, (_options, words) in enumerate(MISTAKES):
        [entry] = ran.find(f"case {number}")
        assert entry.status == "ignored"
        assert words in entry.result["msg"]


FLAKE_REFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"flake": "./flake"}, "web1"),
    ({"flake": "./flake#nixosConfigurations.web2"}, "web2"),
    ({"flake": "./flake#nixosConfigurations.{host}"}, "web1"),
    ({"flake": "./flake#darwinConfigurations.mac1"}, "mac1"),
    ({"flake": "./flake#tool"}, "tool"),
    ({"flake": "./flake#packages.x86_64-linux.tool"}, "tool"),
    ({"flake": "./flake#impure", "impure": True}, "home-here"),
    ({"flake": "path:./flake#input"}, "input-none"),
]


def test_flake_references(project: Project) -> None:
    project.write("flake/fleet.nix", "{ }")
    cases = [options for options, _name in FLAKE_REFERENCES]
    ran = build_each(project, cases, environment={"HOME_FOR_TEST": "here"})
    for number, (_options, name) in enumerate(FLAKE_REFERENCES):
        assert str(ran.result(f"case {number}")["toplevel"]).endswith(f"-{name}"), str(ran)


def test_a_flake_for_all_hosts(project: Project) -> None:
    hosts = [*HOSTS, "broken", "nowhere"]
    result = build(project, flake="./flake", hosts=hosts).assert_ok().result("build")
    assert result["failed_hosts"] == ["broken", "nowhere"]
    assert "this host is broken" in result["hosts"]["broken"]["msg"]
    assert "'nixosConfigurations.nowhere.config" in result["hosts"]["nowhere"]["msg"]
    assert result["hosts"]["db.example.org"]["toplevel"].endswith("-db")


def test_inputs_are_overridden_and_the_lock_file_is_written_only_when_building(project: Project) -> None:
    project.write("other/flake.nix", '{ outputs = _: { lib.name = "first"; }; }')
    project.write("instead/flake.nix", '{ outputs = _: { lib.name = "second"; }; }')
    text = FLAKE.replace("inputs = { };", f'inputs.other.url = "path:{project.directory}/other";')
    project.write("flake/flake.nix", text)
    lock = project.directory / "flake/flake.lock"

    def name(*flags: str, **options: Any) -> str:
        ran = build(project, *flags, flake="./flake#input", **options)
        assert ran.return_code == 0, str(ran)
        return str(ran.result("build")["toplevel"]).rpartition("-")[2]

    overridden = {"other": f"path:{project.directory}/instead"}
    assert name("--check") == "first"
    assert name(override_inputs=overridden) == "second"
    assert not lock.exists()
    assert name() == "first"
    assert lock.exists()


def test_the_options_of_a_flake_reach_every_call_that_reads_it(project: Project) -> None:
    """Also those that look for the output: without the override, nothing of this flake can be read."""
    project.write(
        "parts/flake.nix", "{ outputs = _: { lib.make = hosts: { nixosConfigurations = hosts; }; }; }"
    )
    system = 'derivation { name = "over"; system = "x86_64-linux"; builder = "/bin/sh"; }'
    project.write(
        "over/flake.nix",
        """{
          inputs.parts.url = "git+https://git.invalid/parts";
          outputs = { parts, ... }: parts.lib.make { web9.config.system.build.toplevel = SYSTEM; };
        }""".replace("SYSTEM", system),
    )
    override = {"parts": f"path:{project.directory}/parts"}
    options = {"override_inputs": override, "impure": True}
    configuration = {"plugin": "nixferry.deploy.fleet", "fleet": "./over", **options}
    project.write("over.fleet.yml", json.dumps(configuration))
    record, programs = project.directory / "calls", project.directory / "programs"
    real = shutil.which("nix")
    project.write(
        "programs/nix",
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"open({str(record)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"os.execv({real!r}, sys.argv)\n",
    ).chmod(0o755)
    looked_up = (
        "{{ lookup('nixferry.deploy.nix_eval', 'web9', flake='./over#nixosConfigurations', **options) }}"
    )
    ran = build(
        project,
        *("-i", "inventory.yml", "-i", "over.fleet.yml", "--check"),
        fleet="./over",
        hosts=["web9"],
        keywords={"vars": {"said": looked_up, "options": options}, "failed_when": "'config' not in said"},
        environment={"PATH": f"{programs}:{os.environ['PATH']}"},
        **options,
    ).assert_ok()
    assert ran.result("build")["hosts"]["web9"]["toplevel"].endswith("-over")
    assert "over.fleet.yml" not in ran.stderr, "the inventory could not be read"
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    reading = [call for call in calls if any("/over" in word or word.startswith("./over") for word in call)]
    assert len(reading) >= 4, calls
    for call in reading:
        assert call[call.index("--override-input") :][:3] == ["--override-input", "parts", override["parts"]]
        assert {"--impure", "--no-write-lock-file"} <= set(call), call


def test_a_fleet_is_checked_without_a_host(project: Project) -> None:
    """The playbook lists, evaluates and reports all hosts of a file; what it builds with is not needed."""
    project.write(
        "network.nix",
        """builtins.trace "warning: a fleet is old" {
          network.nixpkgs = import ./nixpkgs { };
          web1 = { deployment.targetHost = "192.0.2.1"; };
          web2 = { deployment.targetHots = "192.0.2.2"; };
          web3 = { deployment.targetHost = null; };
        }""",
    )
    run([str(REPOSITORY / "tests/fixtures/nixpkgs/materialise"), str(project.directory / "nixpkgs")])
    arguments = ("-e", "fleet=network.nix", "-e", "fleet_format=nixops")
    ran = project.run_named("nixferry.deploy.check_fleet", *arguments)
    assert ran.return_code == 2, str(ran)
    checked = ran.result("Evaluate every host")
    about = checked["hosts"]["web1"]["fleet"]
    assert about == {
        "tool": "nixops",
        "address": "192.0.2.1",
        "user": "root",
        "port": 22,
        "tags": [],
        "place": f"{project.directory}/network.nix:3",
    }
    assert list(checked["left_out"]) == ["web3"]
    assert checked["failed_hosts"] == ["web2"]
    assert checked["evaluation_warnings"] == ["a fleet is old"]
    report = "\n".join(ran.result("Report every host")["msg"])
    assert re.search(
        r"works  web1: root@192\.0\.2\.1:22, read as nixops at \S+/network\.nix:3; would build \d+ and fetch \d+ paths",
        report,
    )
    assert re.search(r"FAILS  web2: .*targetHots", report)
    assert "left out  web3: deployment.targetHost is null" in report
    assert report.endswith("1 of 2 hosts work.")
    assert not ran.changed("localhost")
    assert "NIXFERRY" not in ran.stdout, "a check is not a deploy, of which a report would tell"
    assert "Name the fleet file" in str(project.run_named("nixferry.deploy.check_fleet"))


CONTENT_ADDRESSED = """
let
  derive = name: given: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    salt = "SALT";
  } // given);
  content = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in
{
  itself = derive "itself" content "echo 1 >$out";
  needs = derive "needs" { dependency = derive "dependency" content "echo 2 >$out"; } "echo $dependency >$out";
  several = derive "several" (content // { outputs = [ "out" "dev" ]; }) "echo 3 >$out; echo 4 >$dev";
  broken = derive "broken" { dependency = derive "bad" content "exit 3"; } "echo >$out";
  plain = derive "plain" { } "echo 5 >$out";
}
"""


def test_what_is_content_addressed_is_known_after_the_build(project: Project) -> None:
    """The derivation itself, or only one that it needs."""
    project.write("ca.nix", CONTENT_ADDRESSED.replace("SALT", secrets.token_hex(8)))
    hosts = ["itself", "needs", "several", "broken", "plain"]
    options = {"extra-experimental-features": "ca-derivations"}

    def once(*flags: str) -> tuple[bool, dict[str, Any]]:
        ran = build(project, *flags, file="ca.nix", attr="{host}", hosts=hosts, options=options).assert_ok()
        result = ran.result("build")
        return bool(result["changed"]), result["hosts"]

    changed, planned = once("--check")
    assert changed
    for host in ("itself", "needs", "several"):
        part = planned[host]
        assert (part["failed"], part["toplevel"], part["outputs"]) == (False, None, {})
        assert part["drv_path"] in part["would_build"]
        assert "known after the build" in part["msg"]
    assert planned["plain"]["toplevel"]
    changed, made = once()
    assert changed
    assert [host for host in hosts if made[host]["failed"]] == ["broken"]
    assert "bad.drv" in made["broken"]["msg"]
    for host in ("itself", "needs", "several", "plain"):
        assert made[host]["built"]
        assert is_valid(made[host]["toplevel"])
    assert set(made["several"]["outputs"]) == {"out", "dev"}
    dependency = Path(made["needs"]["toplevel"]).read_text().strip()
    assert Path(dependency).read_text() == "2\n"
    # Later runs know what was built, and build nothing.
    for flags in ((), ("--check",)):
        _changed, again = once(*flags)
        for host in ("itself", "needs", "several"):
            assert again[host]["toplevel"] == made[host]["toplevel"]
            assert not again[host]["built"]
            assert not again[host].get("would_build")
    by_derivation = build(project, drv_path=made["needs"]["drv_path"], options=options).result("build")
    assert by_derivation["toplevel"] == made["needs"]["toplevel"]


def test_a_file_that_git_does_not_know_is_explained(project: Project) -> None:
    directory = project.directory / "repository"
    project.write("repository/flake.nix", "{ outputs = _: { nixosConfigurations = import ./hosts.nix; }; }")
    project.write("repository/hosts.nix", "{ }")
    run(["git", "init", "--quiet", str(directory)])
    run(["git", "-C", str(directory), "add", "flake.nix"])
    ran = build(project, flake="./repository")
    assert ran.return_code == 2
    assert "`git add` the file" in ran.result("build")["remedy"]


def test_without_nix_the_task_says_so(project: Project) -> None:
    program = project.write("bin/nix-store", "#!/bin/sh\necho this is not Nix\n")
    program.chmod(0o755)
    ran = build(
        project, file="fleet.nix", attr="web1", hosts=["web1"],
        environment={"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ran.return_code == 2
    assert "contains no version" in ran.result("build")["msg"]


def test_outputs(project: Project) -> None:
    result = build(project, file="fleet.nix", attr="several", output="dev").result("build")
    assert set(result["outputs"]) == {"out", "dev"}
    assert result["toplevel"] == result["outputs"]["dev"]
    assert all(is_valid(path) for path in result["outputs"].values())
    ran = build(project, file="fleet.nix", attr="several", output="doc")
    assert "has no output 'doc'" in ran.result("build")["msg"]


def test_check_mode_can_build(project: Project) -> None:
    ran = build(project, "--check", file="fleet.nix", attr="web1", build_in_check_mode=True)
    assert ran.result("build")["built"]
    assert is_valid(ran.result("build")["toplevel"])


def test_a_binary_cache_is_used(project: Project) -> None:
    made = build(project, file="fleet.nix", attr="web1").result("build")
    cache = f"file://{project.directory}/cache"
    run(["nix", "--extra-experimental-features", "nix-command", "copy", "--to", cache, made["toplevel"]],
        environment=nix_environment())  # fmt: skip
    for root in (project.directory / "state/nixferry/gcroots").rglob("web1"):
        root.unlink()
    run(["nix-store", "--delete", made["toplevel"]], environment=nix_environment())
    options = {"substituters": [cache], "require-sigs": False}
    planned = build(project, "--check", file="fleet.nix", attr="web1", options=options).result("build")
    assert planned["would_fetch"] == [made["toplevel"]]
    assert planned["would_build"] == []
    assert planned["changed"]
    fetched = build(project, store_path=made["toplevel"], options=options).result("build")
    assert fetched["built"]
    assert is_valid(made["toplevel"])


def test_what_was_built_is_protected_until_the_next_build(project: Project) -> None:
    first = build(project, file="fleet.nix", attr="web1").result("build")["toplevel"]
    [root] = [path for path in (project.directory / "state/nixferry/gcroots").rglob("*") if path.is_symlink()]
    assert (root.name, str(root.readlink())) == ("web1", first)
    delete = ["nix-store", "--delete", first]
    assert run(delete, environment=nix_environment(), check=False).returncode != 0
    second = build(project, file="fleet.nix", attr="web1", argstrs={"version": 2}).result("build")["toplevel"]
    assert str(root.readlink()) == second
    run(delete, environment=nix_environment())
    assert not is_valid(first)


def test_a_task_that_runs_for_every_host_builds_once(project: Project) -> None:
    play = {
        "hosts": "all",
        "strategy": "free",
        "gather_facts": False,
        "tasks": [
            {
                "name": "build",
                "nixferry.deploy.nix_build": {"file": "fleet.nix", "attr": "{host}", "hosts": list(HOSTS)},
                "run_once": True,
            }
        ],
    }
    state = {"XDG_STATE_HOME": str(project.directory / "state")}
    results = project.run_playbook([play], environment=state).assert_ok().find("build")
    assert {each.host for each in results} == set(HOSTS)
    assert [each.result["changed"] for each in results].count(True) == 1
    assert (
        len(
            {
                json.dumps({host: part["toplevel"] for host, part in each.result["hosts"].items()})
                for each in results
            }
        )
        == 1
    )


def test_a_builder_that_cannot_be_used_is_told_of(project: Project) -> None:
    # Whether nobody listens there or somebody who does not know this user.
    nobody = {"uri": "ssh://nobody@127.0.0.1"}
    here = {"file": "fleet.nix", "attr": "web1", "builders": [nobody]}
    elsewhere = {**here, "attr": "web2", "max_jobs": 0}
    ran = build_each(project, [here, elsewhere]).assert_ok()
    words = "the builder ssh://nobody@127.0.0.1 could not be used ("
    assert ran.result("case 0")["built"]
    assert words in " ".join(ran.stderr.split())
    failed = ran.result("case 1")
    assert words in failed["msg"]
    assert failed["toplevel"] is None
    assert "max-jobs" not in failed["remedy"]


def test_progress_is_told_on_standard_error(project: Project) -> None:
    ran = build(project, "-v", file="fleet.nix", attr="cannotBuild")
    assert "[web1] evaluating web1" in ran.stderr
    assert "[web1] building web1" in ran.stderr
    assert "[web1] libbroken> undefined reference" in ran.stderr
    assert "evaluating" not in ran.stdout


@pytest.mark.parametrize(("options", "keywords"), [({"progress": "none"}, {}), ({}, {"no_log": True})])
def test_progress_can_be_silent(project: Project, options: dict[str, Any], keywords: dict[str, Any]) -> None:
    ran = build(project, "-v", file="fleet.nix", attr="cannotBuild", keywords=keywords, **options)
    assert ran.return_code == 2
    assert "[web1]" not in ran.stderr.replace("fatal: [web1]", "")
    if keywords:
        assert "undefined reference" not in ran.stderr + ran.stdout


def pid_in(file: Path) -> int:
    return int(file.read_text())


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def end_builder(file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(pid_in(file), signal.SIGKILL)


@pytest.fixture
def builder_pid(tmp_path: Path) -> Iterator[Path]:
    """The file into which the build of `slow` writes its process id."""
    yield tmp_path / "pid"
    end_builder(tmp_path / "pid")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_build_survives_a_killed_playbook(
    project: Project, builder_pid: Path, number: signal.Signals
) -> None:
    play = {
        "hosts": "web1",
        "gather_facts": False,
        "tasks": [{"nixferry.deploy.nix_build": {"file": "fleet.nix", "attr": "slow"}}],
    }
    argv, environment = project.prepare([play])
    playbook = subprocess.Popen(
        # These tests may run under nohup.
        ["env", f"--default-signal={number.name.removeprefix('SIG')}", *argv]
        if number != signal.SIGKILL
        else argv,
        cwd=project.directory,
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(builder_pid.exists, deadline=60, what="the build begins")
        wait_until(
            lambda: builder_pid.read_text().strip() != "", deadline=10, what="the build tells its process id"
        )
        builder = pid_in(builder_pid)
        assert is_running(builder)
        playbook.send_signal(number)
        wait_until(lambda: not is_running(builder), deadline=END_DEADLINE, what="the build ends")
    finally:
        playbook.kill()
        playbook.wait()


@pytest.mark.parametrize(
    ("options", "keywords", "words"),
    [
        ({"timeout": 3}, {}, "the timeout for the build expired"),
        ({}, {"timeout": 5}, "Timed out after 5 second"),
    ],
)
def test_a_timeout_ends_the_build(
    project: Project, builder_pid: Path, options: dict[str, Any], keywords: dict[str, Any], words: str
) -> None:
    begin = time.monotonic()
    ran = build(project, file="fleet.nix", attr="slow", keywords=keywords, **options)
    assert ran.return_code == 2
    assert words.lower() in ran.result("build")["msg"].lower()
    wait_until(lambda: not is_running(pid_in(builder_pid)), deadline=END_DEADLINE, what="the build ends")
    assert time.monotonic() - begin < 60
