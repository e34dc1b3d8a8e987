# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets on real hosts: every content, every way in, every storage, and nowhere a trace of one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from guides import beside, guide_blocks
from lab import REPOSITORY, Lab, LabHost, nix_environment, run
from plays import SWITCH, deploy_play, task_play
from processes import wait_until
from project import PlaybookRun, Project, make_project
from ways import CANARY, Lookout, add_hosts, add_user, files_with_passwords, traces_on

SECRETS = "nix_secrets"
PAGE = REPOSITORY / "docs/docsite/rst/secrets.rst"
WORD = f"{CANARY}secret"
ODD = {
    "binary": bytes(range(256)) + WORD.encode(),
    "no-newline": WORD.encode(),
    "windows": f"{WORD}\r\n{WORD}\r\n".encode(),
    "empty": b"",
    "large": random.Random(5).randbytes(20 * 2**20),
}
# In every result, log and file: none of a content, and no hash that could be guessed at.
DIGEST = hashlib.sha256(WORD.encode()).hexdigest()


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("secrets") / "project", lab)


@pytest.fixture(scope="module")
def hosts(lab: Lab, project: Project) -> dict[str, LabHost]:
    """web1 is reached with a sudo password, web2 through the container, web3 with a sudo that wants a terminal."""
    for name in ("web1", "web2", "web3"):
        lab.hosts[name].make_anew()
    lab.hosts["web1"].execute(f"echo admin:{CANARY}sudo | chpasswd")
    rule = "terminal ALL=(ALL:ALL) ALL\nDefaults:terminal requiretty"
    add_user(lab.hosts["web3"], "terminal", password=f"{CANARY}sudo", sudo=rule)
    become = {"ansible_become": True, "ansible_become_password": f"{CANARY}sudo"}
    add_hosts(
        project,
        {
            "web1": {"ansible_user": "admin", **become},
            "web2": {
                "ansible_connection": "community.docker.docker",
                "ansible_host": lab.hosts["web2"].container,
                "ansible_user": "root",
            },
            "web3": {"ansible_user": "terminal", **become},
        },
    )
    return dict(lab.hosts)


