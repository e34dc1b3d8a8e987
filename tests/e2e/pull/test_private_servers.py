# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that let in who has a key: one that wants certificates, and a repository behind ssh with signed commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_machines import free_port
from guides import guide_blocks
from lab import REPOSITORY, Lab, LabHost, run
from private_servers import PrivateServers, private_servers
from processes import wait_until
from project import Project
from pulling import FETCH, STATE, Pulling, pulling
from repositories import Repository, give_git

# It makes a machine of its own, as the tests of caches do, and takes turns with these.
pytestmark = pytest.mark.takes_turns(3, among="costly themes", whole_file=True)
PLACES = "/etc /var/lib /var/log /run /tmp /root /nix/store/*-nixferry*"
UNITS = "/etc/systemd/system"
TRUSTED, OTHER = "trusted@example.org", "other@example.org"


@pytest.fixture
def stock(web2: LabHost, project: Project, tmp_path: Path) -> Iterator[Pulling]:
    """A host without an agent yet."""
    with pulling(web2, project, tmp_path) as made:
        yield made
        print(made.story())  # noqa: T201 - pytest shows it when a test fails


@pytest.fixture
def servers(stock: Pulling) -> Iterator[PrivateServers]:
    with private_servers(stock) as made:
        yield made


def secret_of(text: str) -> str:
    """A line of a secret key that is in no other file."""
    return text.splitlines()[2]


def where(host: LabHost, secret: str) -> list[str]:
    """The files of a host with a secret in them; the units have neither said nor been told it."""
    assert secret not in host.ask("journalctl --no-pager; systemctl show 'nixferry-*'")
    return sorted(host.ask(f"grep -rlF -e '{secret}' {PLACES} 2>/dev/null || true").splitlines())


def readers(host: LabHost, name: str) -> tuple[str, str]:
    """What the fetching user, and another one, read of what systemd gives to the first one: the number of lines."""
    unit = "nixferry-pull-look.service"
    count = f"wc -l <$CREDENTIALS_DIRECTORY/{name} >/run/look/lines; while :; do sleep 1; done"
    host.execute(f"cat >/usr/local/bin/look <<'EOF'\n#!/bin/sh\n{count}\nEOF\nchmod 755 /usr/local/bin/look")
    changes = (
        "s#^ExecStart=.*#ExecStart=/usr/local/bin/look#; s#^StandardOutput=.*#StandardOutput=journal#; "
        "/^On/d; s#^NoNewPriv.*#&\\nReadWritePaths=/run/look#"
    )
    host.execute(
        f"mkdir -m 777 /run/look; chmod 777 /run/look; sed '{changes}' {UNITS}/{FETCH} >{UNITS}/{unit}; "
        f"systemctl daemon-reload; systemctl start {unit}"
    )
    wait_until(
        lambda: bool(host.ask("cat /run/look/lines 2>/dev/null || true")), deadline=30, what="the unit"
    )
    mine = host.ask("cat /run/look/lines")
    path = f"/run/credentials/{unit}/{name}"
    other = host.ask(f"su -s /bin/sh nobody -c 'wc -l <{path}' 2>/dev/null || echo refused")
    host.execute(f"systemctl stop {unit}; rm -r {UNITS}/{unit} /run/look")
    assert host.ask(f"ls {path} 2>/dev/null || true") == ""
    return mine, other


def exposures(host: LabHost, *units: str) -> dict[str, float]:
    """How exposed systemd thinks each unit to be."""
    found = {}
    for unit in units:
        words = host.ask(f"systemd-analyze security --no-pager {unit} | tail -n 1").split()
        found[unit] = next(float(word) for word in words if word.replace(".", "", 1).isdigit())
    return found


def played(puller: Pulling, page: str, words: str) -> str:
    """The play of a page with these words, for the host of this test."""
    puller.project.write("pointer.pub", (puller.keys / "pointer.pub").read_text())
    (play,) = [block for block in guide_blocks(REPOSITORY / "docs/docsite/rst" / page) if words in block]
    return play.replace("hosts: nixos", f"hosts: {puller.host.name}")


def certificate(name: str) -> dict[str, str]:
    return {
        "pull_agent_certificate": f"/etc/nix/{name}.pem",
        "pull_agent_certificate_key": f"/etc/nix/{name}.key",
    }


