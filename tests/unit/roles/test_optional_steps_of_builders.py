# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles that set up Nix and builders install, restart, overwrite and delete nothing that was not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stage import Setting, Stage, combinations, expect, flag

CONF = {"managed_by": "files", "snippet": "", "in_effect": True, "daemon_restart_needed": True}
NIX = {
    "installed": True,
    "program": "/usr/bin/nix",
    "installer": "package",
    "managed_by": "files",
    "multi_user": True,
    "system": "x86_64-linux",
    "systems": ["x86_64-linux"],
    "settings": {"trusted-users": "root builder"},
    "daemon": {"answers": True, "service": "nix-daemon"},
}
LINUX = {"ansible_facts": {"system": "Linux", "distribution": "Debian", "distribution_version": "13"}}
NO_ACCOUNT = {"ansible_facts": {"getent_passwd": {"builder": None}, "getent_group": {"nixbld": None}}}
ANSWERS = {
    "setup": LINUX,
    "nix_info": NIX,
    "nix_conf": CONF,
    "getent": NO_ACCOUNT,
    "stat": {"stat": {"exists": True, "xoth": True}},
    "find": {"files": []},
    "tempfile": {"path": "/nonesuch"},
    "command": {"stdout": "ssh-ed25519 AAAA", "stdout_lines": []},
}


def answering(**answers: Mapping[str, Any]) -> Setting:
    """The answers of a host, with some that are different."""
    return {"answers": {**ANSWERS, **{name: {**ANSWERS[name], **own} for name, own in answers.items()}}}


def play(role: str, pattern: str, **variables: Any) -> dict[str, Any]:
    return {"hosts": pattern, "vars": variables, "roles": [f"nixferry.deploy.{role}"]}


def test_role_nix(stage: Stage) -> None:
    present = {
        **combinations(
            "settings",
            {},
            restart=flag("nix_restart_daemon"),
            conf={
                "": answering(nix_conf={"daemon_restart_needed": False}),
                "needs restart": answering(),
                "is another's": answering(
                    nix_conf={"snippet": "{ }", "in_effect": False, "daemon_restart_needed": False}
                ),
            },
            snippets={"": {}, "on": {"nix_snippets": "/nonesuch"}},
        ),
        **combinations(
            "users",
            {},
            users={"": {}, "on": {"nix_users": ["ann"]}},
            conf={"package": answering(), "script": answering(nix_info={"installer": "script"})},
        ),
    }
    lacks = answering(nix_info={"installed": False, "installer": ""})
    absent = combinations(
        "absent",
        {"nix_state": "absent"},
        store=flag("nix_delete_store"),
        conf={
            "package": answering(),
            "script": answering(nix_info={"installer": "script"}),
            "nix-installer": answering(nix_info={"installer": "nix-installer"}),
            "": lacks,
        },
    )
    hosts = {**present, **absent}
    done = stage.run([play("nix", "settings,users"), play("nix", "absent")], hosts)
    # Without nix_delete_store only a package is removed, since all else goes with the store.
    refused = {
        host for host, about in absent.items() if about["chosen"]["conf"] in ("script", "nix-installer")
    }
    assert done.failed == {host for host in refused if not absent[host]["chosen"]["store"]}, done.output
    expect(
        done,
        present,
        {
            "Restart the daemon to apply the settings": lambda chosen: (
                chosen.get("restart", "on") and chosen["conf"] in ("needs restart", "package", "script")
            ),
            "Write a module": lambda chosen: chosen.get("snippets") and chosen["conf"] == "is another's",
            "Let users talk to the daemon": lambda chosen: (
                chosen.get("users") and chosen["conf"] == "package"
            ),
            "Install the distribution's package": lambda _: False,
            "Make a directory for the installer": lambda _: False,
            "Remove the settings": lambda _: False,
            "Delete the store": lambda _: False,
        },
    )
    expect(
        done,
        absent,
        {
            "Manage the settings": lambda _: False,
            "Remove the distribution's package": lambda chosen: chosen["conf"] == "package",
            "Run the uninstaller": lambda chosen: chosen["store"] and chosen["conf"] == "nix-installer",
            "Stop the daemon": lambda chosen: chosen["store"] and chosen["conf"] == "script",
            "Delete the store": lambda chosen: chosen["store"],
        },
    )


def test_role_builder_host(stage: Stage) -> None:
    declared = answering(nix_info={"managed_by": "NixOS"})
    hosts = combinations(
        "builders",
        {"builder_host_public_keys": [f"ssh-ed25519 {'A' * 68}"]},
        state={"present": {}, "absent": {"builder_host_state": "absent"}},
        restart=flag("builder_host_restart_daemon"),
        conf={
            "": answering(nix_conf={"daemon_restart_needed": False}),
            "needs restart": answering(),
            "NixOS": declared,
        },
        snippet={"": {}, "on": {"builder_host_snippet_file": "/nonesuch"}},
    )
    # A file for a module means something on NixOS only.
    hosts = {
        host: about
        for host, about in hosts.items()
        if not about["chosen"]["snippet"] or about["chosen"]["conf"] == "NixOS"
    }
    done = stage.run([play("builder_host", "builders")], hosts)
    assert done.return_code == 0, done.output

    def makes(chosen: Mapping[str, str]) -> bool:
        return chosen["conf"] != "NixOS" and chosen["state"] == "present"

    def removes(chosen: Mapping[str, str]) -> bool:
        return chosen["conf"] != "NixOS" and chosen["state"] == "absent"

    def writes(chosen: Mapping[str, str]) -> bool:
        return bool(chosen["snippet"]) and chosen["conf"] == "NixOS"

    expect(
        done,
        hosts,
        {
            "Make the account": makes,
            "Install the keys of clients": makes,
            "Restart the daemon to apply the settings": lambda chosen: (
                chosen["restart"] and chosen["conf"] == "needs restart"
            ),
            "Remove the keys of clients": removes,
            "Remove its files": removes,
            # The account was not made by the role.
            "Remove the account": lambda _: False,
            "End the sessions of clients": lambda _: False,
            "Write the module for the configuration of this system": lambda chosen: (
                writes(chosen) and chosen["state"] == "present"
            ),
            "Remove the module for the configuration of this system": lambda chosen: (
                writes(chosen) and chosen["state"] == "absent"
            ),
        },
    )


def test_role_builder_client(stage: Stage) -> None:
    registered = {"registered": True, "snippet": ""}
    hosts = combinations(
        "clients",
        {},
        verify=flag("builder_client_verify"),
        state={
            "present": {"builder_client_builders": [{"name": "b", "host": "b.example.org"}]},
            "absent": {"builder_client_builders": [{"name": "b", "state": "absent"}]},
            "none": {},
        },
        registered={
            "yes": {"answers": {"nix_builder": registered}},
            "no": {"answers": {"nix_builder": {**registered, "registered": False}}},
        },
    )
    done = stage.run([play("builder_client", "clients")], hosts)
    assert done.return_code == 0, done.output
    expect(
        done,
        hosts,
        {
            "Register the builder": lambda chosen: chosen["state"] != "none",
            "Test the builder": lambda chosen: (
                chosen["verify"] and chosen["state"] == "present" and chosen["registered"] == "yes"
            ),
        },
    )