def place(
    project: Project, hosts: str, secrets: Mapping[str, Any], *arguments: str, **options: Any
) -> PlaybookRun:
    """One task, with all of Ansible's logs and caches switched on."""
    kept = {
        "ANSIBLE_LOG_PATH": str(project.directory / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(project.directory / "facts"),
    }
    play = task_play(hosts, SECRETS, {"secrets": secrets, **options})
    return project.run_playbook(play, *arguments, environment=kept)


def test_every_content_over_every_way_in(project: Project, hosts: dict[str, LabHost], tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, content in ODD.items():
        (sources / name).write_bytes(content)
    declared: dict[str, Any] = {name: {"file": str(sources / name)} for name in ODD}
    declared["binary"] |= {"user": "daemon", "group": "adm", "permissions": "0440"}
    declared["told"] = {
        "text": "{{ lookup('file', '" + str(sources / "no-newline") + "') }}",
        "storage": "persistent",
    }
    declared["asked"] = {"command": ["printf", "%s\\n", "asked"]}
    with Lookout() as lookout:
        placed = place(project, "web1:web2:web3", declared, "-vvvv")
        again = place(project, "web1:web2:web3", declared, "--diff")
    placed.assert_ok()
    again.assert_ok()
    for name in ("web1", "web2", "web3"):
        assert again.changed(name) == []
        digests = hosts[name].ask("cd /run/keys && sha256sum *; stat -c %U:%G:%a binary large . .nixferry")
        expected = {**ODD, "asked": b"asked\n"}
        assert digests.splitlines() == [
            *(f"{hashlib.sha256(expected[name]).hexdigest()}  {name}" for name in sorted(expected)),
            "daemon:adm:440",
            "root:root:600",
            "root:root:711",
            "root:root:700",
        ]
        assert hosts[name].ask("cat /var/lib/nixferry-keys/told") == WORD
    assert lookout.looks > 10
    assert_no_trace(project, lookout, hosts.values(), placed, again)


def assert_no_trace(project: Project, lookout: Lookout, hosts: Iterable[LabHost], *runs: PlaybookRun) -> None:
    """A content is in its place and nowhere else; and nothing tells a hash that could be guessed at."""
    assert lookout.seen == []
    for run_ in runs:
        for word in (WORD, DIGEST):
            assert word not in str(run_)
            assert word not in repr(run_.results)
    assert "nix_secrets" in (project.directory / "ansible.log").read_text()
    allowed = ("inventory.yml", "playbook.yml")
    assert files_with_passwords(project.directory, but=allowed) == []
    for place_ in (*Path("/tmp").glob("ansible*"), Path("~/.ansible").expanduser(), Path("/dev/shm")):
        assert files_with_passwords(place_) == []
    for host in hosts:
        places = ("/run/keys/", "/var/lib/nixferry-keys/")
        assert [line for line in traces_on(host).splitlines() if not line.startswith(places)] == []
        left = "ls -d /tmp/nixferry-* /dev/shm/nixferry-* /run/nixferry-* 2>/dev/null; grep -rlF {word} /nix/store || :"
        assert host.ask(left.format(word=CANARY)) == ""


def test_a_failure_half_way_leaves_the_old_set_and_no_trace(
    project: Project, hosts: dict[str, LabHost]
) -> None:
    """A full file system, and a group that does not exist: on each host the set is as it was."""
    old = {f"part{number}": {"text": f"old {number}"} for number in range(3)}
    names = ("web1", "web2", "web3")
    place(project, "web1:web2:web3", old).assert_ok()
    for name in names:
        hosts[name].execute("mkdir /run/small; mount -t tmpfs -o size=2m,mode=755 tmpfs /run/small")
    new: dict[str, Any] = {name: {"text": f"{WORD} {name}"} for name in old}
    with Lookout() as lookout:
        full = place(
            project,
            "web1:web2:web3",
            {**new, "zeros": {"path": "/run/small/zeros", "command": "head -c 3M /dev/zero"}},
            "-vvvv",
        )
        group = place(
            project,
            "web1:web2:web3",
            {**new, "part1": {"text": f"{WORD}1", "group": "nobody-has-it"}},
            "-vvvv",
        )
        broken = place(
            project,
            "web1:web2:web3",
            {**new, "part1": {"command": ["sh", "-c", f"echo {CANARY[:-1]}'-'; exit 3"]}},
            "-vvvv",
        )
    for name in names:
        message = full.result(SECRETS, name)
        assert "the old ones are unchanged" in message["msg"]
        assert any("No space left on device" in line for line in message["output"])
        assert "root:nobody-has-it" in group.result(SECRETS, name)["msg"]
        assert "failed with exit code 3" in broken.result(SECRETS, name)["msg"]
        assert hosts[name].ask("cd /run/keys && cat part0 part1 part2; ls /run/small -A") == "old 0old 1old 2"
        assert hosts[name].ask("find /run/small /run/keys -name '*part*' | wc -l") == "3"
        hosts[name].execute("umount /run/small; rmdir /run/small")
    assert_no_trace(project, lookout, hosts.values(), full, group, broken)


# Between ssh and its server; after so many bytes to the server the cable is pulled.
CUT = """
import os, socket, sys, threading
server, left = socket.create_connection((sys.argv[1], int(sys.argv[2]))), int(sys.argv[3])
def answers():
    while data := server.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=answers, daemon=True).start()
while left > 0 and (data := os.read(0, min(left, 65536))):
    server.sendall(data)
    left -= len(data)
if left == 0:
    open(sys.argv[4], "w").close()
os._exit(1)
"""
CUT_AFTER_BYTES = 4 * 2**20
ENDED_DEADLINE = 60.0
"""Seconds for the host to notice that the connection is gone, and to clear up."""


def test_a_connection_that_breaks_in_the_middle_leaves_the_old_set(
    project: Project, hosts: dict[str, LabHost]
) -> None:
    host = hosts["web1"]
    place(project, "web1", {"part": {"text": "old"}}, exclusive=True).assert_ok()
    cable, pulled = project.write("cable.py", CUT), project.directory / "pulled"
    proxy = f"{sys.executable} {shlex.quote(str(cable))} %h %p {CUT_AFTER_BYTES} {shlex.quote(str(pulled))}"
    with tempfile.TemporaryDirectory(prefix="nf-") as sockets:
        arguments = f"-o ControlPath={sockets}/%C -o ProxyCommand={shlex.quote(proxy)}"
        new = {"part": {"text": WORD}, "large": {"command": "head -c 20M /dev/urandom"}}
        cut = place(project, "web1", new, "--extra-vars", json.dumps({"ansible_ssh_extra_args": arguments}))
    assert pulled.exists()
    assert cut.return_code != 0, str(cut)
    assert cut.changed("web1") == []
    wait_until(
        lambda: host.ask("ls -d /run/nixferry-* 2>/dev/null || :") == "",
        deadline=ENDED_DEADLINE,
        what="what arrived is removed",
    )
    assert host.ask("cd /run/keys; cat part; ls") == "oldpart"
    assert WORD not in str(cut)
    # Nothing of it is in the way.
    place(project, "web1", new).assert_ok()
    assert host.ask("cd /run/keys; cat part; stat -c %s large") == f"{WORD}{20 * 2**20}"


# One waits until there is such a secret; the other reads one at boot without being ordered after anything.
UNITS = """
cd /usr/lib/systemd/system
cat >waits.service <<'END'
[Unit]
Requires=to-come-key.service
After=to-come-key.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cp /run/keys/to-come /run/waits-has-read'
END
cat >early.service <<'END'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cp /run/keys/vault /run/early-has-read'
END
mkdir -p multi-user.target.wants; ln -s ../early.service multi-user.target.wants/early.service
"""


def test_five_hundred_secrets_units_and_a_power_cut(project: Project, hosts: dict[str, LabHost]) -> None:
    host = hosts["web2"]
    host.execute(UNITS)
    declared: dict[str, Any] = {f"many{number}": {"text": f"{number}"} for number in range(500)}
    declared["kept"] = {"text": "on the disk", "storage": "persistent"}
    declared["vault"] = {"text": f"{WORD} of the vault", "storage": "sealed", "user": "daemon"}
    first = place(project, host.name, declared, exclusive=True).assert_ok()
    assert len(first.result(SECRETS)["secrets"]) == 502
    assert "/run/keys/part0" in first.result(SECRETS)["removed"]
    assert host.ask("ls /run/keys | wc -l; cat /run/keys/many77") == "501\n77"
    assert host.ask(f"grep -rlF '{WORD} of the vault' /etc /var /boot /nix/store || :") == ""

    host.power_cut()
    host.power_on()
    assert host.ask("ls /run/keys; cat /run/early-has-read; stat -c ' %U:%a' /run/keys/vault") == (
        f"vault\n{WORD} of the vault daemon:600"
    )
    assert host.ask("cat /var/lib/nixferry-keys/kept") == "on the disk"
    host.execute("systemctl daemon-reload; systemctl start --no-block many1-key.service")
    state = "systemctl show --property=ActiveState --value many1-key.service"
    assert host.ask(state) == "activating"
    declared["to-come"] = {"text": "has come"}
    again = place(project, host.name, declared, exclusive=True).assert_ok()
    assert len(again.result(SECRETS)["secrets"]) == 501
    assert host.ask("ls /run/keys | wc -l; cat /run/keys/many77") == "502\n77"
    wait_until(lambda: host.ask(state) == "active", deadline=30, what="the unit of a secret that has come")
    host.execute("systemctl start waits.service")
    assert host.ask("cat /run/waits-has-read") == "has come"


READER = """
[Service]
ExecStart=/bin/sh -c 'cp /run/keys/app /run/app-has-read; echo >>/run/app-starts; exec sleep 1000000'
"""


def versions(version: str) -> dict[str, Any]:
    return {
        "app": {"text": f"{WORD} {version}", "user": "nobody", "restart_units": ["reader.service"]},
        "disk": {"text": f"disk {version}", "storage": "persistent", "restart_units": ["reader.service"]},
        "late": {"text": f"late {version}", "upload_at": "post-activation"},
    }


def test_secrets_go_with_the_generation_that_brought_them(lab: Lab, project: Project) -> None:
    """Through the role: committed, rolled back by the guard, and back to an older generation by hand."""
    host = lab.hosts["web3"]
    host.make_anew()
    project.write("inventory.yml", (lab.directory / "inventory.yml").read_text())

    def deploy(version: str, *arguments: str, **variables: Any) -> PlaybookRun:
        units = {"reader.service": READER}
        project.describe_hosts({host.name: {"version": version, "units": units}})
        return project.run_playbook(
            deploy_play(
                host.name,
                file="systems/default.nix",
                attr="{host}",
                secrets=versions(version),
                secrets_exclusive=True,
                timeout_confirm=20,
                **variables,
            ),
            *arguments,
        )

    def state() -> list[str]:
        return host.ask(
            "cat /run/app-has-read; echo; cd /run/keys; cat app; echo; cat /var/lib/nixferry-keys/disk; echo; cat late"
        ).splitlines()

    def of(version: str, late: str = "") -> list[str]:
        return [f"{WORD} {version}", f"{WORD} {version}", f"disk {version}", f"late {late or version}"]

    told = deploy("1", "--check", "--diff").assert_ok()
    assert WORD not in str(told)
    assert "app (/run/keys/app): nobody:root 600" in told.stdout
    assert host.ask("ls -d /run/keys /var/lib/nixferry* 2>/dev/null || :") == ""
    loud = deploy("1", "-vvvv").assert_ok()
    assert WORD not in str(loud)
    assert WORD not in repr(loud.results)
    assert state() == of("1")
    # By the activation, and not again for its secret.
    assert host.ask("wc -l </run/app-starts") == "1"
    assert host.ask("stat -c %U:%a /run/keys/app") == "nobody:600"
    second = deploy("1").assert_ok()
    assert second.changed(host.name) == []
    started = host.ask("systemctl show --property=ExecMainStartTimestampMonotonic reader.service")
    # What the checks see is the new secret; then it fails, and the old one is back.
    check = {"command": f"grep -q '{CANARY}secret 2' /run/app-has-read && echo seen; false", "retries": 0}
    failed = deploy("2", health_checks=[check])
    result = failed.result(SWITCH, host.name)
    assert (result["outcome"], result["health_checks"][0]["healthy"]) == ("rolled-back", False)
    assert "seen" in str(result["health_checks"])
    assert state() == of("1")
    deploy("2").assert_ok()
    assert state() == of("2")
    assert host.ask("systemctl show --property=ExecMainStartTimestampMonotonic reader.service") != started
    back = project.run_named("nixferry.deploy.rollback", "--limit", host.name).assert_ok()
    assert back.result("nix_rollback", host.name)["outcome"] == "committed"
    assert state() == of("1")


# Of nixpkgs' library what the module uses for more than the description of its options.
MODULE = """
let
  lib = {
    mkOption = option: option;
    mkIf = condition: content: if condition then content else { };
    types = { str = null; nullOr = _: null; listOf = _: null; attrsOf = _: null; enum = _: null; submodule = _: null; };
    literalExpression = text: text;
    escapeShellArg = text: "'${text}'";
    concatMapStrings = function: list: builtins.concatStringsSep "" (map function list);
    stringAfter = deps: text: { inherit deps text; };
  };
  key = { text = null; keyFile = null; keyCommand = null; user = "root"; group = "root"; permissions = "0600"; };
  keys = {
    app-env = key // { name = "app-env"; path = "/run/keys/app-env"; text = "geheim"; user = "app"; };
    both = key // { name = "both"; path = "/var/keys/both"; text = "geheim"; keyFile = "x"; };
  };
  of = keys: (import @module@ { inherit lib; config.deployment.keys = keys; }).config;
in { some = of keys; none = of { }; }
"""


def test_the_module_for_nixos(tmp_path: Path) -> None:
    """What it makes of the keys that are declared; the types and defaults of its options are nixpkgs' business."""
    expression = tmp_path / "module.nix"
    expression.write_text(MODULE.replace("@module@", str(REPOSITORY / "plugins/plugin_utils/nix/keys.nix")))
    argv = ["nix-instantiate", "--eval", "--strict", "--json", str(expression)]
    made = json.loads(run(argv, environment=nix_environment()).stdout)
    assert made["none"] == {}
    some = made["some"]
    assert [entry["assertion"] for entry in some["assertions"]] == [True, False]
    assert "both" in some["assertions"][1]["message"]
    assert set(some["systemd"]["services"]) == {"app-env-key", "both-key"}
    service = some["systemd"]["services"]["app-env-key"]
    assert service["script"] == "until [ -e '/run/keys/app-env' ]; do sleep 0.3; done\n"
    owners = some["system"]["activationScripts"]["nixferry-key-owners"]
    assert owners["deps"] == ["users", "groups"]
    assert "chown 'app:root' '/run/keys/app-env'" in owners["text"]
    assert "geheim" not in str(made)


def test_the_page(lab: Lab, project: Project) -> None:
    """What the page about secrets tells users to write works as it stands there."""
    host = lab.hosts["web1"]
    host.make_anew()
    inventory = yaml.safe_load((lab.directory / "inventory.yml").read_text())
    inventory["nixos"] = {"hosts": {host.name: None}}
    project.write("inventory.yml", yaml.safe_dump(inventory))
    project.describe_hosts({host.name: {"version": "2"}})
    beside(project, project.directory / "playbook.yml")
    project.write("secrets/tls.key", "a key\n")
    stores = project.write("bin/pass", '#!/bin/sh\necho "$2 of the password store"\n')
    stores.chmod(0o755)
    search_path = {"PATH": f"{stores.parent}:{os.environ['PATH']}"}
    pages = {block.split()[1]: block for block in guide_blocks(PAGE)}
    assert set(pages) == {"deploy.yml", "secrets.yml", "keys.yml"}
    contents = 'for file in /run/keys/* /var/lib/nixferry-keys/*; do echo "$file: $(cat $file)"; done'

    def call(name: str) -> PlaybookRun:
        variables = {"app_password": "abc"}
        return project.run_playbook(pages[name], variables=variables, environment=search_path).assert_ok()

    call("deploy.yml")
    assert host.http("/version") == (200, "2")
    assert host.ask(contents).splitlines() == [
        "/run/keys/app-env: PASSWORD=abc",
        "/run/keys/backup: hosts/backup of the password store",
        "/var/lib/nixferry-keys/tls-key: a key",
    ]
    assert call("secrets.yml").result(SECRETS)["removed"] == [
        "/run/keys/backup",
        "/var/lib/nixferry-keys/tls-key",
    ]
    assert call("keys.yml").result(SECRETS)["secrets"] == {
        "app-env": {"path": "/run/keys/app-env", "change": ["content"]}
    }
    assert host.ask("ls /run/keys; cat /run/keys/app-env") == "app-env\napp-env of the password store"
