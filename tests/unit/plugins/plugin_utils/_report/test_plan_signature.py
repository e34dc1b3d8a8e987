# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that was signed is read, and only that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import (
    read_ssh_key,
    sign_bytes,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import STEP
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_signature import (
    read_plan_file,
    sign_plan,
    signature_file,
)

TEXT = '{"format": 1}\n'


def make_key(directory: Path, name: str) -> tuple[str, str]:
    file = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file], check=True)
    return str(file), (directory / f"{name}.pub").read_text()


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(TEXT)
    return path


def test_a_signed_plan_is_read(plan: Path, tmp_path: Path) -> None:
    key, public = make_key(tmp_path, "planner")
    _other, other = make_key(tmp_path, "other")
    signature_file(plan).write_text(sign_plan(TEXT, key))
    assert read_plan_file(plan, [other, public]) == TEXT.encode()
    # Without keys the signature does not count, not even a wrong one.
    signature_file(plan).write_text("x")
    assert read_plan_file(plan, []) == TEXT.encode()


def test_every_other_plan_is_refused(plan: Path, tmp_path: Path) -> None:
    key, public = make_key(tmp_path, "planner")
    other, _public = make_key(tmp_path, "other")
    with pytest.raises(NixferryError, match=r"plan\.json\.sig cannot be read"):
        read_plan_file(plan, [public])
    signature = sign_plan(TEXT, key)
    elsewhere = sign_bytes(
        TEXT.encode(), read_ssh_key(key, comment="", step=STEP), namespace="file", step=STEP
    )
    for wrong in (sign_plan(TEXT, other), elsewhere, signature[:-30], signature * 2, "", "\0" * 20000):
        signature_file(plan).write_text(wrong)
        with pytest.raises(NixferryError, match="not signed by a trusted key"):
            read_plan_file(plan, [public])
    signature_file(plan).write_text(signature)
    plan.write_text(TEXT.replace("1", "2"))
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        read_plan_file(plan, [public])


def test_a_key_that_is_not_one_is_named(plan: Path) -> None:
    with pytest.raises(NixferryError, match="'cache-1:AAAA' is not a public key"):
        read_plan_file(plan, ["cache-1:AAAA"])
    with pytest.raises(NixferryError, match=r"the key file .* cannot be read"):
        sign_plan(TEXT, str(plan / "none"))
