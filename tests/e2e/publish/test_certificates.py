# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cache that lets in only clients with a certificate: for an upload, its verification, and a host that fetches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import containers
import pytest
from cache_machines import free_port, inventory, machine, with_nginx, write
from lab import nix_environment, run
from project import PlaybookRun, Project

# It makes machines of its own, as the tests of builders do, and takes turns with these.
pytestmark = pytest.mark.takes_turns(3, among="costly themes", whole_file=True)
WRITER = "canary-writer-4711"
NIX = ["nix", "--extra-experimental-features", "nix-command"]
EXPRESSION = """
let derive = name: text: derivation {
  inherit name text;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "echo $text >$out" ];
};
in derive "%s" "${derive "%s-dependency" "x"}"
"""
# Two authorities; the server trusts the first. It has signed a server, a publisher, a host, and a lost host.
CERTIFICATES = """
set -e
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$1" \
        -keyout "$1.key" -out "$1.pem"
}
signed() { # AUTHORITY NAME
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -keyout "$2.key" -out "$2.csr"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$2.ext"
    openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -days 30 -extfile "$2.ext" -out "$2.pem"
}
umask 077
authority ours
authority theirs
for name in server publisher host lost; do signed ours "$name"; done
signed theirs stranger
printf '[ca]\ndefault_ca=a\n[a]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n' >crl.cnf
: >index
openssl ca -config crl.cnf -cert ours.pem -keyfile ours.key -revoke lost.pem
openssl ca -config crl.cnf -cert ours.pem -keyfile ours.key -gencrl -out ours.crl
"""


@dataclass
class Cache:
    """A server, and a host with a Nix that has certificates. ``keys`` has the certificates."""

    project: Project
    keys: Path
    origin: str
    host: str
    port: int = field(default_factory=free_port)
    public: str = ""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def build(self, name: str) -> str:
        text = EXPRESSION % (name, name)
        return run(
            ["nix-build", "--no-out-link", "--expr", text], environment=nix_environment()
        ).stdout.strip()

    def play(self, hosts: str, roles: list[Any], tasks: list[Any] | None = None) -> PlaybookRun:
        environment = {
            "SSL_CERT_FILE": str(self.keys / "ours.pem"),
            "NIX_SSL_CERT_FILE": str(self.keys / "ours.pem"),
            "XDG_CACHE_HOME": str(self.project.directory / "nix"),
            "ANSIBLE_PIPELINING": "1",
        }
        play = {"hosts": hosts, "gather_facts": False, "roles": roles, "tasks": tasks or []}
        return self.project.run_playbook([play], environment=environment)

    def server(self) -> PlaybookRun:
        settings = {
            "name": "localhost",
            "listen": [f"127.0.0.1:{self.port}"],
            "tls_certificate": "/etc/ssl/private/server.pem",
            "tls_key": "/etc/ssl/private/server.key",
            "client_ca": "/etc/ssl/private/ours.pem",
            "client_crl": "/etc/ssl/private/ours.crl",
            "writers": [{"name": "ci", "password": WRITER}],
        }
        named = {f"cache_server_{name}": value for name, value in settings.items()}
        return self.play("origin", [{"role": "nixferry.deploy.cache_server", "vars": named}])

    def client(self, certificate: str) -> PlaybookRun:
        cache = {"url": self.url, "public_keys": [self.public], "priority": 10}
        if certificate:
            cache["certificate"] = f"/etc/ssl/private/{certificate}.pem"
            cache["certificate_key"] = f"/etc/ssl/private/{certificate}.key"
        named = {"cache_client_caches": [cache], "cache_client_exclusive": True}
        return self.play("host", [{"role": "nixferry.deploy.cache_client", "vars": named}])

    def login(self, certificate: str) -> dict[str, str]:
        """The options of a task for a certificate of this machine; none without a name."""
        files = {
            "certificate": str(self.keys / f"{certificate}.pem"),
            "certificate_key": str(self.keys / f"{certificate}.key"),
        }
        return files if certificate else {}

    def publish(self, path: str, certificate: str) -> PlaybookRun:
        netrc = self.project.write("netrc", f"machine localhost login ci password {WRITER}\n")
        netrc.chmod(0o600)
        options = {
            "toplevels": {"web1": path},
            "cache": self.url,
            "cache_key": str(self.keys / "cache"),
            "pointers": f"{self.url}/pointers",
            "pointer_key": str(self.keys / "pointer"),
            "netrc_file": str(netrc),
            **self.login(certificate),
        }
        return self.play("origin", [], [{"name": "publish", "nixferry.deploy.nix_publish": options}])

    def look(self, path: str, certificate: str) -> PlaybookRun:
        options = {"url": self.url, "paths": [path], "public_keys": [self.public], **self.login(certificate)}
        return self.play("origin", [], [{"name": "look", "nixferry.deploy.nix_cache_info": options}])

    def realise(self, path: str) -> bool:
        """Whether the host gets a path and what it needs."""
        script = f"""
            export NIX_SSL_CERT_FILE=/etc/ssl/private/ours.pem
            nix-store --delete --ignore-liveness {path} >/dev/null 2>&1
            nix-store --realise {path} >/dev/null 2>/tmp/said"""
        return containers.execute(self.host, script, check=False).returncode == 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    directory = tmp_path_factory.mktemp("certificates")
    keys = directory / "keys"
    keys.mkdir()
    project = Project(directory=directory / "project", lab=cast(Any, None))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    run(["sh", "-c", CERTIFICATES], directory=keys)
    with machine("origin") as origin, machine("host", release="forky") as host:
        project.write("inventory.yml", json.dumps(inventory({"origin": origin, "host": host})))
        found = Cache(project, keys, origin, host)
        for container, names in (
            (origin, ("ours.pem", "ours.crl", "server.pem", "server.key")),
            (
                host,
                ("ours.pem", "host.pem", "host.key", "lost.pem", "lost.key", "stranger.pem", "stranger.key"),
            ),
        ):
            for name in names:
                write(container, f"/etc/ssl/private/{name}", (keys / name).read_text())
        (keys / "cache").touch(0o600)
        secret = run([*NIX, "key", "generate-secret", "--key-name", "cache-1"], environment=nix_environment())
        (keys / "cache").write_text(secret.stdout)
        public = run(
            [*NIX, "key", "convert-secret-to-public"], input=secret.stdout, environment=nix_environment()
        )
        found.public = public.stdout.strip()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "pointer")])
        with_nginx(origin)
        found.server().assert_ok()
        yield found


