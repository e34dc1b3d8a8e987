# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server, a network or a fetching user can do to a host that pulls: keep news from it, and nothing else."""

from __future__ import annotations

import time

import pytest
from processes import wait_until
from pulling import ACTIVATE, DAY, FETCH, STATE, Pulling


@pytest.mark.takes_turns(2, among="pulls")
def test_pointers_of_others_and_faults_of_servers_change_nothing(puller: Pulling) -> None:
    """Every such pointer is refused by the fetching user, and again by root when it is given to root directly."""
    host, now = puller.host, int(time.time())
    before = (host.current_system(), host.profile(), host.generations(), puller.status()["serial"])
    served = puller.server.directory / "pointers/stable/hosts" / host.name
    old = served.read_bytes()
    evil = puller.build(version="evil")
    newer = puller.pointer(evil)
    pointers = {
        "an older one": (puller.pointer(evil, serial=puller.serial - 100), "replayed"),
        "the same serial": (puller.pointer(evil, serial=int(before[3])), "replayed"),
        "another host's": (puller.pointer(evil, host="web9"), "foreign"),
        "another channel's": (puller.pointer(evil, channel="testing"), "foreign"),
        "an expired one": (puller.pointer(evil, issued=now - 2 * DAY, expires=now - DAY), "expired"),
        "one of tomorrow": (puller.pointer(evil, issued=now + DAY, expires=now + 2 * DAY), "clock"),
        "a foreign key's": (puller.pointer(evil, key="foreign"), "signature"),
        "a changed one": (newer.replace(b"-evil", b"-eviI"), "signature"),
        "one cut off": (newer[:-30], "format"),
        "a page": (b"<html>hello</html>\n" * 10, "format"),
        "a huge one": (old + b"x" * 3_000_000, "unreachable"),
    }
    found, by_root = {}, {}
    for name, (content, _outcome) in pointers.items():
        puller.offer(content)
        found[name] = puller.pull()["outcome"]
        # A fetching user whom an attacker has taken over prints what it likes.
        if len(content) < 100_000:
            (puller.project.directory / "evil").write_bytes(content)
            text = content.decode()
            host.execute(f"cat >{STATE}/incoming <<'EOF'\n{text}EOF")
            earlier = puller.run_id()
            host.execute(f"systemctl start {ACTIVATE}", check=False)
            by_root[name] = puller.end(earlier)["outcome"]
    assert found == {name: outcome for name, (_content, outcome) in pointers.items()}
    assert by_root == {
        name: outcome for name, (content, outcome) in pointers.items() if len(content) < 100_000
    }
    assert not host.has_path(evil)
    assert before[:3] == (host.current_system(), host.profile(), host.generations())

    # Faults of the servers: of the pointer, of a closure.
    puller.offer(newer)
    puller.server.faults = {"/pointers/": 503}
    assert puller.pull()["outcome"] == "unreachable"
    puller.server.faults = {".nar": 404}
    assert puller.pull()["outcome"] == "closure"
    puller.server.faults = {}
    contents = {file: file.read_bytes() for file in (puller.server.directory / "cache/nar").iterdir()}
    for file, content in contents.items():
        file.write_bytes(content[: len(content) // 2])
    assert puller.pull()["outcome"] == "closure"
    assert before[:3] == (host.current_system(), host.profile(), host.generations())
    for file, content in contents.items():
        file.write_bytes(content)
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == evil


@pytest.mark.takes_turns(2, among="pulls")
def test_a_server_that_wants_a_login_and_one_that_hears_of_it(puller: Pulling) -> None:
    """The login is in one file of root's, and nowhere else; the status is sent."""
    host, server = puller.host, puller.server
    canary = "canary-of-the-login"
    netrc = f"machine {server.address} login host password {canary}"
    host.execute(
        f"(umask 077; echo '{netrc}' >/etc/nix/netrc); echo 'netrc-file = /etc/nix/netrc' >>/etc/nix/nix.conf; "
        "systemctl restart nix-daemon.service"
    )
    server.login = f"host:{canary}"
    wanted = puller.publish({"version": "3"})
    assert puller.pull()["outcome"] == "unreachable"
    done = puller.install(
        "-vvv", "--diff", pull_agent_netrc=netrc, pull_agent_report_url=f"{server.url}/report"
    )
    assert canary not in done.stdout + done.stderr
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == wanted
    # The server of this test notes a report before it asks for a login, which the report does not have.
    wait_until(lambda: bool(server.posted), deadline=30, what="the report")
    assert b"outcome=committed" in server.posted[-1]
    places = "/etc /var/lib /run /tmp /var/log /nix/store/*-nixferry-pointer"
    found = host.ask(f"grep -rl '{canary}' {places} 2>/dev/null || true").splitlines()
    assert sorted(found) == ["/etc/nix/netrc", f"{STATE}/netrc"]
    assert canary not in host.ask("journalctl --no-pager; systemctl show 'nixferry-*'")


def test_the_fetching_user_can_do_nothing_else(puller: Pulling) -> None:
    """It has no way into what root reads; the sandbox is as tight as systemd's own judgement wants it."""
    host = puller.host
    exposure = host.ask(f"systemd-analyze security --no-pager {FETCH} | tail -n 1").split()
    numbers = [float(word) for word in exposure if word.replace(".", "", 1).isdigit()]
    assert numbers
    assert numbers[0] <= 2.0, exposure
    script = f"""
        for file in incoming accepted status agent guard profile allowed_signers hold quarantine/x; do
            (echo evil >{STATE}/$file) 2>/dev/null && echo "wrote $file"
            rm -f {STATE}/$file 2>/dev/null
            ln -s /etc/shadow {STATE}/$file 2>/dev/null && echo "linked $file"
            mkfifo {STATE}/$file.fifo 2>/dev/null && echo "made a pipe at $file"
        done
        cat {STATE}/guard >/dev/null 2>&1 && echo "read the guard"
        cat /etc/shadow /root/.ssh/authorized_keys 2>/dev/null
        systemctl start {ACTIVATE} 2>/dev/null && echo "started root's unit"
        echo done"""
    host.execute(f"cat >/usr/local/bin/evil <<'EOF'\n#!/bin/sh\n{script}\nEOF\nchmod 755 /usr/local/bin/evil")
    units, evil = "/etc/systemd/system", "nixferry-pull-evil.service"
    changes = "s#^ExecStart=.*#ExecStart=/usr/local/bin/evil#; s#^StandardOutput=.*#StandardOutput=truncate:/root/said#"
    host.execute(
        f"sed '{changes}; /^On/d' {units}/{FETCH} >{units}/{evil}; systemctl daemon-reload; systemctl start {evil}"
    )
    wait_until(lambda: "done" in host.ask("cat /root/said"), deadline=30, what="the evil user")
    assert host.ask("cat /root/said") == "done"

    # The guard, which may have to run an old system's programs, works where process 1 does; its caller has no network.
    host.execute(f"""
        mv {STATE}/guard {STATE}/guard.real
        printf '%s\\n' '#!/bin/sh' 'readlink /proc/self/ns/net /proc/self/ns/mnt >>/root/where' \\
            'readlink /proc/$PPID/ns/net >>/root/caller' 'exec {STATE}/guard.real' >{STATE}/guard
        chmod 700 {STATE}/guard""")
    assert puller.pull()["outcome"] == "unchanged"
    here = host.ask("readlink /proc/1/ns/net /proc/1/ns/mnt")
    assert host.ask("cat /root/where") == here
    assert host.ask("cat /root/caller") not in here
