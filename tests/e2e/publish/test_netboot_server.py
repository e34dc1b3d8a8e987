# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The web server of machines that boot from the network: a trial is handed out once, and nothing else is given away."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import containers
import pytest
from cache_machines import free_port, inventory, machine, with_nginx
from project import PlaybookRun, Project

# It makes a machine of its own, as the tests of builders do, and takes turns with these.
pytestmark = pytest.mark.takes_turns(3, among="costly themes", whole_file=True)
TREE = "/srv/www/netboot"
MAC = "52:54:00:12:34:56"
TRIAL = "0123456789abcdef0123456789abcdef"
MAKE = f"""
set -e
mkdir -p {TREE}/releases/new
cd {TREE}/releases/new
for name in boot.ipxe initrd kernel store manifest.json; do echo "$name" >$name; done
echo '{{}}' >manifest.json
for name in boot.ipxe initrd kernel manifest.json store; do sha256sum $name; done >SHA256SUMS
name=$(sha256sum SHA256SUMS | cut -c1-32)
mv {TREE}/releases/new {TREE}/releases/$name
echo $name
"""


@dataclass
class Server:
    """The machine, and the port that nginx listens on."""

    project: Project
    container: str
    port: int

    def role(self, *arguments: str, **variables: Any) -> PlaybookRun:
        given = {"netboot_listen": [f"127.0.0.1:{self.port}"], **variables}
        task = {"ansible.builtin.include_role": {"name": "nixferry.deploy.netboot", "tasks_from": "server"}}
        play = [{"hosts": "boot", "gather_facts": False, "vars": given, "tasks": [task]}]
        return self.project.run_playbook(play, *arguments)

    def point(self, **options: Any) -> PlaybookRun:
        task = {
            "nixferry.deploy.nix_netboot_pointer": {
                "directory": TREE,
                "host": "web1",
                "macs": [MAC],
                **options,
            }
        }
        return self.project.run_playbook([{"hosts": "boot", "gather_facts": False, "tasks": [task]}])

    def status(self, path: str, method: str = "GET") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, f"/{path}")
            return connection.getresponse().status


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    with machine("netboot-server") as name:
        with_nginx(name)
        yield name


@pytest.fixture
def server(container: str, project: Project) -> Server:
    made = Server(project, container, free_port())
    project.write("inventory.yml", json.dumps(inventory({"boot": container})))
    return made


def test_a_trial_is_handed_out_once(server: Server) -> None:
    server.role("--check").assert_ok()
    server.role().assert_ok()
    again = server.role("--check", "--diff").assert_ok()
    assert again.changed("boot") == []

    release = containers.ask(server.container, MAKE).split()[-1]
    server.point(state="present", release=release).assert_ok()
    assert server.status("boot.ipxe") == server.status("boot.ipxe.0") == 200
    assert server.status("hosts/52-54-00-12-34-56.ipxe") == 200
    assert server.status(f"releases/{release}/kernel") == 200

    server.point(state="trial", release=release, trial=TRIAL).assert_ok()
    # What is not a machine's question uses nothing up.
    for method, path in (("HEAD", "once"), ("PUT", "once"), ("GET", "pending"), ("DELETE", "pending")):
        assert server.status(f"{path}/{TRIAL}", method) in (403, 404, 405), (method, path)
    for path in (
        "state/web1.json",
        ".lock",
        "pending/",
        "releases/",
        "once/../pending/x",
        "once/" + "0" * 32,
    ):
        assert server.status(path) == 404, path
    for method in ("PUT", "DELETE", "MOVE"):
        assert server.status("boot.ipxe", method) in (403, 405)
    # Two that ask at the same time.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _number: server.status(f"once/{TRIAL}"), range(8)))
    assert sorted(answers) == [204, *[404] * 7]
    assert server.point(state="query").result("nix_netboot_pointer")["taken"]


def test_a_configuration_that_nginx_refuses_is_taken_back(server: Server) -> None:
    server.role().assert_ok()
    failed = server.role(netboot_listen=["127.0.0.1:99999"])
    assert failed.return_code != 0
    assert "nginx refuses its configuration" in str(failed)
    assert server.status("boot.ipxe") in (200, 404)
    assert server.role("--check").assert_ok().changed("boot") == []


def test_a_link_of_the_owner_of_the_tree_is_not_followed(server: Server) -> None:
    """The role runs as root, and would give the directory that the link leads to away."""
    server.role(netboot_owner="nobody").assert_ok()
    for name in ("hosts", "pending"):
        place = f"{TREE}/{name}"
        containers.ask(server.container, f"mkdir -p /of-root; rm -rf {place}; ln -s /of-root {place}")
        assert server.role(netboot_owner="nobody").return_code != 0
        assert containers.ask(server.container, "stat -c '%U %a' /of-root") == "root 755"
        containers.ask(server.container, f"rm {place}")
    server.role().assert_ok()
