# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A builder in a container: from nothing to a deploy, through its losses, to nothing again.

The tests build on each other.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import workstation as workstation_module
import yaml
from builder_pair import execute, run_module
from foreign_systems import SYSTEMS
from hosts import CONTROLLERS
from lab import REPOSITORY, Lab, run
from plays import BUILD, defaults, deploy_play
from processes import wait_until
from workstation import FOREIGN, SOCKET, Workstation, local_play

RUN_DEADLINE = 900  # seconds for a run with the role, which builds an image and tries a builder out
PAGE = REPOSITORY / "docs/docsite/rst/builders.rst"


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Workstation]:
    with workstation_module.started(lab) as machine:
        yield machine


def page() -> dict[str, list[Any]]:
    """The playbooks of the page by the name in their first line."""
    found = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    blocks = [textwrap.dedent(block).strip() for block in found]
    return {block.split()[1]: yaml.safe_load(block) for block in blocks}


def host_key(machine: Workstation) -> str:
    return machine.inside("ssh-keygen -y -f /var/lib/nix-builder/ssh_host_ed25519_key").split()[1]


def registered(machine: Workstation) -> str:
    return machine.execute("cat /etc/nix/machines /etc/ssh/ssh_config.d/*.conf /etc/nix/*_known_hosts")


def deployed(machine: Workstation, name: str) -> str:
    """The path in the builder's store that the host's system leads to."""
    return machine.lab.hosts[name].ask("cat /run/current-system/etc/built-elsewhere")


def test_from_nothing_to_a_deploy(machine: Workstation, tmp_path: Path) -> None:
    host = machine.lab.hosts["web2"]
    host.make_anew()
    project = machine.project(tmp_path / "project")
    project.write("systems/foreign.nix", SYSTEMS.replace("HOST", host.name))
    play = defaults(BUILD, max_jobs=0)
    deploy = deploy_play(host.name, play, file="systems/foreign.nix", attr="{host}")
    plays = [*page()["builder.yml"], *deploy]
    result = project.run_playbook(plays, variables=machine.variables(), timeout=RUN_DEADLINE).assert_ok()

    # Every system was tried out, in a sandbox.
    (checked,) = result.result("nix_builder_check")["results"]
    assert sorted(checked["systems"]) == sorted([FOREIGN, "x86_64-linux"])
    assert {each["sandboxed"] for each in checked["systems"].values()} == {True}
    assert checked["trusted"] is True

    # What the host has was built by a user that only the builder's image has, in its sandbox.
    path = deployed(machine, host.name)
    content = host.ask(f"cat {path}")
    assert re.fullmatch(rf"system={FOREIGN} host=localhost user=300\d\d", content)
    machine.inside(f"nix-store --check-validity {path}")

    # No other key gets in, and what gets in can do little.
    found = machine.inspect()
    assert found["HostConfig"]["PortBindings"] == {
        "22/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(machine.port)}]
    }
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in found["HostConfig"]["SecurityOpt"]
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert machine.execute(f"stat -c '%a %U' {machine.key_file}") == "600 root"
    assert machine.execute(f"ls {machine.key_file}.pub 2>/dev/null || true") == ""
    secret = machine.execute(f"sed -n 2p {machine.key_file}")
    assert secret not in str(found) + result.stdout + result.stderr
    assert set(found["NetworkSettings"]["Networks"]) == {machine.builder}
    refused = machine.execute(f"ssh {machine.builder} cat /etc/passwd 2>&1; echo $?", check=False)
    assert refused.endswith("126"), refused


# As root of the builder: with what it finds, and with a /proc that it mounts itself.
ESCAPE = """
open=': >>/proc/sys/kernel/core_pattern'
for pid in $(pgrep -x nix-daemon) $(pgrep -x sshd); do
    nsenter --user=/proc/$pid/ns/user sh -c "id -u; ($open) 2>&1 && echo open
        unshare --user --map-root-user --mount --pid --fork --mount-proc sh -c '$open && echo open' 2>&1" || :
done
"""


def test_root_of_the_builder_is_not_root_of_the_machine(machine: Workstation) -> None:
    """Who can set kernel.core_pattern lets the kernel run a program on the machine."""
    tried = machine.inside(ESCAPE, user="root").splitlines()
    assert "open" not in tried
    assert tried.count("0") >= 2
    assert len([line for line in tried if "core_pattern: Permission denied" in line]) == 2 * tried.count("0")

    def processes_of_root() -> set[str]:
        told = run(["docker", "top", machine.builder, "-eo", "pid,uid,comm"]).stdout.splitlines()[1:]
        return {line.split()[2] for line in told if line.split()[1] == "0"}

    # The engine's own init does nothing; the health check is root for a moment.
    wait_until(
        lambda: processes_of_root() == {"docker-init"}, deadline=30, what="no process that serves is root"
    )


