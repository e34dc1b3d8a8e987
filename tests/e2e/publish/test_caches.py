# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles of caches: what is uploaded with a password is what clients get, also through a proxy while it is alone."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import containers
import pytest
import yaml
from cache_machines import free_port, inventory, machine, with_nginx, write
from guides import guide_blocks
from lab import REPOSITORY, nix_environment, run
from processes import wait_until
from project import PlaybookRun, Project

# It makes machines of its own, as the tests of builders do, and takes turns with these.
pytestmark = pytest.mark.takes_turns(3, among="costly themes", whole_file=True)
# Seconds until the proxy must have forgotten what it keeps for one second.
PROXY_DEADLINE = 30
WRITER = f"canary-writer-{secrets.token_hex(12)}"
READER = f"canary-reader-{secrets.token_hex(12)}"
SERVER, CLIENT, PROXY = guide_blocks(REPOSITORY / "docs/docsite/rst/caches.rst")
# Where the page has the machines, and where they are here.
NAMES = {
    "hosts: cache": "hosts: origin",
    "hosts: debian": "hosts: edge",
    "hosts: proxy": "hosts: edge",
    "proxy.example.org": "127.0.0.1",
    "cache.example.org": "localhost",
}
EXPRESSION = """
let derive = name: text: derivation {
  inherit name text;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "echo $text >$out" ];
};
in derive "%s" "${derive "%s-dependency" "x"}"
"""
CERTIFICATE = """
set -e
cd /etc/ssl/private
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout cache.key -out cache.pem 2>/dev/null
"""


@dataclass
class Caches:
    """A server with its own cache, and a machine that is the client of it and a proxy in front of it."""

    project: Project
    origin: str
    edge: str
    certificate: Path
    origin_port: int = field(default_factory=free_port)
    edge_port: int = field(default_factory=free_port)
    cache_key: Path = Path()
    public_key: str = ""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.origin_port}"

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.edge_port}"

    def role(self, play: str, *arguments: str, **variables: Any) -> PlaybookRun:
        """Run a play of the page, with the addresses of these machines. Variables replace those of the page."""
        for name, here in NAMES.items():
            play = play.replace(name, here)
        role = yaml.safe_load(play)[0]["roles"][0]["role"].rpartition(".")[2]
        named = {f"{role}_{name}": value for name, value in variables.items()}
        return self.project.run_playbook(
            play, *arguments, variables=named, environment={"ANSIBLE_PIPELINING": "1"}
        )

    def server(self, *arguments: str, **variables: Any) -> PlaybookRun:
        listen = [f"127.0.0.1:{self.origin_port}"]
        return self.role(SERVER, *arguments, **{"listen": listen, **variables})

    def client(self, *arguments: str, **variables: Any) -> PlaybookRun:
        caches = [{"url": self.url, "public_keys": [self.public_key], "priority": 10}]
        return self.role(CLIENT, *arguments, **{"caches": caches, "exclusive": True, **variables})

    def build(self, name: str) -> str:
        argv = ["nix-build", "--no-out-link", "--expr", EXPRESSION % (name, name)]
        return run(argv, environment=nix_environment()).stdout.strip()

    def publish(self, path: str, password: str) -> PlaybookRun:
        netrc = self.project.write("netrc", f"machine localhost login ci password {password}\n")
        netrc.chmod(0o600)
        options = {
            "toplevels": {"web1": path},
            "cache": self.url,
            "cache_key": str(self.cache_key),
            "pointers": f"{self.url}/pointers",
            "pointer_key": str(self.cache_key.with_name("pointer")),
            "netrc_file": str(netrc),
        }
        tasks = [{"name": "publish", "nixferry.deploy.nix_publish": options}]
        environment = {
            "SSL_CERT_FILE": str(self.certificate),
            "NIX_SSL_CERT_FILE": str(self.certificate),
            "XDG_CACHE_HOME": str(self.project.directory / "nix"),
        }
        play = {"hosts": "origin", "gather_facts": False, "tasks": tasks}
        return self.project.run_playbook([play], environment=environment)

    def realise(self, path: str) -> bool:
        """Whether the client gets a path and what it needs from its caches."""
        script = f"""
            export NIX_SSL_CERT_FILE=/etc/ssl/private/cache.pem
            nix-store --delete --ignore-liveness {path} >/dev/null 2>&1
            nix-store --realise {path} >/dev/null 2>/tmp/said"""
        return containers.execute(self.edge, script, check=False).returncode == 0

    def status(self, path: str, *, login: str = "", method: str = "GET") -> int:
        """What the origin answers."""
        request = [f"--user {login}"] if login else []
        request += ["--upload-file -"] if method == "PUT" else [f"--request {method}"]
        script = (
            f"printf x | curl --silent --cacert {self.certificate} --output /dev/null --write-out '%{{http_code}}' "
            f"--path-as-is {' '.join(request)} {self.url}{path}"
        )
        return int(run(["sh", "-c", script]).stdout)


