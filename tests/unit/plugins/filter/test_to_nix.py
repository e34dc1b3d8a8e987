# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible.errors import AnsibleFilterError
from ansible.parsing.vault import EncryptedString

from ansible_collections.nixferry.deploy.plugins.filter.to_nix import FilterModule

TO_NIX = FilterModule().filters()["to_nix"]
SECRET = EncryptedString(ciphertext="$ANSIBLE_VAULT;1.1;AES256\n6162")


def test_data_becomes_an_expression() -> None:
    data = {"ports": [80, 443], "if": "costs ${5}", "deep": {"on": True, "off": None}}
    assert TO_NIX(data) == (
        '{ "ports" = [ 80 443 ]; "if" = "costs \\${5}"; "deep" = { "on" = true; "off" = null; }; }'
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"day": datetime.date(2026, 1, 2)}, "the value.day is of type date"),
        ({"sites": [{"port": 2**64}]}, r"the value.sites\[0\].port is 18446744073709551616"),
        ({80: "web"}, "Put the key into quotes"),
        ({"web": {"keys": ["ok", SECRET]}}, r"the value.web.keys\[1\] comes from Ansible Vault"),
        (SECRET, "the value comes from Ansible Vault"),
    ],
)
def test_a_refusal_names_the_place_and_not_the_value(data: object, words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words) as caught:
        TO_NIX(data)
    assert "6162" not in str(caught.value)