def test_what_an_image_without_the_namespace_has_left_is_taken_over(machine: Workstation) -> None:
    """Its files are those of the container's root."""
    before = host_key(machine)
    path = machine.inside("ls -d /nix/store/*-built-elsewhere | head -n 1")
    volumes = [f"--volume={machine.builder}-{name}:/{name}" for name in ("nix", "state")]
    image = machine.inspect()["Config"]["Image"]
    undo = """
    find /nix /state -exec chown -h 0:0 {} +
    chgrp nixbld /nix/store
    mkdir /nix/left && chown nixbld1:nixbld /nix/left && chmod 700 /nix/left
    """
    run(["docker", "stop", machine.builder])
    run(["docker", "run", "--rm", *volumes, "--entrypoint=/bin/sh", image, "-euc", undo])
    run(["docker", "start", machine.builder])
    wait_until(
        lambda: (
            run(
                ["docker", "exec", machine.builder, "/usr/local/lib/nix-builder/healthcheck"], check=False
            ).returncode
            == 0
        ),
        deadline=60,
        what="the builder serves what it took over",
    )
    assert (
        machine.inside(f"nix-store --verify-path {path} && stat -c %u:%g:%a /nix/store") == "32768:62768:1775"
    )
    assert host_key(machine) == before
    assert machine.inside("find /nix /var/lib/nix-builder ! -uid 32768 -o -gid 0 -o -gid 30000") == ""
    machine.inside("rmdir /nix/left")


def build_from(machine: Workstation, release: str, version: str) -> None:
    """Let a controller build there over both protocols, in the sandbox, and with that version of Nix."""
    client = machine.lab.controller(release)
    network = f"nixferry-lab-{machine.lab.name}"
    run(["docker", "network", "connect", network, machine.builder], check=False)
    secret = machine.execute(f"cat {machine.key_file}")
    execute(client, f"umask 077; cat >{machine.key_file} <<'END'\n{secret}\nEND")
    options: dict[str, Any] = {
        "name": machine.builder,
        "host": machine.builder,
        "systems": [FOREIGN],
        "host_public_key": f"ssh-ed25519 {host_key(machine)}",
    }
    try:
        for protocol in ("ssh", "ssh-ng"):
            done = run_module(client, "nix_builder", {**options, "protocol": protocol})
            assert not done.get("failed"), done
            checks = ["login", "store", "smoke", "sandbox", "trust"]
            checked = run_module(client, "nix_builder_check", {"name": machine.builder, "checks": checks})
            assert not checked.get("failed"), checked
            assert checked["uri"] == f"{protocol}://{machine.builder}"
        # The older protocol does not tell.
        assert checked["builder_version"].startswith(f"{version}.")
    finally:
        run_module(client, "nix_builder", {"name": machine.builder, "state": "absent"})
        execute(client, f"rm -f {machine.key_file}")


@pytest.mark.parametrize("release", CONTROLLERS)
def test_every_nix_builds_there(machine: Workstation, release: str) -> None:
    build_from(machine, release, "2.26")


def test_a_builder_that_is_lost_is_explained_and_comes_back(machine: Workstation, tmp_path: Path) -> None:
    before = (host_key(machine), registered(machine))
    path = deployed(machine, "web2")
    run(["docker", "rm", "--force", machine.builder])
    expression = SYSTEMS.partition("let")[2].partition("seed =")[0].replace("built-elsewhere", "built-later")
    build = {
        "name": "Build",
        "nixferry.deploy.nix_build": {"expr": f"let {expression} in foreign"},
        "ignore_errors": True,
    }
    again = {**machine.role(max_jobs=3), "name": "Again"}
    result = (
        machine.project(tmp_path / "project")
        .run_playbook([local_play(build, again, build)], timeout=RUN_DEADLINE)
        .assert_ok()
    )

    failed, built = result.find("Build")
    assert (failed.status, built.status) == ("ignored", "ok"), str(result)
    assert f"the builder ssh-ng://{machine.builder} could not be used (connect)" in failed.result["msg"]
    assert "Connection refused" in failed.result["msg"]
    assert "Start the builder" in failed.result["remedy"]
    assert built.result["built"] is True

    # The new container, with another setting, has the key and the store of the old one.
    assert "max-jobs = 3" in machine.inside("cat /run/nix-builder/nix.conf")
    machine.inside(f"nix-store --check-validity {path}")
    assert host_key(machine) == before[0]
    assert registered(machine) == before[1].replace(" 4 1 ", " 3 1 ")

    second = (
        machine.project(tmp_path / "second")
        .run_playbook([local_play(machine.role(max_jobs=3))], timeout=RUN_DEADLINE)
        .assert_ok()
    )
    assert second.changed("localhost") == []


