# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that the role prepares as a builder: what clients can do there, and that nothing of it stays.

The tests build on each other.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from builder_pair import execute
from guides import guide_blocks
from lab import REPOSITORY, Lab, LabHost, run
from project import PlaybookRun, Project, make_project

PAGE = REPOSITORY / "docs/docsite/rst/builders.rst"
CLIENT_KEY = "/etc/nix/big_ed25519"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi root@laptop"
# What of Debian's Python the hosts of the lab lack, which have the same release and otherwise no Python.
PYTHON_PACKAGES = (
    "python3-minimal python3.13-minimal libpython3.13-minimal libpython3.13-stdlib libexpat1 libffi8"
)
# Whatever the role could leave behind.
TRACES = """
cat /etc/passwd /etc/group /etc/shadow /etc/nix/nix.conf
ls -a /etc/nix /var/lib /home /usr/local/lib
"""


@dataclass(frozen=True)
class Two:
    """A host that builds, and a client in a container that has builds done there."""

    host: LabHost
    client: str
    project: Project

    def role(self, *arguments: str, **variables: Any) -> PlaybookRun:
        given = {f"builder_host_{name}": value for name, value in variables.items()}
        play = {
            "hosts": "big",
            "gather_facts": False,
            "roles": [{"role": "nixferry.deploy.builder_host", "vars": given}],
        }
        return self.project.run_playbook([play], *arguments)

    def page(self, start: str = "# big.yml") -> str:
        """A playbook of the page, with the lab's address in the place of the page's."""
        (found,) = (block for block in guide_blocks(PAGE) if block.startswith(start))
        assert "192.0.2.20" in found
        return found.replace("192.0.2.20", self.host.container)

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the client's key can do."""
        argv = ["docker", "exec", "--interactive", self.client, "timeout", "20", "ssh", *arguments]
        return run(argv, input="", check=False)


