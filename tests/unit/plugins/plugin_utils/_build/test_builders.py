# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import entries, parse
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.builders import builder_settings
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi"


def test_nothing_said_changes_nothing() -> None:
    assert builder_settings(None, None) == {}


def test_an_empty_list_forbids_remote_builds() -> None:
    assert builder_settings([], 0) == {"builders": "", "max-jobs": "0"}


def test_an_entry_a_file_and_a_dictionary_together() -> None:
    big = {
        "uri": "ssh-ng://builder@big",
        "systems": ["x86_64-linux", "aarch64-linux"],
        "ssh_key_file": "/etc/nix/big_ed25519",
        "max_jobs": 4,
        "supported_features": ["big-parallel"],
        "mandatory_features": ["kvm"],
        "host_public_key": f"{KEY} root@big",
    }
    value = builder_settings(["ssh://small riscv64-linux", "@/etc/nix/machines", big], None)["builders"]
    small, file, machine = (entry.text for entry in entries(value))
    assert (small, file) == ("ssh://small riscv64-linux", "@/etc/nix/machines")
    read = parse(machine)
    assert (read.uri, read.systems, read.max_jobs) == (big["uri"], tuple(big["systems"]), 4)
    assert (read.ssh_key, read.host_key) == (big["ssh_key_file"], KEY)
    assert (read.supported_features, read.mandatory_features) == (("big-parallel", "kvm"), ("kvm",))


@pytest.mark.parametrize(
    ("builder", "complaint"),
    [
        ("ssh://a x86_64-linux - 0", "wait forever"),
        ({"uri": "ssh://a", "max_jobs": 0}, "wait forever"),
        ("ssh://localhost x86_64-linux", "this machine itself"),
        ("ssh://a x86_64-linux - auto", "not a number"),
        ("ssh://a x86_64-linux ; ssh://b", "not one entry"),
        ("ssh://a # ours", "not one entry"),
        ("", "not one entry"),
        ({"uri": "ssh://a", "ssh_key_file": "/a key"}, "cannot be written down"),
        ({"uri": "ssh://a", "systems": ["a,b"]}, "white space"),
        ({"uri": "ssh://a", "host_public_key": "AAAAC3Nza"}, "host key"),
        ({"uri": "ssh://a", "cores": 4}, "cores"),
        ({"systems": ["x86_64-linux"]}, "uri"),
    ],
)
def test_what_nix_would_misread_is_refused(builder: Any, complaint: str) -> None:
    with pytest.raises(NixferryError) as caught:
        builder_settings([builder], None)
    assert complaint in caught.value.cause


def test_a_negative_number_of_jobs_is_refused() -> None:
    with pytest.raises(NixferryError):
        builder_settings(None, -1)