def test_where_the_configuration_makes_the_files_a_module_is_written(
    machine: Workstation, tmp_path: Path
) -> None:
    before = registered(machine)
    other = {
        "name": "other",
        "manage": "snippet",
        "systems": [FOREIGN],
        "host_public_key": f"ssh-ed25519 {host_key(machine)}",
    }
    task = {
        "name": "Client",
        "ansible.builtin.include_role": {"name": "nixferry.deploy.builder_client"},
        "vars": {"builder_client_builders": [other], "builder_client_snippets": "/root"},
    }
    result = machine.project(tmp_path / "project").run_playbook([local_play(task)]).assert_ok()
    assert "Import /root/other.nix" in result.stdout
    assert [entry.status for entry in result.find("Test the builder")] == ["skipped"]
    assert FOREIGN in machine.execute("cat /root/other.nix")
    assert registered(machine) == before


def test_a_killed_builder_is_started_and_an_upgrade_keeps_all_but_nix(
    machine: Workstation, tmp_path: Path
) -> None:
    project = machine.project(tmp_path / "project")
    before = (host_key(machine), registered(machine), machine.execute(f"cat {machine.key_file}"))
    path, image = deployed(machine, "web2"), machine.inspect()["Image"]
    assert " 2.26." in machine.inside("nix --version")

    def brought(**changed: Any) -> list[str]:
        play = local_play(machine.role(max_jobs=3, **changed))
        result = project.run_playbook([play], timeout=RUN_DEADLINE).assert_ok()
        (checked,) = result.result("nix_builder_check")["results"]
        assert {each["sandboxed"] for each in checked["systems"].values()} == {True}
        # The store, down to the content of what was built there, and the keys on both sides.
        machine.inside(f"nix-store --check-validity {path} && nix-store --verify-path {path}")
        assert before == (host_key(machine), registered(machine), machine.execute(f"cat {machine.key_file}"))
        return result.changed("localhost")

    run(["docker", "kill", machine.builder])
    assert brought() == ["nixferry.deploy.builder_docker : Start the container that was stopped"]
    assert machine.inspect()["Image"] == image

    machine.publish_base(machine.lab.controller("forky"))
    assert "nixferry.deploy.builder_docker : Run the container" in brought(upgrade=True)
    assert " 2.34." in machine.inside("nix --version")
    assert image not in run(["docker", "images", "--all", "--quiet", "--no-trunc"]).stdout
    # Asked for once more, there is nothing newer.
    assert brought(upgrade=True) == []


@pytest.mark.parametrize("release", CONTROLLERS)
def test_every_nix_builds_with_the_newer_one(machine: Workstation, release: str) -> None:
    build_from(machine, release, "2.34")


def test_new_keys_and_then_nothing(machine: Workstation, tmp_path: Path) -> None:
    keys = (host_key(machine), machine.execute(f"cat {machine.key_file}"))
    image = machine.inspect()["Config"]["Image"]
    note = {"name": "Note", "ansible.builtin.command": f"cat {machine.key_file} /etc/nix/machines"}
    # Without the sandbox the container's root serves, and the engine keeps /proc/sys read-only.
    rotate = machine.role(max_jobs=3, rotate_keys=True, sandbox=False)
    attempt = ": >>/proc/sys/kernel/core_pattern"
    write = {
        "name": "Write",
        "ansible.builtin.command": f"docker --host unix://{SOCKET} exec {machine.builder} sh -c '{attempt}'",
        "failed_when": False,
    }
    project = machine.project(tmp_path / "project")
    plays = [local_play(rotate, note, write), *page()["remove.yml"]]
    result = project.run_playbook(plays, variables=machine.variables(), timeout=RUN_DEADLINE).assert_ok()

    # The builder with its new keys was tried out.
    (checked,) = result.find("nix_builder_check")[0].result["results"]
    assert checked["systems"][FOREIGN]["sandboxed"] is False
    assert "core_pattern: Read-only file system" in result.result("Write")["stderr"]
    noted = result.result("Note")["stdout"]
    assert keys[0] not in noted
    assert keys[1] not in noted

    everything = ["docker", "ps", "--all", "--format", "{{.Names}}"]
    assert machine.builder not in run(everything).stdout.split()
    assert image not in run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()
    assert machine.builder not in run(["docker", "network", "ls", "--format", "{{.Name}}"]).stdout.split()
    volumes = run(["docker", "volume", "ls", "--format", "{{.Name}}"]).stdout
    assert machine.builder not in volumes
    assert (
        machine.execute(
            f"grep -rl {machine.builder} /etc/nix /etc/ssh; ls /etc/nix | grep ed25519", check=False
        )
        == ""
    )


def test_the_other_playbooks_of_the_page_are_playbooks(machine: Workstation, tmp_path: Path) -> None:
    project = machine.project(tmp_path / "project")
    plays = page()
    assert set(plays) == {
        *(
            "mac.yml",
            "builder.yml",
            "remove.yml",
            "register.yml",
            "away.yml",
            "big.yml",
            "module.yml",
            "on_big.yml",
        )
    }
    others = [
        *plays["mac.yml"],
        *plays["register.yml"],
        *plays["away.yml"],
        *plays["module.yml"],
        *plays["on_big.yml"],
    ]
    project.run_playbook(others, "--syntax-check").assert_ok()