def basic(login: str) -> str:
    """A login as HTTP has it."""
    return base64.b64encode(login.encode()).decode()


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    directory = tmp_path_factory.mktemp("caches")
    project = Project(directory=directory / "project", lab=cast(Any, None))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    with machine("origin") as origin, machine("edge") as edge:
        hosts = inventory({"origin": origin, "edge": edge})
        hosts["all"]["vars"] = {"vault_cache_upload": WRITER, "vault_cache_read": READER}
        project.write("inventory.yml", json.dumps(hosts))
        found = Caches(project, origin, edge, directory / "ca.pem")
        containers.ask(origin, CERTIFICATE)
        found.certificate.write_text(containers.ask(origin, "cat /etc/ssl/private/cache.pem") + "\n")
        write(edge, "/etc/ssl/private/cache.pem", found.certificate.read_text())
        found.cache_key = directory / "cache"
        found.cache_key.touch(0o600)
        generate = ["nix", "--extra-experimental-features", "nix-command", "key"]
        secret = run(
            [*generate, "generate-secret", "--key-name", "cache-1"], environment=nix_environment()
        ).stdout
        found.cache_key.write_text(secret)
        found.public_key = run(
            [*generate, "convert-secret-to-public"], input=secret, environment=nix_environment()
        ).stdout.strip()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "pointer")])
        with_nginx(origin)
        with_nginx(edge)
        yield found


def test_from_an_upload_to_a_client(caches: Caches) -> None:
    """The roles twice, an upload, a host that realises it; who has no password gets and leaves nothing."""
    predicted = caches.server("--check", "--diff").assert_ok()
    assert predicted.changed("origin")
    assert not containers.execute(caches.origin, "ls /srv/www", check=False).stdout
    first = caches.server("-vvv", "--diff").assert_ok()

    path = caches.build("published")
    refused = caches.publish(path, "wrong")
    assert refused.return_code != 0
    assert len(refused.result("publish")["msg"].splitlines()) <= 5
    assert containers.ask(caches.origin, "find /srv/www -name '*.narinfo' -o -path '*/nar/*'") == ""
    published = caches.publish(path, WRITER).assert_ok()
    assert published.result("publish")["verified_paths"] == 2
    assert containers.ask(caches.origin, "ls /srv/www/pointers/stable/hosts") == "web1"

    client = caches.client("-vvv", "--diff").assert_ok()
    assert not caches.client().assert_ok().changed("edge")
    assert containers.ask(caches.edge, "stat -c '%a %U' /etc/nix/nixferry-caches.netrc") == "600 root"
    assert caches.realise(path), containers.ask(caches.edge, "cat /tmp/said")

    # What no key has signed is there, and is not taken.
    unsigned = caches.build("unsigned")
    copy = ["nix", "--extra-experimental-features", "nix-command", "copy", "--to"]
    run([*copy, f"file://{caches.project.directory}/unsigned", unsigned], environment=nix_environment())
    run(["docker", "cp", f"{caches.project.directory}/unsigned/.", f"{caches.origin}:/srv/www/cache/"])
    # Docker gives directories to root.
    containers.ask(caches.origin, "chown -R www-data: /srv/www/cache")
    assert caches.status(f"/{unsigned[11:43]}.narinfo", login=f"host:{READER}") == 200
    assert not caches.realise(unsigned)
    # A second run changes nothing but what a copy has made of the description of the cache.
    again = caches.server().assert_ok()
    assert [name.rpartition(" : ")[2] for name in again.changed("origin")] == [
        "Say what clients have to know of the cache"
    ]
    assert "Priority: 30" in containers.ask(caches.origin, "cat /srv/www/cache/nix-cache-info")

    narinfo = f"/{path[11:43]}.narinfo"
    reader, writer = f"host:{READER}", f"ci:{WRITER}"
    for answer, asked in (
        (401, caches.status(narinfo)),
        (401, caches.status(narinfo, login="host:wrong")),
        (200, caches.status(narinfo, login=reader)),
        (200, caches.status(narinfo, login=writer)),
        (401, caches.status(narinfo, method="PUT")),
        (401, caches.status(narinfo, login=reader, method="PUT")),
        (204, caches.status("/pointers/stable/index.json", login=writer, method="PUT")),
        (201, caches.status("/debuginfo/new/file", login=writer, method="PUT")),
        (403, caches.status("/nix-cache-info", login=writer, method="PUT")),
        (405, caches.status(narinfo, login=writer, method="DELETE")),
        (404, caches.status("/", login=reader)),
        (404, caches.status("/incoming/x", login=reader)),
        (404, caches.status("/pointers/.lock", login=reader)),
    ):
        assert asked == answer
    for odd in ("/other", "/pointers/../outside", "/../../etc/cron.d/x", "/nar/%2e%2e/%2e%2e/outside"):
        assert caches.status(odd, login=writer, method="PUT") in (400, 403, 404, 405), odd
    assert caches.status("/pointers/", login=reader) == 403
    # What did not come whole is not there.
    lines = ("PUT /debuginfo/cut HTTP/1.1", "Host: localhost", "Content-Length: 99")
    cut = "\\r\\n".join([*lines, f"Authorization: Basic {basic(writer)}", "", "x"])
    sender = f"openssl s_client -quiet -connect 127.0.0.1:{caches.origin_port} 2>/dev/null"
    containers.ask(caches.origin, f"{{ printf '{cut}'; sleep 1; }} | {sender} || true")
    assert caches.status("/debuginfo/cut", login=reader) == 404
    assert containers.ask(caches.origin, "find /srv/www/incoming -type f") == ""

    # A password is in the vault of the user and in files that others cannot read, and nowhere else.
    for canary in (WRITER, READER):
        for ran in (predicted, first, client, published):
            everything = [ran.stdout, ran.stderr, json.dumps([entry.result for entry in ran.results])]
            assert not any(canary in text for text in everything)
        assert containers.ask(caches.origin, f"grep -rl {canary} /etc /srv /var/log /root /tmp || true") == ""
        files = containers.ask(caches.edge, f"grep -rl {canary} /etc /nix/var /var/log /root /tmp || true")
        assert files in ("", "/etc/nix/nixferry-caches.netrc")

    caches.client(state="absent", caches=[], logins=[]).assert_ok()
    assert containers.ask(caches.edge, "ls /etc/nix") == "nix.conf"
    assert not caches.realise(path)


