# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys and files as the user declares them, and the command line of nixos-anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.anywhere import Kexec, kexec_command
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.files import declared_files, host_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.login import (
    InstallerLogin,
    installer_login,
)

CANARY = "canary-content"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----"


def options(**changes: Any) -> dict[str, Any]:
    return {
        "host_keys": {},
        "host_key_types": ["ed25519"],
        "host_key_directory": "/etc/ssh",
        "keep_host_keys": False,
        **changes,
    }


def test_keys_are_generated_kept_or_given() -> None:
    assert host_keys(options())[0].wanted == (("ed25519", "generate"),)
    assert host_keys(options(keep_host_keys=True))[0].lines() == "ed25519\tkeep"
    keys, files = host_keys(options(host_keys={"rsa": KEY}, host_key_directory="/persist/etc/ssh/"))
    assert keys.wanted == (("rsa", "given"), ("ed25519", "generate"))
    [file] = list(files.values())
    assert file["path"] == "/persist/etc/ssh/ssh_host_rsa_key"
    # OpenSSH refuses a key without its last newline.
    assert file["text"] == f"{KEY}\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"host_keys": {"ed25519": CANARY}},
        {"host_keys": {"dsa": KEY}},
        {"host_key_types": []},
        {"host_key_directory": "etc/ssh"},
        {"host_key_directory": "/etc/../ssh"},
    ],
)
def test_wrong_keys_are_refused_without_their_content(changes: dict[str, Any]) -> None:
    with pytest.raises(NixferryError) as caught:
        host_keys(options(**changes))
    assert CANARY not in caught.value.text("web1")


def test_the_name_of_a_file_is_its_path() -> None:
    (file,) = declared_files({"/etc/app/key": {"text": CANARY, "mode": "0440"}})
    assert (file.path, file.mode, file.owner) == ("/etc/app/key", "440", "root:root")
    (file,) = declared_files({"key": {"text": CANARY, "path": "/etc/other"}})
    assert file.path == "/etc/other"
    for entry in (
        {"text": CANARY, "path": "/nix/store/x/y"},
        {"text": CANARY, "path": "/etc/../x/y"},
        CANARY,
    ):
        with pytest.raises(NixferryError) as caught:
            declared_files({"key": entry})
        assert CANARY not in caught.value.text("web1")
        assert "the file key" in caught.value.cause


def test_a_login_differs_or_not() -> None:
    key = "ssh-ed25519 " + "A" * 68
    assert not installer_login(None).differs
    given = {"user": "root", "port": None, "host_key": f"{key} comment\n", "check_host_key": True}
    assert installer_login(given) == InstallerLogin("root", None, key)
    for wrong in ({"host_key": "AAAA"}, {"check_host_key": False}):
        with pytest.raises(NixferryError):
            installer_login({**given, **wrong})


def test_the_command_line_of_nixos_anywhere() -> None:
    kexec = Kexec("nixos-anywhere", "/k.tar.gz", "/nix/store/d", "/nix/store/t", 22)
    command = kexec_command(
        kexec,
        user="ubuntu",
        address="2001:db8::1",
        port="2222",
        key_file="/key",
        settings={"ProxyJump": "gate"},
    )
    assert command == [
        "nixos-anywhere",
        *("--phases", "kexec", "--store-paths", "/nix/store/d", "/nix/store/t", "--build-on", "local"),
        *("--kexec", "/k.tar.gz", "--ssh-port", "2222", "--post-kexec-ssh-port", "22", "-i", "/key"),
        *("--ssh-option", "ProxyJump=gate", "--target-host", "ubuntu@2001:db8::1"),
    ]
