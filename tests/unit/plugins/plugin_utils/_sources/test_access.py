# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal

ALICE = "ssh-ed25519 AAAA alice"
WEB1 = "ssh-ed25519 BBBB"


def test_it_becomes_a_definition_with_keys_of_one_line() -> None:
    key = {"publicKey": f"{ALICE}\n", "hasAccessTo": {"web1": {"root": True, "www": False}}}
    access: dict[str, Any] = {
        "db1": {"keys": {"backup": key}},
        "web1": {"hostKeys": {"ed25519": f"{WEB1}\n"}, "hostNames": ["192.0.2.1", "[web1]:2222"]},
    }
    assert access_literal(access) == nix_literal(
        {
            "db1": {"hostKeys": {}, "hostNames": [], "keys": {"backup": {**key, "publicKey": ALICE}}},
            "web1": {"hostKeys": {"ed25519": WEB1}, "hostNames": ["192.0.2.1", "[web1]:2222"], "keys": {}},
        }
    )


def test_no_access_is_nothing() -> None:
    assert access_literal({}) == nix_literal({})


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("web1", "ssh_access.web1 is not a dictionary"),
        ({"hostkeys": {}}, "hostkeys"),
        ({"keys": {"k": {"hasAccessTo": {}}}}, "publicKey"),
        ({"keys": {"k": {"publicKey": ALICE, "hasAccessTo": {"web1": "root"}}}}, "not a dictionary of users"),
        (
            {"keys": {"k": {"publicKey": ALICE, "hasAccessTo": {"web1": {"root": "yes"}}}}},
            "neither true nor false",
        ),
        ({"hostKeys": {"a": "AAAA"}}, "ssh_access.web1.hostKeys.a is not the one line of a public key"),
        ({"keys": {"k": {"publicKey": 'command="x" ssh-rsa A'}}}, "not the one line of a public key"),
        ({"keys": {"k": {"publicKey": f"{ALICE}\n{WEB1}"}}}, "not the one line of a public key"),
    ],
)
def test_what_is_not_understood(host: object, message: str) -> None:
    with pytest.raises(NixferryError, match=message):
        access_literal({"web1": host})


def test_a_private_key_is_not_repeated() -> None:
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n"
    with pytest.raises(NixferryError) as raised:
        access_literal({"web1": {"keys": {"k": {"publicKey": secret}}}})
    assert "PRIVATE" not in str(raised.value)
    assert "secret" not in str(raised.value)
