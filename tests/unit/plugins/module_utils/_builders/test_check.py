# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check of a builder makes of what the builds on it bring."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._builders import check as _builder_check
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.check import Check, Failed
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.failures import Failure
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.verify import SANDBOX_HOST, Built

NIX: Any = SimpleNamespace(version=(2, 26), lix=False)
DOWN = Failure("refused", "network", "No server listens", "Start it.", "Connection refused")


class Builder:
    """Answers what a builder called ``host`` would, but for ``wrong``: what a kind of build brings instead."""

    def __init__(self, wrong: dict[str, Built], host: str) -> None:
        self.wrong = wrong
        self.host = host
        self.kinds: list[str] = []

    def __call__(self, *words: Any, **_rest: Any) -> Built:
        _nix, _machine, kind, _system, nonce, _timeout = words
        self.kinds.append(kind)
        return self.wrong.get(kind, Built(f"{nonce}\nhost={self.host}\n", "/nix/store/a"))


def check(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    checks: list[str],
    wrong: dict[str, Built] | None = None,
    *,
    entry: str = "ssh-ng://big riscv64-linux /key 1 1\n",
    effective: bool = True,
    host: str = SANDBOX_HOST,
) -> tuple[dict[str, Any], Failure | None, list[str]]:
    """The result of a check, its failure and the kinds of builds that it took."""
    machines = tmp_path / "machines"
    machines.write_text(entry)
    found = {"builders": f"@{machines}" if effective else "", "system": "x86_64-linux"}
    builder = Builder(wrong or {}, host)
    monkeypatch.setattr(_builder_check, "settings", lambda _nix: (found, []))
    monkeypatch.setattr(_builder_check, "build", builder)
    monkeypatch.setattr(_builder_check, "daemon_socket", lambda: None)
    options = {"name": "big", "checks": checks, "machines_file": str(machines), "systems": [], "timeout": 60}
    run = Check({**options, "connect_timeout": 5}, check_mode=False)
    try:
        run.perform(NIX)
    except Failed as failed:
        return run.result, failed.failure, builder.kinds
    return run.result, None, builder.kinds


def test_each_step_is_told_with_its_outcome(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, failure, kinds = check(monkeypatch, tmp_path, ["smoke", "sandbox", "trust"])
    assert failure is None
    assert kinds == ["smoke", "input", "trust"]
    assert [(step["check"], step["system"], step["ok"]) for step in result["steps"]] == [
        ("file", "", True),
        *((name, "riscv64-linux", True) for name in ("smoke", "sandbox", "trust")),
    ]
    assert result["systems"]["riscv64-linux"]["sandboxed"] is True


@pytest.mark.parametrize("kind", ["smoke", "trust"])
def test_another_output_than_that_of_the_derivation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """What an earlier build has left, or another user's: the nonce of this one is not in it."""
    stale = Built(f"0123456789abcdef\nhost={SANDBOX_HOST}\n", "/nix/store/b")
    result, failure, kinds = check(monkeypatch, tmp_path, ["smoke", "trust"], {kind: stale})
    assert failure is not None
    assert (failure.code, failure.stage) == ("wrong_output", "build")
    assert failure.evidence.startswith("0123456789abcdef")
    assert kinds[-1] == kind
    assert [step["ok"] for step in result["steps"]][-1] is False


def test_a_build_without_a_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, failure, _kinds = check(monkeypatch, tmp_path, ["sandbox"], host="big")
    assert failure is not None
    assert (failure.code, failure.stage) == ("no_sandbox", "sandbox")
    assert "big" in failure.evidence
    assert result["systems"]["riscv64-linux"]["sandboxed"] is False


def test_the_first_failure_is_the_last_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, failure, kinds = check(monkeypatch, tmp_path, ["smoke", "trust"], {"smoke": Built(failure=DOWN)})
    assert failure == DOWN
    assert kinds == ["smoke"]
    assert [step["check"] for step in result["steps"]] == ["file", "smoke"]


@pytest.mark.parametrize(
    ("entry", "effective", "code"),
    [
        ("", True, "not_registered"),
        ("ssh-ng://other x86_64-linux\n", True, "not_registered"),
        ("ssh-ng://big x86_64-linux\n", False, "not_effective"),
        ("# one; two\nssh-ng://big x86_64-linux\n", True, "machines_syntax"),
    ],
)
def test_an_entry_that_nix_does_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entry: str, effective: bool, code: str
) -> None:
    result, failure, kinds = check(monkeypatch, tmp_path, ["smoke"], entry=entry, effective=effective)
    assert failure is not None
    assert (failure.code, failure.stage) == (code, "file")
    assert failure.hint
    assert kinds == []
    assert [(step["check"], step["ok"]) for step in result["steps"]] == [("file", False)]
