# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._fleet_access import access_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix_literal import nix_literal

ALICE = "ssh-ed25519 AAAA alice"
WEB1 = "ssh-ed25519 BBBB"


def test_both_ends_get_their_part() -> None:
    access: dict[str, Any] = {
        "db1": {
            "keys": {
                "backup": {"publicKey": f"{ALICE}\n", "hasAccessTo": {"web1": {"root": True, "www": False}}}
            }
        },
        "web1": {"hostKeys": {"ed25519": WEB1}, "hostNames": ["192.0.2.1", "[web1]:2222"]},
    }
    assert access_literal(access) == nix_literal(
        {
            "authorized_keys": {"web1": {"root": [ALICE]}},
            "known_hosts": {
                "db1": {
                    "web1-ed25519": {"hostNames": ["web1", "192.0.2.1", "[web1]:2222"], "publicKey": WEB1}
                }
            },
        }
    )


def test_a_key_is_authorized_once_and_a_host_knows_itself() -> None:
    key = {"publicKey": ALICE, "hasAccessTo": {"web1": {"root": True}}}
    literal = access_literal({"web1": {"hostKeys": {"a": WEB1}, "keys": {"one": key, "two": key}}})
    assert literal.count(ALICE) == 1
    assert '"hostNames" = [ "web1" "localhost" ];' in literal


def test_no_access_is_nothing() -> None:
    assert access_literal({}) == nix_literal({"authorized_keys": {}, "known_hosts": {}})


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("web1", "ssh_access.web1 is not a dictionary"),
        ({"hostkeys": {}}, "hostkeys"),
        ({"keys": {"k": {"hasAccessTo": {}}}}, "publicKey"),
        ({"keys": {"k": {"publicKey": ALICE, "hasAccessTo": {"web1": "root"}}}}, "no dictionary of users"),
        (
            {"keys": {"k": {"publicKey": ALICE, "hasAccessTo": {"web1": {"root": "yes"}}}}},
            "neither true nor false",
        ),
        (
            {"keys": {"k": {"publicKey": ALICE, "hasAccessTo": {"web1": {"root": True}}}}},
            "ssh_access.web1.hostKeys is empty, but web1 is to log in there",
        ),
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
