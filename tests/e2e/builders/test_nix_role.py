# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role that installs Nix: the distribution's package, installers, and a Mac as far as that can be played."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builder_pair import execute
from guides import guide_blocks
from lab import REPOSITORY, Lab, run
from project import PlaybookRun, Project, make_project

PAGE = REPOSITORY / "docs/docsite/rst/nix_installation.rst"
INSTALLED = "/nix/var/nix/profiles/default/bin/nix"
# The distribution's Nix goes where it is not looked for.
HIDE_NIX = "mkdir -p /opt/hidden; mv /usr/bin/nix* /opt/hidden/; rm -rf /etc/nix"
# What installers leave behind, without what they fetch.
_BRING = """
mkdir -p /nix/var/nix/profiles/default/bin /etc/nix
for program in /opt/hidden/*; do ln -sf "$program" /nix/var/nix/profiles/default/bin/; done
echo "$0 $*" >>/root/installer-calls
"""
SCRIPT = f"{_BRING}printf 'build-users-group =\\nsandbox = false\\n' >/etc/nix/nix.conf\n"
DETERMINATE = f"""#!/bin/sh
{_BRING}
case $1 in
    install)
        printf '!include nix.custom.conf\\nbuild-users-group =\\n' >/etc/nix/nix.conf
        echo '{{}}' >/nix/receipt.json
        cp "$0" /nix/nix-installer ;;
    uninstall) rm -rf /nix /etc/nix ;;
esac
"""
# launchctl as far as the collection calls it: it remembers what it was told, and runs the daemon.
LAUNCHCTL = """#!/bin/sh
echo "$*" >>/root/launchctl-calls
running() { [ -e /root/daemon ] && kill -0 "$(cat /root/daemon)" 2>/dev/null; }
case "$1 $2" in
    'print system/org.nixos.nix-daemon') running && echo 'state = running' || exit 113 ;;
    print*) exit 113 ;;
    bootstrap* | 'kickstart -k')
        running && kill "$(cat /root/daemon)"
        setsid /nix/var/nix/profiles/default/bin/nix-daemon >/dev/null 2>&1 </dev/null &
        echo $! >/root/daemon ;;
esac
"""


@pytest.fixture
def machine(lab: Lab) -> Iterator[str]:
    """A container with Python, and with Nix out of sight; it may use this machine's network."""
    image = run(["docker", "inspect", "--format", "{{.Image}}", lab.controller("trixie")]).stdout.strip()
    name = f"nixferry-lab-{lab.name}-machine"
    run(["docker", "rm", "--force", name])
    run(["docker", "run", "--detach", "--init", "--network", "host", "--name", name, image])
    execute(name, HIDE_NIX)
    yield name
    run(["docker", "rm", "--force", name])


@pytest.fixture
def project(lab: Lab, machine: str, tmp_path: Path) -> Project:
    made = make_project(tmp_path / "project", lab)
    variables = (
        f"ansible_connection: community.docker.docker\n      ansible_host: {machine}\n"
        # Root already, without sudo.
        "      ansible_python_interpreter: /usr/bin/python3\n      ansible_become: false"
    )
    made.write("inventory.yml", f"all:\n  hosts:\n    mac:\n      {variables}\n")
    return made


def with_role(
    project: Project, *arguments: str, facts: dict[str, Any] | None = None, **variables: Any
) -> PlaybookRun:
    play: dict[str, Any] = {
        "hosts": "mac",
        "gather_facts": False,
        "roles": [
            {"role": "nixferry.deploy.nix", "vars": {f"nix_{key}": value for key, value in variables.items()}}
        ],
    }
    if facts:
        play["pre_tasks"] = [{"ansible.builtin.set_fact": {**facts, "cacheable": True}}]
    return project.run_playbook([play], *arguments, environment={"ANSIBLE_PIPELINING": "1"})


def put(machine: str, path: str, content: str) -> str:
    """Write a program on the machine; returns its checksum as the role takes it."""
    run(
        ["docker", "exec", "--interactive", machine, "sh", "-c", f"cat >{path}; chmod 0755 {path}"],
        input=content,
    )
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def effective(machine: str, setting: str) -> str:
    program = "PATH=$PATH:/nix/var/nix/profiles/default/bin nix --extra-experimental-features nix-command"
    return execute(machine, f"{program} config show {setting}")