@pytest.fixture(scope="module")
def two(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    host, client = lab.hosts["web2"], lab.controller("trixie")
    host.make_anew()
    give_python(client, host)
    clean = f"rm -rf /etc/nix/machines /etc/nix/big_* /etc/ssh/ssh_config.d/100-* {CLIENT_KEY}*"
    execute(client, clean)
    project = make_project(tmp_path_factory.mktemp("two") / "project", lab)
    known = yaml.safe_load((lab.directory / "inventory.yml").read_text())["lab"]
    hosts = {
        "big": {**known["vars"], **known["hosts"][host.name]},
        "laptop": {
            "ansible_connection": "community.docker.docker",
            "ansible_host": client,
            # Root already, without sudo.
            "ansible_become": False,
        },
    }
    variables = {"ansible_python_interpreter": "/usr/bin/python3"}
    project.write("inventory.yml", json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    configuration = (project.directory / "ansible.cfg").read_text()
    project.write("ansible.cfg", f"{configuration}[connection]\npipelining = True\n")
    yield Two(host, client, project)
    execute(client, clean)


def give_python(source: str, host: LabHost) -> None:
    """Copy Python, which the modules of the role need, from a container with the same release."""
    pack = f"dpkg --listfiles {PYTHON_PACKAGES} | sort -u | while read -r file; do [ -d $file ] || echo $file; done"
    with subprocess.Popen(
        ["docker", "exec", source, "sh", "-c", f"{pack} | tar --create --files-from - 2>/dev/null"],
        stdout=subprocess.PIPE,
    ) as packed:
        argv = ["docker", "exec", "--interactive", host.container, "tar", "--extract", "--directory=/"]
        subprocess.run(argv, stdin=packed.stdout, check=True, timeout=120)


def test_the_page_makes_a_builder(two: Two) -> None:
    """Told by check mode, done, tried out by the client, and not done again."""
    before = two.host.ask(TRACES)
    told = two.role("--check", "--diff", public_keys=[KEY]).assert_ok()
    assert {"Make the account", "Let Nix trust the user", "Install the keys of clients"} <= {
        task.rpartition(" : ")[2] for task in told.changed("big")
    }
    assert two.host.ask(TRACES) == before

    done = two.project.run_playbook(two.page()).assert_ok()

    (checked,) = done.result("Test the builder")["results"]
    assert checked["systems"]["x86_64-linux"]["host"] == two.host.name
    assert checked["trusted"] is True
    owned = two.host.ask("find /var/lib/nix-builder ! -user root -o -perm /022")
    assert owned == ""
    again = two.project.run_playbook(two.page()).assert_ok()
    assert (again.changed("big"), again.changed("laptop")) == ([], [])


def test_the_key_is_good_for_nix_and_for_nothing_else(two: Two) -> None:
    for protocol in ("ssh", "ssh-ng"):
        asked = f"nix --extra-experimental-features nix-command store ping --store {protocol}://big"
        execute(two.client, asked)
    for command in (["cat", "/etc/passwd"], [], ["sh -c 'nix-daemon --stdio'"]):
        refused = two.ssh("big", *command)
        assert (refused.returncode, refused.stdout.strip()) == (126, ""), refused
        assert "runs no other command" in refused.stderr
    terminal = two.ssh("-tt", "big")
    assert (terminal.returncode, terminal.stdout) == (255, ""), terminal
    assert "PTY allocation request failed" in terminal.stderr
    subsystem = two.ssh("-s", "big", "sftp")
    assert subsystem.returncode == 126, subsystem
    forwarded = two.ssh("-W", "127.0.0.1:22", "big")
    assert "administratively prohibited" in forwarded.stderr, forwarded
    assert not forwarded.stdout
    remote = two.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-R", "9999:127.0.0.1:22", "big")
    assert remote.returncode == 255, remote
    assert "forwarding failed" in remote.stderr


def test_other_keys_and_settings_replace_those_before(two: Two) -> None:
    two.role(public_keys=[KEY], settings={"max-jobs": 3}).assert_ok()
    assert "max-jobs = 3" in two.host.ask("nix --extra-experimental-features nix-command config show")
    assert two.ssh("big", "true").returncode == 255


def test_what_stands_in_the_way_is_said_before_anything_changes(two: Two) -> None:
    assert "one key at least" in two.role().result("Check the options")["msg"]
    with_options = two.role(public_keys=[f'command="/bin/sh" {KEY}'])
    assert "without options before it" in with_options.result("Check the options")["msg"]
    before = two.host.ask(TRACES)
    two.host.execute("useradd --create-home alice")
    # Not even with the home that the role is told is its own.
    alice = {"user": "alice", "home": "/home/alice"}
    taken = two.role(public_keys=[KEY], **alice)
    assert "has a user alice already" in taken.result("Refuse a user with another purpose")["msg"]
    two.role(state="absent", **alice).assert_ok()
    assert two.host.ask("id -un alice; ls -d /home/alice") == "alice\n/home/alice"
    two.host.execute("userdel --remove alice 2>/dev/null")
    strict_settings = "AllowUsers root deploy\\nForceCommand /bin/true\\n"
    two.host.execute(f"printf '{strict_settings}' >/etc/ssh/sshd_config.d/50-strict.conf")
    strict = two.role(public_keys=[KEY])
    two.host.execute("rm /etc/ssh/sshd_config.d/50-strict.conf")
    message = strict.result("Refuse an sshd that would refuse the clients")["msg"]
    assert "AllowUsers" in message
    assert "ForceCommand" in message
    two.host.execute("mkdir /root/away; mv /usr/bin/nix* /root/away/")
    without = two.role(public_keys=[KEY])
    two.host.execute("mv /root/away/* /usr/bin/; rmdir /root/away")
    assert "role nixferry.deploy.nix" in without.result("Check that Nix can build for others")["msg"]
    assert two.host.ask(TRACES) == before


def test_absent_leaves_nothing(two: Two) -> None:
    """Against a host that never was a builder, and while a client is at work."""
    with subprocess.Popen(
        ["docker", "exec", "--user", "builder", two.host.container, "sleep", "600"]
    ) as at_work:
        assert two.role("--check", state="absent").assert_ok().changed("big")
        two.host.execute("id builder")
        two.role(state="absent").assert_ok()
        assert at_work.wait(timeout=30) != 0
    assert two.role(state="absent").assert_ok().changed("big") == []
    after = two.host.ask(TRACES)
    two.host.make_anew()
    assert two.host.ask(TRACES) == after
    give_python(two.client, two.host)


def test_nixos_gets_a_module_and_is_left_as_it_is(two: Two) -> None:
    """A host whose nix.conf leads into the store; then what the module would have made."""
    two.host.execute(
        """
        made=$(nix-store --add /etc/nix/nix.conf)
        ln -sf "$made" /etc/nix/nix.conf
        """
    )
    before = two.host.ask(TRACES)
    done = two.role(public_keys=[KEY], snippet_file="/root/builder.nix", settings={"max-jobs": 3}).assert_ok()
    assert two.host.ask(TRACES) == before
    assert "Import /root/builder.nix" in done.stdout
    assert done.result("Record the facts for clients")["ansible_facts"]["builder_host_ready"] is False
    two.host.execute("nix-instantiate --parse /root/builder.nix")
    again = two.role(
        public_keys=[KEY], snippet_file="/root/builder.nix", settings={"max-jobs": 3}
    ).assert_ok()
    assert again.changed("big") == []

    # The functions of nixpkgs that the module calls, as far as it calls them.
    made = two.host.ask(
        """
        nix-instantiate --eval --strict --json --read-write-mode --expr '
          let module = import /root/builder.nix {
            pkgs.writeShellScript = name: text: builtins.toFile name "#!/bin/sh\\n${text}";
          };
          in [ (builtins.head module.users.users.builder.openssh.authorizedKeys.keys) module.nix.settings ]'
        """
    )
    line, settings = json.loads(made)
    assert settings == {"max-jobs": 3, "trusted-users": ["builder"]}
    script = line.partition('restrict,command="')[2].partition('"')[0]
    assert line == f'restrict,command="{script}" {KEY}'
    refused = two.host.execute(f"SSH_ORIGINAL_COMMAND=id sh {script}", check=False)
    assert refused.returncode == 126
    two.host.execute(
        f"""
        mkdir -p /etc/ssh/authorized_keys.d
        echo '{line}' >/etc/ssh/authorized_keys.d/builder
        {{ cat /etc/nix/nix.conf; echo 'extra-trusted-users = builder'; }} >/root/nix.conf
        ln -sf "$(nix-store --add /root/nix.conf)" /etc/nix/nix.conf
        """
    )
    ready = two.role(
        public_keys=[KEY], snippet_file="/root/builder.nix", settings={"max-jobs": 3}
    ).assert_ok()
    assert ready.result("Record the facts for clients")["ansible_facts"]["builder_host_ready"] is True
    assert "Import" not in ready.stdout
    less = two.role(public_keys=[KEY.replace("laptop", "other")]).assert_ok()
    assert "the removal of other keys" in less.stdout
