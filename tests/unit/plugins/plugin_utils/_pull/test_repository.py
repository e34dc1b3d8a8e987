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


def test_without_a_repository_no_variable_names_one() -> None:
    variables = repository_variables(None, "web1", "/signers")
    chosen = ("PULL_REPOSITORY", "PULL_TESTING_BRANCH", "PULL_COMMIT_SIGNERS", "PULL_ALLOW_REWRITE")
    assert [variables[name] for name in chosen] == ["", "", "", "0"]
    given = Repository(
        "https://git.example.org/x", "a", commit_keys=("ssh-ed25519 AAAA",), allow_rewrite=True
    )
    variables = repository_variables(given, "web1", "/signers")
    assert [variables[name] for name in chosen] == [given.url, "testing-web1", "/signers", "1"]
    assert set(variables) == set(repository_variables(None, "web1", ""))