def test_a_server_that_wants_a_certificate(stock: Pulling, servers: PrivateServers) -> None:
    """The pointer comes over TLS with a certificate of the client's, whose key only the fetching user reads."""
    host = stock.host
    address = servers.nginx(stock.server.url, free_port())
    servers.give_certificates(host)
    stock.variables = {"pull_agent_url": f"{address}/pointers"}
    wanted = stock.publish({"version": "2"})
    stock.install()
    assert stock.pull()["outcome"] == "unreachable"
    stock.variables.update(certificate("foreign"))
    assert stock.install().changed(host.name)
    assert stock.pull()["outcome"] == "unreachable"
    stock.variables.update(certificate("client"))
    play = played(stock, "pull.rst", "pull_agent_certificate:")
    for name, path in (("/private/client.key", "client.key"), ("/client.pem", "client.pem")):
        play = play.replace(f"/etc/ssl{name}", f"/etc/nix/{path}")
    play = play.replace("https://pointers.example.org", f"{address}/pointers")
    assert stock.project.run_playbook(play, "--check").assert_ok().changed(host.name)
    stock.install()
    done = stock.pull()
    assert (done["outcome"], host.current_system()) == ("committed", wanted), done
    assert not stock.install().changed(host.name)

    # What is absent, and a key that is gone, are told from a server that is down.
    (stock.server.directory / "pointers/stable/hosts" / host.name).unlink()
    assert stock.pull()["outcome"] == "absent"
    host.execute("mv /etc/nix/client.key /etc/nix/away")
    done = stock.pull()
    assert (done["outcome"], "certificate" in done["message"]) == ("not-fetched", True), done
    host.execute("mv /etc/nix/away /etc/nix/client.key")

    assert where(host, secret_of(host.ask("cat /etc/nix/client.key"))) == ["/etc/nix/client.key"]
    lines = host.ask("wc -l </etc/nix/client.key")
    assert readers(host, "certificate_key") == (lines, "refused")
    sandboxed = [f"nixferry-pull-{name}.service" for name in ("reach", "report", "build")]
    found = exposures(host, FETCH, *sandboxed)
    assert max(found.values()) <= 2.0, found


def test_ssh_and_openpgp(lab: Lab, stock: Pulling, servers: PrivateServers, tmp_path: Path) -> None:
    """Only the known server, with the given key; only commits of the given fingerprint; no submodules."""
    host = stock.host
    give_git(lab, host)
    key = tmp_path / "deploy"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", str(key)])
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    gpg = servers.openpgp(tmp_path)
    stock.project.describe_hosts({"web2": {"version": "2"}})
    repository = Repository(stock.project, tmp_path / "systems.git", key, gpg=gpg)
    repository.begin()
    first = repository.commit({"web2": {"version": "2"}}, key=TRUSTED)
    repository.push()
    address, known = servers.sshd(repository.served, public, free_port())
    (trusted, fingerprint), (other, _fingerprint) = (
        servers.public_openpgp("trusted"),
        servers.public_openpgp("other"),
    )
    stock.variables = {
        "pull_agent_url": "",
        "pull_agent_public_keys": [],
        "pull_agent_pointer_keys": [],
        "pull_agent_repository": address,
        "pull_agent_repository_key": key.read_text(),
        # Another server, at first.
        "pull_agent_known_hosts": [f"{known.split()[0]} {public}"],
        # The other key is known, but its fingerprint is not among those that may sign.
        "pull_agent_commit_openpgp_keys": [trusted, other],
        "pull_agent_commit_openpgp_fingerprints": [fingerprint],
    }
    secret = secret_of(key.read_text())
    stock.project.write("git.example.org.known_hosts", f"{known.split()[0]} {public}")
    stock.project.write("committer.pub", public)
    stock.project.write("committer.asc", trusted)
    for words in ("ssh://", "openpgp"):
        play = played(stock, "pull_from_git.rst", words)
        planned = stock.project.run_playbook(
            play, "--check", variables={"vaulted_deploy_key": key.read_text()}
        )
        assert planned.assert_ok().changed(host.name)
    done = stock.install("-vvv", "--diff")
    assert secret not in done.stdout + done.stderr
    assert stock.pull()["outcome"] == "unreachable"
    stock.variables["pull_agent_known_hosts"] = [known]
    stock.install()
    found = stock.pull()
    assert (found["outcome"], found["commit"]) == ("committed", first), found
    assert host.http() == (200, "2")
    good = host.current_system()

    def offer(version: str, **how: Any) -> str:
        commit = repository.commit({"web2": {"version": version}}, **how)
        repository.push()
        servers.serve(repository.served)
        return commit

    for how in ({"signed": False}, {"key": OTHER}):
        offer("evil", **how)
        assert stock.pull()["outcome"] == "signature"
        repository.git("reset", "--quiet", "--hard", first)
    # A submodule is refused by name, before anything is built without it.
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{first},library")
    (stock.project.systems / "library").mkdir()
    with_submodule = offer("3", key=TRUSTED)
    found = stock.pull()
    assert (found["outcome"], found["commit"]) == ("build-failed", with_submodule)
    assert "submodules" in found["message"]
    assert host.current_system() == good
    repository.git("rm", "--quiet", "--cached", "library")
    offer("4", key=TRUSTED)
    assert stock.pull()["outcome"] == "committed"
    assert host.http() == (200, "4")

    assert where(host, secret) == [f"{STATE}/repository_key"]
    assert host.ask(f"stat -c '%U %a' {STATE}/repository_key") == "root 600"
    lines = host.ask(f"wc -l <{STATE}/repository_key")
    assert readers(host, "repository_key") == (lines, "refused")
    # The key goes with the agent.
    stock.install(pull_agent_state="absent")
    assert host.ask(f"ls {STATE}/repository_key 2>/dev/null || true") == ""
