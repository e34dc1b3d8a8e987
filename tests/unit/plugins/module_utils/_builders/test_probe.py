# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a builder's secret key before anything is sent anywhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.failures import Failure
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.probe import key_failure

NOBODY = 65534


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name, passphrase in (("plain", ""), ("other", ""), ("locked", "a passphrase")):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", directory / name],
            check=True,
            timeout=30,
        )
    return directory


@pytest.fixture
def key(made: Path, tmp_path: Path) -> Path:
    """A key with its public half beside it, as ssh wants both."""
    for suffix in ("", ".pub"):
        (tmp_path / f"key{suffix}").write_bytes((made / f"plain{suffix}").read_bytes())
    (tmp_path / "key").chmod(0o600)
    return tmp_path / "key"


def failure_of(key: Path) -> Failure:
    failure = key_failure(str(key))
    assert failure is not None
    assert failure.stage == "key"
    assert failure.hint
    return failure


def test_a_good_key_passes(key: Path) -> None:
    assert key_failure(str(key)) is None
    key.with_suffix(".pub").unlink()
    assert key_failure(str(key)) is None


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    assert failure_of(tmp_path / "none").code == "key_missing"


def test_a_key_that_others_may_read(key: Path) -> None:
    key.chmod(0o640)
    failure = failure_of(key)
    assert (failure.code, "0640" in failure.evidence) == ("key_permissions", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_another_user(key: Path) -> None:
    os.chown(key, NOBODY, NOBODY)
    failure = failure_of(key)
    assert (failure.code, str(NOBODY) in failure.evidence) == ("key_owner", True)


def test_a_key_with_a_passphrase(key: Path, made: Path) -> None:
    key.write_bytes((made / "locked").read_bytes())
    assert failure_of(key).code == "key_passphrase"


def test_the_public_half_of_another_key_beside_it(key: Path, made: Path) -> None:
    key.with_suffix(".pub").write_bytes((made / "other.pub").read_bytes())
    failure = failure_of(key)
    assert (failure.code, failure.evidence) == ("key_stale_public", f"{key}.pub")
