# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A builder as ssh's settings and as Nix code."""

from __future__ import annotations

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._builders import builder as _builder

OWN = "Host Big\n  HostName Build.Example\n  Port 3022\n  User Bob\n  HostKeyAlias Big\n"
ANSWER = "host Big\nuser Bob\nhostname build.example\nport 3022\nhostkeyalias big\n"


def test_ssh_writes_names_of_hosts_in_lower_case() -> None:
    assert _builder.overridden_ssh(OWN, ANSWER) == []


@pytest.mark.parametrize(
    ("line", "other", "wrong"),
    [
        ("port 3022", "port 22", "Port is 22 and not 3022"),
        ("user Bob", "user bob", "User is bob and not Bob"),
        ("hostkeyalias big\n", "", "HostKeyAlias is nothing and not Big"),
        ("hostname build.example", "hostname big", "HostName is big and not Build.Example"),
    ],
)
def test_what_root_or_the_main_file_says_first_is_found(line: str, other: str, wrong: str) -> None:
    assert _builder.overridden_ssh(OWN, ANSWER.replace(line, other)) == [wrong]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (4, "4"),
        ([], "[ ]"),
        (["a", "b"], '[ "a" "b" ]'),
        ('say "${x}" \\ \n', '"say \\"\\${x}\\" \\\\ \\n"'),
    ],
)
def test_values_as_nix_code(value: object, text: str) -> None:
    assert _builder.nix_value(value) == text
