# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mac that is played: its engines, from nothing to a deploy, nix-darwin, and nothing again.

The tests build on each other, but for the first. What cannot be played is listed in the documentation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mac as mac_module
import pytest
from foreign_systems import SYSTEMS
from lab import run
from mac import HOME, Mac
from plays import BUILD, defaults, deploy_play
from workstation import FOREIGN

# What the official installer leaves behind on macOS, but for what it fetches.
INSTALLER = r"""#!/bin/sh
set -eu
echo "$*" >>/mac/calls/installer
test "$(id -u)" = 0
mkdir -p /nix/var/nix/profiles/default/bin /nix/store /etc/nix
for program in /opt/hidden/*; do ln -sf "$program" /nix/var/nix/profiles/default/bin/; done
printf 'build-users-group =\nsandbox = false\n' >/etc/nix/nix.conf
dscl . -create /Groups/nixbld
for number in 1 2; do dscl . -create "/Users/_nixbld$number"; done
echo nix >>/etc/synthetic.conf
echo 'UUID=4E0B-1 /nix apfs rw,noauto,nobrowse,suid,owners' >>/etc/fstab
echo '/dev/disk3s7 on /nix (apfs, local, nobrowse, journaled)' >>/mac/mounts
cp -p /etc/zshrc /etc/zshrc.backup-before-nix
{
    printf '\n# Nix\nif [ -e /nix/x ]; then\n  . /nix/x\nfi\n# End Nix\n\n'
    cat /etc/zshrc.backup-before-nix
} >/etc/zshrc.new
mv /etc/zshrc.new /etc/zshrc
for label in org.nixos.darwin-store org.nixos.nix-daemon; do
    touch "/Library/LaunchDaemons/$label.plist"
    launchctl bootstrap system "/Library/LaunchDaemons/$label.plist"
done
"""
# What nix-darwin makes of the modules, as its own nix.machines and programs.ssh do.
NIX_DARWIN = """
let
  settings = import /project/nix-settings.nix;
  builder = import BUILDER;
  machine = builtins.head builder.nix.buildMachines;
  words = builtins.concatStringsSep ",";
  host = builtins.head (builtins.attrValues builder.programs.ssh.knownHosts);
in {
  machines = builtins.concatStringsSep " " [
    "${machine.protocol}://${machine.hostName}" (words machine.systems) machine.sshKey
    (toString machine.maxJobs) (toString machine.speedFactor) (words machine.supportedFeatures) "-"
    machine.publicHostKey
  ] + "\\n";
  ssh = builtins.mapAttrs (_: file: file.text) builder.environment.etc;
  known = "${words host.hostNames} ${host.publicKey}\\n";
  substitutes = settings.nix.settings.builders-use-substitutes;
}
"""
ENGINE = [
    {
        "name": f"Engine: {step}",
        "ansible.builtin.include_role": {"name": "nixferry.deploy.builder_docker", "tasks_from": step},
    }
    for step in ("look", "engine")
]


@pytest.fixture(scope="module")
def mac(lab: Any) -> Iterator[Mac]:
    with mac_module.started(lab) as machine:
        yield machine


def homes(mac: Mac) -> dict[str, dict[str, str]]:
    """Users with engines in various states, by name: the variables of their environment."""
    address = "unix:///Users/context/.colima/office/docker.sock"
    context = json.dumps(
        {
            "Name": "colima-office",
            "Metadata": {},
            "Endpoints": {"docker": {"Host": address, "SkipTLSVerify": False}},
        }
    )
    sockets = [
        "/Users/desktop/.docker/run/docker.sock=Docker Desktop",
        "/Users/orbstack/.orbstack/run/docker.sock=OrbStack",
        "/Users/colima/.colima/office/docker.sock=Ubuntu 24.04.1 LTS",
        "/Users/podman/T/machine-default-api.sock=fedora",
        "/Users/stale/.docker/run/docker.sock",
        "/Users/stale/.orbstack/run/docker.sock=OrbStack",
        "/Users/context/.docker/run/docker.sock=Docker Desktop",
        "/Users/context/.colima/office/docker.sock=Ubuntu 24.04.1 LTS",
        "/Users/client/.colima/default/docker.sock=Ubuntu 24.04.1 LTS",
        "/Users/stopped/.docker/run/docker.sock",
        "tcp=Ubuntu 24.04.1 LTS",
    ]
    arguments = " ".join(f"'{each}'" for each in sockets)
    mac.execute(
        f"""
        set -e
        echo 127.0.0.1 elsewhere.example >>/etc/hosts
        setsid python3 /mac/python/engines.py {arguments} </dev/null >/mac/engines.log 2>&1 &
        mkdir -p /Users/stopped/Applications/Docker.app /Users/stopped/Applications/OrbStack.app
        echo /Users/podman/T/machine-default-api.sock >/Users/podman-socket
        """
    )
    deadline = time.monotonic() + 20
    while mac.execute("ls /mac/ready", check=False) != "/mac/ready":
        assert time.monotonic() < deadline, mac.execute("cat /mac/engines.log")
        time.sleep(0.1)
    users = ["desktop", "orbstack", "colima", "podman", "stale", "context", "named", "elsewhere"]
    mac.execute(
        f"""
        set -e
        for user in {" ".join(users)}; do
            mkdir -p /Users/$user/.docker/bin
            ln -s /mac/docker /Users/$user/.docker/bin/docker
        done
        mv /Users/podman-socket /Users/podman/
        cat >/Users/context/.docker/config.json <<'END'
{json.dumps({"currentContext": "colima-office"})}
END
        id=$(printf colima-office | sha256sum | cut -d ' ' -f 1)
        mkdir -p /Users/context/.docker/contexts/meta/$id
        cat >/Users/context/.docker/contexts/meta/$id/meta.json <<'END'
{context}
END
        chmod -R a+rwX /Users
        """
    )
    port = mac.execute("cat /mac/port")
    more = {
        "named": {"DOCKER_HOST": "unix:///Users/nobody/docker.sock"},
        "elsewhere": {"DOCKER_HOST": f"tcp://elsewhere.example:{port}"},
    }
    names = [*users, "client", "stopped", "nothing"]
    return {
        name: {"HOME": f"/Users/{name}", "APPLICATIONS": f"/Users/{name}/Applications", **more.get(name, {})}
        for name in names
    }


