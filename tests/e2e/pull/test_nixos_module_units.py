# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module brings the units that the role writes: every directive, whatever the settings are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from nixos_module import FOLLOWING, SETTINGS, STUBS, module, module_program

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import DIRECTORY, agent_units
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.repository import (
    Repository,
    default_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.settings import AgentSettings

SSH = "ssh://git@git.example.org/systems.git"
KNOWN = "git.example.org ssh-ed25519 AAAAB"
SECRET = f"-----BEGIN A {'KEY'}-----\nAAAA\n-----END A {'KEY'}-----"
PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----"
CERTIFICATE = {"certificate": "/etc/client.pem", "certificate_key": "/etc/client.key"}


def following(url: str, **given: Any) -> AgentSettings:
    """What a host does that follows a repository."""
    attribute = default_attribute(KINDS["nixos"], "web1")
    return replace(
        SETTINGS,
        url="",
        public_keys=(),
        pointer_keys=(),
        checks=(),
        windows=(),
        repository=Repository(url, attribute, **given),
    )


OF_SSH = {
    **FOLLOWING,
    "repository": SSH,
    "minCommit": "",
    "commitKeys": [],
    "repositoryKeyFile": f"{DIRECTORY}/repository_key",
    "knownHosts": [KNOWN],
    "commitOpenpgpKeys": [f"{PGP}\n"],
    "commitOpenpgpFingerprints": ["abcd " * 10],
    "timeoutConfirm": 600,
}
OTHERS: dict[str, tuple[AgentSettings, dict[str, Any]]] = {
    "pointers": (replace(SETTINGS, timeout_confirm=600), {"timeoutConfirm": 600}),
    "a login and a certificate": (
        replace(SETTINGS, netrc="x", jitter=7, calendar="daily", **CERTIFICATE),
        {
            "netrcFile": f"{DIRECTORY}/netrc",
            "certificate": CERTIFICATE["certificate"],
            "certificateKey": CERTIFICATE["certificate_key"],
            "timeoutConfirm": 600,
            "jitter": 7,
            "calendar": "daily",
        },
    ),
    "a repository behind ssh": (
        following(
            SSH,
            key=SECRET,
            known_hosts=(KNOWN,),
            openpgp_keys=(PGP,),
            openpgp_fingerprints=("ABCD" * 10,),
        ),
        OF_SSH,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_units_are_those_of_the_role(name: str) -> None:
    """Every directive, but for the path of the program and the group of the Nix daemon."""
    ours, given = OTHERS[name]
    config = module(**given)
    assert [each["message"] for each in config["assertions"] if not each["assertion"]] == []
    theirs = {
        each["name"].rpartition("/")[2]: each["text"].rstrip("\n")
        for each in config["systemd"]["packages"][0]["paths"]
    }
    agent = f"/nix/store/{'0' * 32}-nixferry-pull-agent"
    wanted = {
        unit: text.replace(f"{DIRECTORY}/agent", agent).replace("@GROUPS@\n", "")
        for unit, text in agent_units(ours).items()
    }
    assert theirs == wanted


def test_a_repository_behind_ssh_makes_the_same_program_and_files() -> None:
    lines = module_program(**OF_SSH).splitlines()
    packages = ":".join(f"/nix/store/{'0' * 32}-{name}/bin" for name in ("git", "gnupg"))
    assert f"PULL_PATH={packages}" in lines
    assert f"PULL_COMMIT_OPENPGP_FINGERPRINTS={'ABCD' * 10}" in lines
    assert f"PULL_KNOWN_HOSTS=/nix/store/{'0' * 32}-nixferry-pull-known-hosts" in lines
    for name, text in (("commit-openpgp-keys", PGP), ("known-hosts", KNOWN)):
        with_text = f'writeText = name: text: if name == "nixferry-pull-{name}" then text else'
        assert f"{text}\n" in module_program(STUBS.replace("writeText = name: text:", with_text), **OF_SSH)