def test_a_proxy_keeps_what_it_has_while_its_origin_is_down(caches: Caches) -> None:
    caches.server(readers=[]).assert_ok()
    proxy = {
        "listen": [str(caches.edge_port)],
        "upstream": caches.url,
        "upstream_ca": "/etc/ssl/private/cache.pem",
        "proxy_absent_seconds": 1,
    }
    caches.role(PROXY, **proxy).assert_ok()
    caches.client(caches=[{"url": caches.proxy, "public_keys": [caches.public_key]}], logins=[]).assert_ok()

    path = caches.build("through-a-proxy")
    # Absent first: neither the proxy nor the client may keep that.
    assert not caches.realise(path)
    caches.publish(path, WRITER).assert_ok()
    asked = ["curl", "-sf", f"{caches.proxy}/{path[11:43]}.narinfo"]
    wait_until(
        lambda: run(asked, check=False).returncode == 0,
        deadline=PROXY_DEADLINE,
        what="the end of the proxy's memory that the path is absent",
    )
    assert caches.realise(path), containers.ask(caches.edge, "cat /tmp/said")
    pointer = f"{caches.proxy}/pointers/stable/hosts/web1"
    before = containers.ask(caches.edge, f"curl -sf {pointer}")
    assert path in before

    containers.ask(caches.origin, "service nginx stop")
    try:
        assert caches.realise(path), containers.ask(caches.edge, "cat /tmp/said")
        assert containers.ask(caches.edge, f"curl -sf {pointer}") == before
        assert "Priority: 20" in containers.ask(caches.edge, f"curl -sf {caches.proxy}/nix-cache-info")
        put = f"printf x | curl -s -o /dev/null -w '%{{http_code}}' -T - {caches.proxy}/nar/x"
        assert containers.ask(caches.edge, put) == "403"
    finally:
        containers.ask(caches.origin, "service nginx start")


def test_a_configuration_that_nginx_refuses_is_taken_back(caches: Caches) -> None:
    site = "/etc/nginx/conf.d/nixferry-cache.conf"
    if containers.execute(caches.origin, f"test -e {site}", check=False).returncode:
        caches.server().assert_ok()
    before = containers.ask(caches.origin, f"cat {site}")
    ran = caches.server(tls_certificate="/etc/ssl/private/absent.pem")
    assert ran.return_code != 0
    assert "absent.pem" in ran.result("Say what nginx has against it")["msg"]
    assert containers.ask(caches.origin, f"cat {site}") == before
    containers.ask(caches.origin, "nginx -t")
    assert caches.status("/nix-cache-info", login=f"ci:{WRITER}") == 200
    # Passwords without TLS, and what nginx would read as more than a name.
    assert caches.server(tls_certificate="", tls_key="").return_code != 0
    assert caches.server(name="localhost; return 200 x").return_code != 0
