# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may be told to build from git."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.repository import (
    Repository,
    default_attribute,
    repository_variables,
)

SSH = "ssh://git@git.example.org:2222/systems.git"
KEY = f"-----BEGIN A {'KEY'}-----\nAAAA\n-----END A {'KEY'}-----\n"
KNOWN = ("git.example.org ssh-ed25519 AAAA a comment\n", "@cert-authority *.example.org ssh-ed25519 AAAA")
PROGRAM = {"commit_signers": "/signers", "commit_openpgp_keys": "/openpgp", "known_hosts": "/known"}
PUBLIC = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"branch": ""},
        {"branch": "-x"},
        {"branch": "a..b"},
        {"branch": "a/.b"},
        {"branch": "a.lock"},
        {"branch": "a//b"},
        {"branch": "a b"},
        {"branch": "a\n"},
        {"attribute": "x; y"},
        {"attribute": "$(id)"},
        {"file": "/etc/x.nix"},
        {"file": "../x.nix"},
        {"file": "a/../../x.nix"},
        {"file": "-x"},
        {"min_commit": "abc123"},
        {"min_commit": "A" * 40},
        {"timeout_build": 0},
        {"key": KEY},
        {"url": SSH},
        {"url": SSH, "key": KEY},
        {"url": SSH, "known_hosts": KNOWN},
        {"url": SSH, "key": "secret", "known_hosts": KNOWN},
        {"url": SSH, "key": KEY, "known_hosts": ("git.example.org",)},
        {"url": SSH, "key": KEY, "known_hosts": ("a ssh-ed25519 AAAA\nb ssh-ed25519 AAAA",)},
        {"url": "ssh://-oProxyCommand=x/y", "key": KEY, "known_hosts": KNOWN},
        {"url": "ssh://git@-x/y", "key": KEY, "known_hosts": KNOWN},
        {"url": "ssh://git:secret@git.example.org/y", "key": KEY, "known_hosts": KNOWN},
        {"openpgp_keys": (PUBLIC,)},
        {"openpgp_fingerprints": ("A" * 40,)},
        {"openpgp_keys": (PUBLIC,), "openpgp_fingerprints": ("A" * 16,)},
        {"openpgp_keys": (PUBLIC + PUBLIC,), "openpgp_fingerprints": ("A" * 40,)},
        {"openpgp_keys": (PUBLIC.replace("PUBLIC", "PRIVATE"),), "openpgp_fingerprints": ("A" * 40,)},
    ],
    ids=str,
)
def test_what_no_host_could_take_is_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"url": "https://git.example.org/x", "attribute": "a"}
    Repository(**good)
    with pytest.raises(NixferryError):
        Repository(**{**good, **wrong})


def test_a_flake_usually_has_the_system_of_a_host() -> None:
    found = {kind: default_attribute(KINDS[kind], "web.example.org") for kind in ("nixos", "system-manager")}
    assert found == {
        "nixos": 'nixosConfigurations."web.example.org".config.system.build.toplevel',
        "system-manager": 'systemConfigs."web.example.org"',
    }
    with pytest.raises(NixferryError, match="no usual place"):
        default_attribute(KINDS["profile"], "web1")


def test_what_a_host_gets_for_a_repository() -> None:
    """The secret key is for root alone, and fingerprints are as gpg's machines say them."""
    given = Repository(
        SSH,
        "a",
        key=f"\n{KEY}\n",
        known_hosts=KNOWN,
        openpgp_keys=(PUBLIC, PUBLIC),
        openpgp_fingerprints=("abcd " * 10,),
    )
    files = given.files()
    assert {name: mode for name, (_text, mode) in files.items()} == {
        "commit_openpgp_keys": "644",
        "known_hosts": "644",
        "repository_key": "600",
    }
    assert files["repository_key"][0] == KEY.strip()
    assert files["known_hosts"][0].splitlines() == [line.strip() for line in KNOWN]
    variables = repository_variables(given, "web1", PROGRAM)
    assert variables["PULL_COMMIT_OPENPGP_FINGERPRINTS"] == "ABCD" * 10
    assert (variables["PULL_COMMIT_OPENPGP_KEYS"], variables["PULL_COMMIT_SIGNERS"]) == ("/openpgp", "")
    assert "AAAA" not in "".join(variables.values())


def test_a_refusal_does_not_quote_a_secret() -> None:
    with pytest.raises(NixferryError) as refused:
        Repository(SSH, "a", key="canary-of-a-key", known_hosts=KNOWN)
    assert "canary" not in str(refused.value)
    with pytest.raises(NixferryError) as refused:
        Repository("git@git.example.org:systems.git", "a")
    assert "ssh://user@host/path" in refused.value.remedy


def test_without_a_repository_no_variable_names_one() -> None:
    variables = repository_variables(None, "web1", PROGRAM)
    chosen = ("PULL_REPOSITORY", "PULL_TESTING_BRANCH", "PULL_COMMIT_SIGNERS", "PULL_ALLOW_REWRITE")
    assert [variables[name] for name in chosen] == ["", "", "", "0"]
    given = Repository(
        "https://git.example.org/x", "a", commit_keys=("ssh-ed25519 AAAA",), allow_rewrite=True
    )
    variables = repository_variables(given, "web1", PROGRAM)
    assert [variables[name] for name in chosen] == [given.url, "testing-web1", "/signers", "1"]
    assert set(variables) == set(repository_variables(None, "web1", PROGRAM))
