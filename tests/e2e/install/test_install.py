# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first installation of a machine: what is destroyed, what is refused, what goes on after a fault."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from background import in_background
from installers import DISK, LAB, OTHER_DISK, Installer, boot_installer
from lab import LabHost
from processes import wait_until
from project import PlaybookRun, Project
from ways import CANARY, Lookout, files_with_passwords

LOOK = "Look at the machine and its disks"
FITS = "Look whether the system and the disko script fit the machine"
FORMAT = "Format the disks"
SYSTEM = "Install the system on the disks"
BOOT = "Boot the new system"
# A whole installation takes a quarter of a minute of processors.
TURNS = 3


@pytest.fixture
def installer(fresh1: LabHost, project: Project) -> Installer:
    return boot_installer(fresh1, project)


def failure(run: PlaybookRun, task: str) -> dict[str, Any]:
    """The result of the task that failed, whose text has at most five lines."""
    assert run.return_code != 0, str(run)
    result = run.result(task)
    assert run.find(task)[-1].status == "failed", str(run)
    assert len(result["msg"].splitlines()) <= 5
    return result


def test_a_machine_becomes_a_host(installer: Installer) -> None:
    host, project = installer.host, installer.project
    file, secret, before = f"{CANARY}file", f"{CANARY}persistent", installer.known_hosts
    variables: dict[str, Any] = {
        "files": {"/etc/app/key": {"text": file, "user": "app", "group": "app", "permissions": "0440"}},
        "nixos_secrets": {
            "token": {"text": secret, "storage": "persistent", "user": "app"},
            "memory": {"text": f"{CANARY}memory"},
        },
        "nixos_health_checks": [{"unit": "web.service"}],
    }
    host.execute(f"echo /etc/app/key /var/lib/nixferry-keys/token >{LAB}/kept")

    told = installer.install("--check", "--diff", **variables).assert_ok()
    assert told.result(FITS)["steps"] == ["disks", "system", "reboot"]
    assert installer.formatted() == 0
    assert installer.known_hosts == before

    environment = {"ANSIBLE_LOG_PATH": str(project.directory / "ansible.log")}
    with Lookout() as lookout:
        done = project.run_playbook(
            installer.play(**variables), "-vvv", environment=environment, timeout=900
        ).assert_ok()

    toplevel = project.build(host.name)
    assert host.current_system() == host.booted_system() == host.boot_default() == toplevel
    assert host.profile() == toplevel
    result = done.result(BOOT)
    assert result["rebooted"]
    key = host.ask("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    assert result["host_keys"] == [key]
    assert host.ask("stat -c '%u:%g %a' /etc/app/key") == "1042:1043 440"
    assert host.ask("cat /etc/app/key") == file
    assert host.ask("cat /run/keys/memory") == f"{CANARY}memory"
    assert host.ask("cat /var/lib/nixferry-keys/token") == secret
    assert done.result(SYSTEM)["secrets"] == ["token"]
    assert host.ask("stat -c %a /etc/ssh/ssh_host_ed25519_key") == "600"
    # The key of the installer is known no more, those of other hosts are.
    name = f"[127.0.0.1]:{host.ssh_port} "
    assert [line for line in installer.known_hosts.splitlines() if line.startswith(name)] == [name + key]
    assert len(installer.known_hosts.splitlines()) == len(before.splitlines())
    assert not lookout.seen
    assert files_with_passwords(project.directory, but=("playbook.yml",)) == []
    assert CANARY not in done.stdout + done.stderr

    again = installer.install(**variables).assert_ok()
    assert again.changed(host.name) == []
    assert again.result(LOOK)["state"] == "managed"
    assert installer.formatted() == 1


@pytest.mark.takes_turns(TURNS, among="installations")
def test_nothing_is_destroyed_unless_it_was_named(installer: Installer) -> None:
    refused = {
        "no disk is named": {"disks": [], "confirm": []},
        "does not name a disk by its id": {"disks": ["/dev/labdisk"], "confirm": []},
        "the machine has no disk /dev/disk/by-id/lab-disk-3": {"disks": ["/dev/disk/by-id/lab-disk-3"]},
        "is in `confirm` and not in `disks`": {"confirm": [DISK, OTHER_DISK]},
        "is not empty": {"confirm": []},
    }
    for words, variables in refused.items():
        given = {"disks": [DISK], "confirm": [], **variables}
        if words.startswith("the machine has no"):
            given["confirm"] = []
        assert words in failure(installer.step("check", **given), "nix_install")["cause"]

    # The script is what destroys, so its own devices count.
    for devices, words in (
        ((DISK, OTHER_DISK), f"the disko script works on {OTHER_DISK}"),
        ((DISK, "/dev/labother"), "the disko script works on /dev/labother"),
        ((OTHER_DISK,), f"the disko script works on {OTHER_DISK}"),
        (("/dev/disk/by-id/gone",), "does not work on the named disk labdisk"),
    ):
        installer.disko(*devices)
        assert words in failure(installer.install(), FITS)["cause"]

    installer.disko()
    host = installer.host
    host.execute("sed -i s/^ID=.*/ID=debian/ /etc/os-release")
    assert "not an installer" in failure(installer.install(), LOOK)["cause"]
    host.execute(f"sed -i s/^ID=.*/ID=nixos/ /etc/os-release; mkdir -p {LAB}/block/labdisk/holders/dm-9")
    host.execute(f"mkdir -p {LAB}/block/dm-9/holders; stat -c %d /run | awk '{{print \"0:\" $1}}' >/dev/null")
    number = host.ask("awk '$5 == \"/run\" { print $3 }' /proc/self/mountinfo")
    host.execute(f"echo {number} >{LAB}/block/dm-9/dev")
    assert "is in use: mounted on /run" in failure(installer.install(), LOOK)["cause"]
    assert installer.formatted() == 0
    assert not host.ask("ls /run/nixferry 2>/dev/null || true")


@pytest.mark.takes_turns(TURNS, among="installations")
def test_an_interrupted_installation_goes_on(installer: Installer) -> None:
    host, project = installer.host, installer.project
    # nixos-install dies, as when the installer runs out of memory.
    installer.fault("kill -9 $$")
    assert "137" in failure(installer.install(), SYSTEM)["cause"]
    key = host.ask("cat /mnt/etc/ssh/ssh_host_ed25519_key.pub")

    # The controller dies while it runs; another one follows it.
    installer.fault(f"touch {LAB}/began; until [ -e {LAB}/go-on ]; do sleep 0.2; done")
    with in_background(project, installer.play()) as running:
        wait_until(
            lambda: host.ask(f"ls {LAB}/began 2>/dev/null || true") != "",
            deadline=90,
            what="nixos-install runs",
        )
        running.kill()
    with in_background(project, installer.play()) as running:
        wait_until(
            lambda: "installing the system" in running.so_far().stdout, deadline=90, what="it is followed"
        )

        def connection_is_broken() -> bool:
            with contextlib.suppress(AssertionError):
                running.kill_ssh()
            return "the connection broke" in running.so_far().stdout

        wait_until(connection_is_broken, deadline=60, what="the connection breaks while it follows")
        host.execute(f"touch {LAB}/go-on")
        running.finish(300).assert_ok()
    assert host.ask(f"wc -l <{LAB}/nixos-install.log") == "2"
    assert installer.formatted() == 1
    assert host.current_system() == project.build(host.name)
    assert host.ask("cat /etc/ssh/ssh_host_ed25519_key.pub") == key


@pytest.mark.takes_turns(TURNS, among="installations")
def test_another_machine_at_the_address_gets_nothing(installer: Installer) -> None:
    installer.fault_of_boot(
        "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    )
    secret = {"memory": {"text": f"{CANARY}memory"}}
    # The connection to the installer has a known_hosts file of its own.
    name = f"[127.0.0.1]:{installer.host.ssh_port} "
    old = next(line for line in installer.known_hosts.splitlines() if line.startswith(name))
    login = {"host_key": old.removeprefix(name)}
    result = failure(installer.install(timeout_reboot=25, nixos_secrets=secret, login=login), BOOT)
    assert "does not have the new system's host key" in result["cause"]
    assert not installer.host.ask("ls /run/keys 2>/dev/null || true")
    # What the next run needs is known since before the reboot.
    key = " ".join(installer.host.ask(f"cat {LAB}/disk/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    assert f"{name}{key}\n" in installer.known_hosts

    # The right machine comes back: only the rest is done.
    installer.host.execute(f"rm {LAB}/fault-boot; cp {LAB}/disk/etc/ssh/* /etc/ssh/; systemctl restart ssh")
    done = installer.install(nixos_secrets=secret).assert_ok()
    assert done.result(LOOK)["state"] == "installed"
    assert not done.result(BOOT)["rebooted"]
    assert installer.formatted() == 1
    assert installer.host.ask("cat /run/keys/memory") == f"{CANARY}memory"


@pytest.mark.takes_turns(TURNS, among="installations")
def test_a_failure_says_what_to_do(installer: Installer) -> None:
    host = installer.host
    installer.disko(script="echo 'mkfs: No space left on device' >&2; exit 3")
    result = failure(installer.install(), FORMAT)
    assert "exit code 3" in result["cause"]
    assert any("No space left" in line for line in result["output"])
    # Of another script, the data that the first one has left counts again.
    installer.disko(script="sleep 60")
    assert "is not empty" in failure(installer.install(confirm=[]), FITS)["cause"]
    assert "timeout" in failure(installer.install(timeout_disks=3), FORMAT)["remedy"]
    # A tmpfs is not a disk.
    installer.disko(script="mount -t tmpfs tmpfs /mnt; exit 0")
    assert "main memory" in failure(installer.install(), FORMAT)["cause"]
    host.execute("umount /mnt")
    installer.disko()
    installer.fault("echo 'No space left on device' >&2; exit 1")
    result = failure(installer.install(), SYSTEM)
    assert any("No space left" in line for line in result["output"])
    installer.fault("")
    wrong = {"/etc/app/key": {"text": "x", "user": "unknown-user"}}
    assert "unknown-user:root" in failure(installer.install(files=wrong), SYSTEM)["cause"]


@pytest.mark.takes_turns(TURNS, among="installations")
def test_kexec_replaces_another_linux(installer: Installer) -> None:
    host, project = installer.host, installer.project
    installer.runs_another_linux()
    project.write("kexec.tar.gz", "an image")
    variables = {
        "kexec": "kexec.tar.gz",
        "kexec_port": host.ssh_port,
        "kexec_memory_mib": 100,
        "install_nixos_anywhere": installer.anywhere(),
    }
    # Too little memory is refused before anything is copied.
    assert (
        "MiB of RAM" in failure(installer.install(**{**variables, "kexec_memory_mib": 10**7}), LOOK)["cause"]
    )
    done = installer.install(**variables).assert_ok()
    arguments = Path(project.directory / "bin/arguments").read_text().split("\n")
    assert arguments[:2] == ["--phases", "kexec"]
    assert arguments[arguments.index("--target-host") + 1] == "root@127.0.0.1"
    toplevel = project.build(host.name)
    assert arguments[arguments.index("--store-paths") + 2] == toplevel
    assert done.result("Start the installer")["changed"]
    assert host.current_system() == toplevel


@pytest.mark.takes_turns(TURNS, among="installations")
def test_the_report_of_the_hardware_is_brought_back(installer: Installer) -> None:
    host, project = installer.host, installer.project
    options = {"hardware_file": "hosts/fresh1/facter.json"}
    assert "no nixos-facter" in failure(installer.step("hardware", **options), "nix_install")["cause"]
    facter = "/usr/local/bin/nixos-facter"
    host.execute(
        f"echo '#!/usr/bin/tail -n+2' >{facter}; echo '{{\"cpu\": [1]}}' >>{facter}; chmod 0755 {facter}"
    )
    file = project.directory / options["hardware_file"]
    assert installer.step("hardware", "--check", **options).assert_ok().result("nix_install")["changed"]
    assert not file.exists()
    assert installer.step("hardware", **options).assert_ok().result("nix_install")["changed"]
    assert json.loads(file.read_text()) == {"cpu": [1]}
    assert not installer.step("hardware", **options).assert_ok().result("nix_install")["changed"]
    host.execute(f"echo '}}{{' >>{facter}")
    assert "cannot be read" in failure(installer.step("hardware", **options), "nix_install")["cause"]
    assert json.loads(file.read_text()) == {"cpu": [1]}
