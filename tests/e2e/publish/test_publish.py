# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publish with the Nix of this machine, and fetch as a host does: by its pointer, through the public address."""

from __future__ import annotations

import json
import os

from lab import run
from publishing import Client, Publisher


def test_from_an_inventory_to_a_client_and_back(publisher: Publisher, client: Client) -> None:
    """Publish, again, a new version, back: what a client fetches is what was built, and no host is contacted."""
    planned = publisher.publish("--check", "--diff").assert_ok().result("Publish for all hosts together")
    assert planned["changed"]
    assert publisher.pointer() is None
    assert not list((publisher.server.directory / "cache").glob("*.narinfo"))

    first = publisher.publish().assert_ok().result("Publish for all hosts together")
    assert first["changed"]
    assert first["verified_paths"] == 3
    assert client.update() == first["published"]["web1"]["toplevel"]
    assert [first["published"][host]["serial"] for host in ("web1", "web2")] == [first["serial"]] * 2

    second = publisher.publish().assert_ok()
    assert not second.changed("web1")
    assert second.result("Publish for all hosts together")["serial"] is None

    publisher.version("2")
    third = publisher.publish().assert_ok().result("Publish for all hosts together")
    assert third["serial"] > first["serial"]
    assert client.update() != first["published"]["web1"]["toplevel"]

    back = publisher.publish(publish_to="previous").assert_ok()
    assert not back.find("Build the systems of all hosts together") or all(
        entry.status == "skipped" for entry in back.find("Build the systems of all hosts together")
    )
    assert client.update() == first["published"]["web1"]["toplevel"]
    pointer = publisher.pointer()
    assert pointer is not None
    assert pointer.serial > third["serial"]


def test_a_host_that_does_not_build_stops_the_publish(publisher: Publisher) -> None:
    publisher.publish().assert_ok()
    before = publisher.pointer()
    publisher.version("2")
    flake = publisher.project.directory / "flake/flake.nix"
    flake.write_text(
        flake.read_text().replace(
            "system name; })", 'if name == "web2" then throw "no web2" else system name; })'
        )
    )
    ran = publisher.publish()
    assert ran.return_code != 0
    assert "no web2" in ran.stdout
    assert publisher.pointer() == before


def test_a_gate_that_fails_stops_the_publish(publisher: Publisher) -> None:
    gates = [{"name": "passes", "command": ["true"]}, {"command": ["sh", "-c", "echo not today; exit 3"]}]
    ran = publisher.publish(publish_gates=gates)
    assert ran.return_code != 0
    assert "not today" in ran.stdout
    assert not ran.find("Build the systems of all hosts together")
    assert publisher.pointer() is None
    publisher.publish(publish_gates=gates[:1]).assert_ok()
    assert publisher.pointer() is not None