def test_only_who_has_a_certificate_is_let_in(cache: Cache) -> None:
    path = cache.build("published")
    files = "find /srv/www -type f ! -name nix-cache-info"
    # A password alone does not do, nor a certificate of another authority or one that was revoked.
    for certificate in ("", "stranger", "lost"):
        refused = cache.publish(path, certificate)
        assert refused.return_code != 0, certificate
        failed = refused.result("publish")
        assert "certificate" in failed["remedy"]
        assert len(failed["msg"].splitlines()) <= 5
        assert containers.ask(cache.origin, files) == ""
    assert cache.publish(path, "publisher").assert_ok().result("publish")["verified_paths"] == 2
    assert containers.ask(cache.origin, "ls /srv/www/pointers/stable/hosts") == "web1"
    assert not cache.publish(path, "publisher").assert_ok().changed("origin")
    assert cache.look(path, "publisher").assert_ok().result("look")["complete"]
    for certificate in ("", "stranger", "lost"):
        seen = cache.look(path, certificate).assert_ok().result("look")
        assert [each["fault"] for each in seen["wrong"]] == ["forbidden"]

    cache.client("host").assert_ok()
    assert cache.realise(path), containers.ask(cache.host, "cat /tmp/said")
    assert not cache.client("host").assert_ok().changed("host")
    for certificate in ("", "stranger", "lost"):
        cache.client(certificate).assert_ok()
        assert not cache.realise(path), certificate


def test_a_key_that_others_can_read_is_refused(cache: Cache) -> None:
    key = cache.keys / "publisher.key"
    key.chmod(0o644)
    try:
        failed = cache.publish(cache.build("other"), "publisher").result("publish")
    finally:
        key.chmod(0o600)
    assert "0644" in failed["cause"]
    # Files in the wrong order, and absent ones.
    certificate = cache.keys / "publisher.pem"
    content = certificate.read_text()
    try:
        certificate.write_text("x")
        failed = cache.publish(cache.build("other"), "publisher").result("publish")
        assert "not a certificate" in failed["cause"]
        certificate.unlink()
        failed = cache.publish(cache.build("other"), "publisher").result("publish")
        assert "cannot be read" in failed["cause"]
    finally:
        certificate.write_text(content)
