# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of hosts in known_hosts: added before the reboot, the old ones removed after it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.known_hosts import (
    is_public_key,
    known_hosts_text,
    write_known_hosts,
)

OLD, NEW = (f"ssh-ed25519 {'A' * 60}{letter}" for letter in "on")
NAME = "[192.0.2.1]:2222"


def hashed(name: str) -> str:
    salt = b"01234567890123456789"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def test_a_key_is_added_beside_the_old_one() -> None:
    text = f"{NAME} {OLD}\n"
    assert known_hosts_text(text, [NAME], [NEW], replace=False) == f"{NAME} {OLD}\n{NAME} {NEW}\n"
    both = f"{text}{NAME} {NEW}\n"
    assert known_hosts_text(both, [NAME], [NEW], replace=False) == both
    assert known_hosts_text(both, [NAME], [NEW], replace=True) == f"{NAME} {NEW}\n"


def test_other_lines_stay_as_they_are() -> None:
    others = [
        "# a comment",
        "",
        f"@cert-authority *.example {OLD}",
        f"192.0.2.1 {OLD} another port",
        f"{hashed('other')} {OLD}",
        "nonsense",
        f"192.0.2.* {OLD}",
    ]
    text = "".join(f"{line}\n" for line in [*others[:3], f"{hashed(NAME)} {OLD}", *others[3:]])
    wanted = "".join(f"{line}\n" for line in [*others, f"{NAME} {NEW}"])
    assert known_hosts_text(text, [NAME], [NEW], replace=True) == wanted


def test_another_name_of_the_line_keeps_its_key() -> None:
    text = f"web,{NAME},192.0.2.9 {OLD} comment\n"
    assert (
        known_hosts_text(text, [NAME], [NEW], replace=True) == f"web,192.0.2.9 {OLD} comment\n{NAME} {NEW}\n"
    )


def test_only_keys_are_keys() -> None:
    assert is_public_key(NEW)
    for text in ("", "ssh-ed25519", f"{NEW} comment", f"{NEW}\n", f"* {NEW}", "ssh-dss " + "A" * 60):
        assert not is_public_key(text)


def test_a_file_is_replaced_as_a_whole_by_many(tmp_path: Path) -> None:
    file = tmp_path / "ssh/known_hosts"
    names = [f"host{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: write_known_hosts(file, [name], [NEW], replace=True), names))
    assert sorted(file.read_text().splitlines()) == sorted(f"{name} {NEW}" for name in names)
    assert not write_known_hosts(file, ["host1"], [NEW], replace=True)
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert write_known_hosts(link, ["more"], [NEW], replace=True)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in file.parent.iterdir()} == {"known_hosts", ".known_hosts.nixferry-lock"}


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NixferryError, match="cannot be written"):
        write_known_hosts(tmp_path / "file/known_hosts", [NAME], [NEW], replace=True)