def test_without_an_inventory_by_environment_alone(publisher: Publisher) -> None:
    """As in a CI: the playbook of the collection, and nothing else."""
    publisher.project.write("ansible.cfg", "[defaults]\n")
    names = {
        "NIXFERRY_FLEET": "./flake",
        "NIXFERRY_CACHE": publisher.variables["publish_cache"],
        "NIXFERRY_CACHE_KEY": str(publisher.cache_key),
        "NIXFERRY_POINTERS": publisher.variables["publish_pointers"],
        "NIXFERRY_POINTER_KEY": str(publisher.pointer_key),
    }
    argv, settings = publisher.project.prepare([])
    argv[argv.index("playbook.yml")] = "nixferry.deploy.publish"
    done = run(argv, environment={**settings, **names}, directory=publisher.project.directory, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert publisher.pointer("web1") is not None
    assert publisher.pointer("web2") is not None
    # In waves as well, with a file that is not beside the playbook of the collection.
    before = publisher.pointer("web1")
    publisher.version("2")
    look = publisher.project.write(
        "look.yml", "- ansible.builtin.assert: {that: publish_wave_hosts != ['web1']}\n"
    )
    waves = {"publish_waves": [["50%"]], "publish_wave_tasks": str(look)}

    def in_waves() -> None:
        arguments = [*argv, "--extra-vars", json.dumps(waves)]
        environment = {**settings, **names}
        done = run(arguments, environment=environment, directory=publisher.project.directory, check=False)
        assert done.returncode != 0

    # A mistake in the file is found before anything is published.
    in_waves()
    assert publisher.pointer("web1") == before
    look.write_text("- ansible.builtin.assert: {that: \"'web1' not in publish_wave_hosts\"}\n")
    in_waves()
    pointers = [publisher.pointer(name) for name in ("web1", "web2")]
    assert before is not None
    assert [pointer and pointer.toplevel.endswith("-1") for pointer in pointers] == [True, True]
    assert pointers[0] is not None
    assert pointers[0].serial > before.serial
    # What is missing is named as what the user can set.
    done = run(
        argv,
        environment={**settings, **names, "NIXFERRY_POINTERS": ""},
        directory=publisher.project.directory,
        check=False,
    )
    assert done.returncode != 0
    assert "NIXFERRY_POINTERS" in done.stdout


def test_keys_are_replaced_and_garbage_goes_without_an_outage(publisher: Publisher, client: Client) -> None:
    """A client that trusts what it was told to trust gets its system after every step."""
    directory = publisher.server.directory
    keys = {"cache": str(publisher.cache_key), "pointer": str(publisher.pointer_key)}
    play = publisher.play(
        publish_cache=str(directory / "cache"),
        publish_public_url=f"{publisher.server.url}/cache",
        publish_pointers=str(directory / "pointers"),
        publish_renew=True,
        publish_trusted_pointer_keys="{{ pointer_key.old_public_keys }}",
    )
    make = [
        {
            "name": f"{name} key",
            "nixferry.deploy.nix_key": {"path": path, "type": name, "state": "{{ state }}"},
            "register": f"{name}_key",
            "run_once": True,
        }
        for name, path in keys.items()
    ]
    trusted: list[str] = []
    for number, state in enumerate(("present", "next", "promoted", "retired")):
        publisher.version(str(number))
        ran = publisher.project.run_playbook(
            [{**play[0], "pre_tasks": make}], variables={"state": state}
        ).assert_ok()
        # What the client was told to trust before this step is enough for what it finds after it.
        if trusted:
            pointer = publisher.pointer_signed_by(trusted)
            done = client.fetch(pointer.toplevel, **{"trusted-public-keys": " ".join(publisher.cache_keys)})
            assert done.returncode == 0, done.stderr
        trusted = ran.result("pointer key")["trusted"]
        publisher.cache_keys = ran.result("cache key")["trusted"]
    assert len(trusted) == len(publisher.cache_keys) == 1

    for host in ("web1", "web2"):
        for old in sorted((directory / f"pointers/stable/history/{host}").iterdir())[:2]:
            old.unlink()
    gc = {"cache": str(directory / "cache"), "pointers": str(directory / "pointers"), "grace_days": 0}
    info = {
        "url": f"{publisher.server.url}/cache",
        "paths": [publisher.pointer_signed_by(trusted).toplevel],
        "public_keys": publisher.cache_keys,
    }
    tasks = [
        {"name": "collect", "nixferry.deploy.nix_cache_gc": gc},
        {"name": "look", "nixferry.deploy.nix_cache_info": info},
    ]
    collecting = [{"hosts": "web1", "gather_facts": False, "tasks": tasks}]
    told = publisher.project.run_playbook(collecting, "--check").assert_ok().result("collect")
    ran = publisher.project.run_playbook(collecting).assert_ok()
    # The systems of the two oldest publishes, of two hosts.
    assert ran.result("collect")["removed_paths"] == told["removed_paths"] == 4
    assert ran.result("look")["complete"]
    assert not publisher.project.run_playbook(collecting).assert_ok().result("collect")["changed"]


def test_a_directory_as_cache_and_place(publisher: Publisher) -> None:
    """What a web server offers from this machine; a restrictive umask of the publisher keeps nothing from it."""
    directory = publisher.server.directory
    old = os.umask(0o077)
    try:
        publisher.publish(
            publish_cache=str(directory / "cache"),
            publish_public_url=f"{publisher.server.url}/cache",
            publish_pointers=str(directory / "pointers"),
        ).assert_ok()
    finally:
        os.umask(old)
    assert publisher.pointer() is not None
    assert (directory / "pointers/stable/hosts/web1").stat().st_mode & 0o777 == 0o644


def test_a_wave_whose_hosts_are_silent_goes_back(publisher: Publisher) -> None:
    """Ansible skips the rescue of a host that is unreachable, and the host that asks for all is one of them."""
    publisher.publish().assert_ok()
    before = publisher.pointer()
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    publisher.project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": away, "web2": away}}}))
    ask = {"delegate_to": "{{ item }}", "loop": "{{ publish_wave_hosts }}"}
    for number, task in enumerate(({"nixferry.deploy.nix_pull_status": {}}, {"ansible.builtin.raw": "true"})):
        publisher.project.write("look.yml", [{"name": "ask", **task, **ask}])
        publisher.version(str(number + 2))
        ran = publisher.publish(publish_waves=[["web1"]], publish_wave_tasks="look.yml")
        assert ran.return_code != 0
        pointer, other = publisher.pointer(), publisher.pointer("web2")
        assert before is not None
        assert pointer is not None
        assert other is not None
        assert (pointer.toplevel, other.serial) == (before.toplevel, before.serial), str(ran)
        assert pointer.serial > before.serial