def test_engines_are_found_and_what_is_missing_is_said(mac: Mac, tmp_path: Path) -> None:
    users = homes(mac)
    project = mac.project(tmp_path / "project")
    hosts = {name: {"ansible_connection": "local", "surroundings": value} for name, value in users.items()}
    project.write("inventory.yml", json.dumps({"all": {"hosts": hosts}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": "{{ surroundings }}",
        "tasks": ENGINE,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    }
    result = mac.run_playbook(project, [play])

    def found(user: str) -> tuple[str, str]:
        facts = result.result("Name the engine", user)["ansible_facts"]
        return facts["_builder_docker_engine"], facts["_builder_docker_address"].removeprefix(
            f"unix:///Users/{user}/"
        )

    def refused(user: str) -> str:
        return str(result.result("Check that an engine answers", user)["msg"])

    assert found("desktop") == ("docker-desktop", ".docker/run/docker.sock")
    assert found("orbstack") == ("orbstack", ".orbstack/run/docker.sock")
    assert found("colima") == ("colima", ".colima/office/docker.sock")
    assert found("podman") == ("podman", "T/machine-default-api.sock")
    # The file of a socket is not an engine; the context is what the user has chosen.
    assert found("stale") == ("orbstack", ".orbstack/run/docker.sock")
    assert found("context") == ("colima", ".colima/office/docker.sock")

    assert (
        "docker-desktop with `open -a Docker`, orbstack with `open -a OrbStack`, colima with `colima start`"
        in refused("stopped")
    )
    assert "/Users/stopped/.docker/run/docker.sock" in refused("stopped")
    assert "unix:///Users/nobody/docker.sock, which DOCKER_HOST names" in refused("named")
    assert "or choose another with DOCKER_HOST" in refused("named")
    assert "start one that is installed (colima with `colima start`" in refused("nothing")
    program = result.result("Check the engine's command, and that the engine runs here", "client")["msg"]
    assert "its command docker is not installed" in program
    assert "brew install docker" in program
    away = result.result("Check the engine's command, and that the engine runs here", "elsewhere")["msg"]
    assert "is on another machine" in away


def test_from_nothing_to_a_deploy(mac: Mac, tmp_path: Path) -> None:
    """One run as a user who is not root; colima's engine, whose command is where Homebrew has it."""
    mac.execute(
        f"""
        set -e
        mkdir -p {HOME}/.colima/default /opt/homebrew/bin
        ln -s /mac/engine.sock {HOME}/.colima/default/docker.sock
        ln -s /mac/docker /opt/homebrew/bin/docker
        cp {mac.lab.directory}/ssh_key {mac.lab.directory}/known_hosts {HOME}
        chown -R alice {HOME}
        """
    )
    mac.execute("cp /etc/zshrc /mac/zshrc; cp /etc/fstab /mac/fstab")
    checksum = mac.put("/mac/installer", INSTALLER)
    variables = mac.variables(max_jobs=2) | {
        "nix_method": "script",
        "nix_installer_url": "file:///mac/installer",
        "nix_installer_checksum": checksum,
    }
    project = mac.project(tmp_path / "project")
    result = mac.run_playbook(project, "nixferry.deploy.macos_builder", variables=variables).assert_ok()

    assert mac.calls("installer") == ["--daemon --yes --no-channel-add"]
    told = [call for call in mac.calls("launchctl") if not call.startswith("print")]
    # The installer's own, and once for the settings; what registers the builder needs no restart.
    assert told[-1] == "kickstart -k system/org.nixos.nix-daemon"
    assert told.count(told[-1]) == 1
    assert mac.execute("cat /etc/nix/nix.conf").endswith("!include nixferry.conf")
    assert "builders-use-substitutes = true" in mac.execute("cat /etc/nix/nixferry.conf")
    # The daemon is root's, and so are the key, the host key and ssh's settings.
    assert mac.execute(f"stat -c '%a %U' {mac.key_file}") == "600 root"
    assert f"IdentityFile {mac.key_file}" in mac.execute(f"cat /etc/ssh/ssh_config.d/100-{mac.builder}.conf")
    (checked,) = result.result("nix_builder_check")["results"]
    assert checked["systems"][FOREIGN]["sandboxed"] is True
    assert [step["ok"] for step in checked["steps"]] == [True] * len(checked["steps"])
    assert "deploy with nixferry.deploy.deploy" in result.stdout
    settings = run(["docker", "exec", mac.builder, "cat", "/run/nix-builder/nix.conf"]).stdout
    assert "bash-prompt = $HOME\n" in settings
    # Nothing that belongs to alice became root's.
    assert mac.execute(f"find {HOME} ! -user alice ! -type l") == ""

    again = mac.run_playbook(project, "nixferry.deploy.macos_builder", variables=variables).assert_ok()
    assert again.changed("localhost") == []
    assert [call for call in mac.calls("launchctl") if not call.startswith("print")] == []

    # alice may not build on this machine at all: what the host gets comes from the builder, through root's daemon.
    host = mac.lab.hosts["web2"]
    host.make_anew()
    project.write("systems/foreign.nix", SYSTEMS.replace("HOST", host.name))
    play = deploy_play(host.name, defaults(BUILD, max_jobs=0), file="systems/foreign.nix", attr="{host}")
    login = {
        "ansible_ssh_private_key_file": f"{HOME}/ssh_key",
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={HOME}/known_hosts -o IdentitiesOnly=yes",
    }
    mac.run_playbook(project, play, variables=login).assert_ok()
    content = host.ask("cat $(cat /run/current-system/etc/built-elsewhere)")
    assert content.startswith(f"system={FOREIGN} host=localhost user=300")


def test_with_nix_darwin_modules_are_written_and_nothing_else(mac: Mac, tmp_path: Path) -> None:
    """nix.conf leads into the store by way of /etc/static, as nix-darwin has it. The engine seems to be podman's."""
    socket = f"{HOME}/T/podman-machine-default-api.sock"
    mac.execute(
        f"""
        set -e
        mkdir {HOME}/T
        ln -s /mac/engine.sock {socket}
        rm /etc/nix/machines /etc/nix/nixferry.conf /etc/ssh/ssh_config.d/100-{mac.builder}.conf
        rm /etc/nix/{mac.builder}_known_hosts
        mkdir -p /nix/store/{"0" * 32}-etc/etc/nix
        printf 'build-users-group =\\nsandbox = false\\n' >/nix/store/{"0" * 32}-etc/etc/nix/nix.conf
        ln -s /nix/store/{"0" * 32}-etc/etc /etc/static
        ln -sf /etc/static/nix/nix.conf /etc/nix/nix.conf
        """
    )
    everything = (
        "find /etc /Library /nix/store/*-etc | sort; find /etc /nix/store/*-etc -type f -exec sha256sum {} +"
    )
    before = mac.execute(everything)
    project = mac.project(tmp_path / "project")
    variables = mac.variables(max_jobs=3, host=f"unix://{socket}")
    result = mac.run_playbook(project, "nixferry.deploy.macos_builder", variables=variables).assert_ok()

    assert mac.execute(everything) == before
    assert "Import /project/nix-settings.nix" in result.stdout
    assert f"Import /project/{mac.builder}.nix" in result.stdout
    assert "does not use it yet: import the written module" in result.stdout
    assert [entry.status for entry in result.find("Test the builder")] == ["skipped"]
    # Its service, which is in a virtual machine, could not read what this side has as standard input.
    calls = mac.calls("podman")
    assert [call for call in calls if call.startswith(f"--url unix://{socket} run ")]
    assert f"--security-opt seccomp={HOME}/.nix-builder-" in " ".join(calls)
    assert mac.execute(f"ls -d {HOME}/.nix-builder-*", check=False) == ""
    written = f"/project/nix-settings.nix /project/{mac.builder}.nix"
    assert mac.execute(f"stat -c %U {written}") == "alice\nalice"
    mac.execute(f"mkdir -p /mac/modules; cp {written} /mac/modules")

    # Switch, as nix-darwin would with both modules.
    expression = NIX_DARWIN.replace("BUILDER", f"/project/{mac.builder}.nix")
    evaluate = "PATH=$PATH:/nix/var/nix/profiles/default/bin nix-instantiate --eval --strict --json -"
    system = json.loads(mac.execute(f"{evaluate} <<'END'\n{expression}\nEND"))
    (ssh,) = system["ssh"].items()
    assert system["substitutes"] is True
    static = f"/nix/store/{'0' * 32}-etc/etc"
    mac.put(f"{static}/nix/machines", system["machines"])
    mac.put(f"{static}/{Path(ssh[0]).name}", ssh[1])
    mac.execute(
        f"""
        set -e
        echo 'builders-use-substitutes = true' >>{static}/nix/nix.conf
        ln -s /etc/static/nix/machines /etc/nix/machines
        ln -s /etc/static/{Path(ssh[0]).name} /etc/{ssh[0]}
        printf '%s' '{system["known"]}' >/etc/ssh/ssh_known_hosts
        launchctl kickstart -k system/org.nixos.nix-daemon
        """
    )
    imported = mac.execute(everything)
    project = mac.project(tmp_path / "second")
    result = mac.run_playbook(project, "nixferry.deploy.macos_builder", variables=variables).assert_ok()

    (checked,) = result.result("nix_builder_check")["results"]
    assert checked["systems"][FOREIGN]["sandboxed"] is True
    assert "deploy with nixferry.deploy.deploy" in result.stdout
    assert mac.execute(everything) == imported
    # What is in effect is not handed over a second time.
    assert mac.execute(f"ls {written}", check=False) == ""


def with_role(mac: Mac, project: Any, **variables: Any) -> Any:
    role = {"role": "nixferry.deploy.nix", "vars": {f"nix_{key}": value for key, value in variables.items()}}
    return mac.run_playbook(
        project, [{"hosts": "localhost", "gather_facts": False, "become": True, "roles": [role]}]
    )


def test_the_official_installation_is_removed(mac: Mac, tmp_path: Path) -> None:
    project = mac.project(tmp_path / "project")
    refused = with_role(mac, project, state="absent", delete_store=True)
    assert (
        "belongs to the configuration" in refused.result("Refuse to delete the store unless requested")["msg"]
    )
    mac.execute(
        """
        set -e
        rm -rf /etc/static /etc/nix/machines /etc/ssh/ssh_config.d/*builder.conf
        rm /etc/nix/nix.conf
        printf 'build-users-group =\\nsandbox = false\\n' >/etc/nix/nix.conf
        echo 'data' >>/etc/synthetic.conf
        touch /mac/busy /var/root/.nix-channels
        """
    )
    for program in ("launchctl", "dscl", "diskutil"):
        mac.calls(program)

    # The volume is in use: all that the next start of the Mac needs to mount it is still there.
    busy = with_role(mac, project, state="absent", delete_store=True)
    assert "in use by process 4711" in busy.result("Fail if the volume is in use")["msg"]
    assert "/nix apfs" in mac.execute("cat /etc/fstab")
    assert mac.execute("ls /Library/LaunchDaemons").split() == [
        "org.nixos.darwin-store.plist",
        "org.nixos.nix-daemon.plist",
    ]
    mac.execute("rm /mac/busy")

    with_role(mac, project, state="absent", delete_store=True).assert_ok()
    told = [call for call in mac.calls("launchctl") if not call.startswith("print")]
    assert told == [f"bootout system/org.nixos.{name}" for name in ("nix-daemon", "darwin-store")]
    assert mac.calls("diskutil")[-1] == "apfs deleteVolume /dev/disk3s7"
    assert [call for call in mac.calls("dscl") if "-delete" in call] == [
        ". -delete /Users/_nixbld1",
        ". -delete /Users/_nixbld2",
        ". -delete /Groups/nixbld",
    ]
    # What others have there is as it was.
    assert mac.execute("cmp /etc/zshrc /mac/zshrc; cmp /etc/fstab /mac/fstab") == ""
    assert mac.execute("cat /etc/synthetic.conf") == "data"
    assert mac.execute("cat /mac/Users /mac/Groups").split() == ["root", "_www", "admin", "staff"]
    left = "ls -d /nix/* /etc/nix /etc/*.backup-before-nix /Library/LaunchDaemons/* /var/root/.nix-channels"
    assert mac.execute(left, check=False) == ""
    again = with_role(mac, project, state="absent", delete_store=True).assert_ok()
    assert again.changed("localhost") == []

    # Where nix-darwin lacks its volume no other Nix may be installed.
    mac.execute("mkdir /etc/nix; ln -s /nix/store/away/nix.conf /etc/nix/nix.conf")
    kept = with_role(mac, project, method="none")
    assert "see whether /nix is mounted" in kept.result("Refuse a system whose configuration has Nix")["msg"]