def test_the_package_of_the_distribution(machine: str, project: Project) -> None:
    """Debian 13 has a Nix that is recent enough, so that is what comes by itself. The play is that of the page."""
    settings = run(
        [
            "apt-config",
            "dump",
            "--format",
            '%f "%v";%n',
            "Acquire::http",
            "Acquire::https",
            "Acquire::Retries",
        ]
    ).stdout
    put(machine, "/etc/apt/apt.conf.d/90-of-this-machine", settings)
    execute(machine, "dpkg --purge --force-all nix-bin >/dev/null 2>&1; useradd alice")

    page = guide_blocks(PAGE)[0]

    done = project.run_playbook(page, environment={"ANSIBLE_PIPELINING": "1"}).assert_ok()

    assert done.result("Install the distribution's package")["changed"]
    assert execute(machine, "command -v nix") == "/usr/bin/nix"
    assert "nix-users" in execute(machine, "id -nG alice").split()
    assert {"nix-command", "flakes"} <= set(effective(machine, "experimental-features").split())
    assert effective(machine, "max-jobs") == "4"
    assert not project.run_playbook(page, environment={"ANSIBLE_PIPELINING": "1"}).assert_ok().changed("mac")
    with_role(project, state="absent").assert_ok()
    assert execute(machine, "command -v nix || ls /etc/nix/nixferry.conf 2>/dev/null || echo gone") == "gone"


def test_the_official_installer_is_pinned(machine: str, project: Project) -> None:
    checksum = put(machine, "/root/install", SCRIPT)
    source = {"method": "script", "installer_url": "file:///root/install"}

    unpinned = with_role(project, **source)
    assert "nix_installer_checksum" in unpinned.result("Require a pinned installer")["msg"]
    tampered = with_role(project, **source, installer_checksum=f"sha256:{'0' * 64}")
    assert "checksum" in tampered.result("Download the installer")["msg"]
    predicted = with_role(project, "--check", **source, installer_checksum=checksum).assert_ok()
    assert predicted.changed("mac")
    assert (
        execute(machine, f"test -e {INSTALLED} || ls /root/installer-calls 2>/dev/null || echo nothing")
        == "nothing"
    )

    with_role(project, **source, installer_checksum=checksum, settings={"max-jobs": 3}).assert_ok()
    assert execute(machine, "cut -d ' ' -f 2- /root/installer-calls") == "--daemon --yes --no-channel-add"
    assert effective(machine, "max-jobs") == "3"
    assert execute(machine, "ls -d /tmp/nix-install-* 2>/dev/null || echo nothing") == "nothing"
    # What is there is left alone, whatever would be installed.
    assert not with_role(project, method="none", settings={"max-jobs": 3}).assert_ok().changed("mac")
    kept = with_role(project, state="absent")
    assert "nix_delete_store" in kept.result("Refuse to delete the store unless requested")["msg"]
    with_role(project, state="absent", delete_store=True).assert_ok()
    assert execute(machine, "ls -d /nix /etc/nix 2>/dev/null || echo gone") == "gone"
    assert not with_role(project, state="absent", delete_store=True).assert_ok().changed("mac")


def test_a_mac_with_determinate(machine: str, project: Project) -> None:
    """Facts of a Mac and a launchctl that only remembers: what it would be told, and which files would be written."""
    checksum = put(machine, "/root/install", DETERMINATE)
    put(machine, "/usr/local/bin/launchctl", LAUNCHCTL)
    execute(
        machine, "mkdir -p /Library/LaunchDaemons; touch /Library/LaunchDaemons/org.nixos.nix-daemon.plist"
    )
    facts = {
        "system": "Darwin",
        "os_family": "Darwin",
        "distribution": "MacOSX",
        "distribution_version": "15.1",
    }
    source = {
        "method": "nix-installer",
        "installer_url": "file:///root/install",
        "installer_checksum": checksum,
        "installer_args": ["--determinate"],
    }
    done = with_role(project, facts=facts, **source, settings={"max-jobs": 3}, trusted_users=["@admin"])

    done.assert_ok()
    assert (
        execute(machine, "cut -d ' ' -f 2- /root/installer-calls")
        == "install macos --no-confirm --determinate"
    )
    calls = execute(machine, "grep -v ^print /root/launchctl-calls").splitlines()
    assert calls[:2] == [
        "enable system/org.nixos.nix-daemon",
        "bootstrap system /Library/LaunchDaemons/org.nixos.nix-daemon.plist",
    ]
    assert execute(machine, "cat /etc/nix/nix.custom.conf") == "!include nixferry.conf"
    assert execute(machine, "cat /etc/nix/nix.conf") == "!include nix.custom.conf\nbuild-users-group ="
    assert effective(machine, "trusted-users") == "root @admin"
    again = with_role(project, facts=facts, **source, settings={"max-jobs": 3}, trusted_users=["@admin"])
    assert not again.assert_ok().changed("mac")
    other = with_role(project, facts=facts, **source, settings={"max-jobs": 4}, trusted_users=["@admin"])
    assert len(other.assert_ok().changed("mac")) == 2
    assert execute(machine, "tail -1 /root/launchctl-calls") == "kickstart -k system/org.nixos.nix-daemon"
    with_role(project, facts=facts, state="absent", delete_store=True).assert_ok()
    assert execute(machine, "tail -1 /root/installer-calls").endswith(" uninstall --no-confirm")
