# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login that proves something, and the address of a host: ssh itself says what it makes of the settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import ssh_command_line, ssh_setting


def shell_over(transport: str, **options: Any) -> RemoteShell:
    context = PlayContext()
    context.remote_addr = options.get("host", "192.0.2.1")
    if transport == "ssh":
        connection = connection_loader.get("ssh", context, None)
        connection.set_options(
            direct={"host": "192.0.2.1", "control_path_dir": "/nonexistent", "ssh_args": "-F none", **options}
        )
    else:
        connection = SimpleNamespace(transport=transport, has_pipelining=False)
    action = SimpleNamespace(
        _connection=connection,
        _play_context=context,
        _shared_loader_obj=SimpleNamespace(connection_loader=connection_loader),
    )
    return RemoteShell(action, "web1")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["ssh_args", "ssh_common_args", "ssh_extra_args"])
@pytest.mark.parametrize(
    "multiplexing",
    [
        "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/run/shared",
        "-S /run/shared",
        "-M -S/run/shared",
        "-F '{directory}/ssh config'",
    ],
)
def test_a_fresh_login_shares_no_connection(option: str, multiplexing: str, tmp_path: Path) -> None:
    (tmp_path / "ssh config").write_text("Host *\n  ControlMaster auto\n  ControlPath /run/shared\n")
    shell = shell_over("ssh", **{"ssh_args": "-F none", option: multiplexing.format(directory=tmp_path)})
    if not (option != "ssh_args" and "-F" in multiplexing):
        assert ssh_setting(ssh_command_line(shell.connection), "controlpath") == "/run/shared"
    with shell.fresh() as fresh:
        assert ssh_setting(ssh_command_line(fresh.connection), "controlpath") is None


def test_a_fresh_login_keeps_every_other_setting(tmp_path: Path) -> None:
    shell = shell_over(
        "ssh",
        port=2222,
        remote_user="deploy",
        private_key_file=f"{tmp_path}/my key",
        ssh_common_args='-o ProxyJump="jump@bastion:2200"',
        ssh_extra_args="-o HostKeyAlias=web",
        password="correct horse",
    )
    settings = ("port", "user", "identityfile", "proxyjump", "hostkeyalias", "connecttimeout")
    before = {name: ssh_setting(ssh_command_line(shell.connection), name) for name in settings}
    with shell.fresh() as fresh:
        assert {name: ssh_setting(ssh_command_line(fresh.connection), name) for name in settings} == before
        assert fresh.connection.get_option("password") == "correct horse"
    assert before["port"] == "2222"


def test_the_address_of_an_alias_is_where_ssh_goes(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host web\n  HostName 2001:db8::7\n")
    assert shell_over("ssh", host="web", ssh_args=f"-F {config}").address == "2001:db8::7"
    assert shell_over("ssh", host="192.0.2.7").address == "192.0.2.7"


@pytest.mark.parametrize(
    ("transport", "address"),
    [
        ("paramiko", "192.0.2.7"),
        ("ansible.netcommon.libssh", "192.0.2.7"),
        ("community.docker.docker", "127.0.0.1"),
        ("local", "127.0.0.1"),
    ],
)
def test_the_address_over_other_connections(transport: str, address: str) -> None:
    assert shell_over(transport, host="192.0.2.7").address == address
