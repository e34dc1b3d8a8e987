# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    Attribute,
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation, evaluate
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.jobs import can_ask
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import (
    MEMORY_RESERVE_MIB,
    Cost,
    Limits,
    worker_memory_mib,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixRequest, NixResult

LIMITS = Limits(memory_mib=100_000, evaluators=2)
ROOT = ExpressionRoot("import /fleet.nix", include=("nixpkgs=/nixpkgs",), anywhere=True)


def line(attribute: str, name: str, **more: Any) -> str:
    """A derivation as nix-eval-jobs 2.33.0 describes it (to_json in src/drv.cc of it)."""
    job = {
        "attr": attribute,
        "attrPath": [attribute],
        "drvPath": f"/nix/store/{name}.drv",
        "name": name,
        "outputs": {"out": f"/nix/store/{name}"},
        "requiredSystemFeatures": [],
        "system": "x86_64-linux",
    }
    return json.dumps({**job, **more})


class Programs:
    """Nix that answers for every host, and a nix-eval-jobs that prints ``lines`` and ends with ``code``."""

    def __init__(self, lines: Sequence[str], code: int = 0, version: str = "2.33.0") -> None:
        self.lines, self.code, self.told_version = lines, code, version
        self.asked: list[NixRequest] = []
        self.question = ""

    def has(self, program: str) -> bool:
        return program == "nix-eval-jobs"

    def version(self) -> tuple[int, int]:
        return (2, 33)

    def run_many(self, requests: Sequence[NixRequest], **_more: Any) -> list[NixResult]:
        return [self._run(request) for request in requests]

    def _run(self, request: NixRequest) -> NixResult:
        arguments = request.arguments
        if arguments[0] != "nix-eval-jobs":
            self.asked.append(request)
            text = (request.input or b"").decode()
            names = text.rpartition("requests = ")[2].partition("};")[0].split('" = [ "')[1:]
            answers = {
                str(number): {"drv_path": f"/nix/store/own-{name.split(chr(34))[0]}.drv", "outputs": {}}
                for number, name in enumerate(names)
            }
            return NixResult(0, json.dumps(answers), "", arguments)
        if "--expr" in arguments:
            error = f"error:\n       … while calling the 'throw' builtin\n\n       error: {self.told_version}"
            job = {"attr": "version", "attrPath": ["version"], "error": error}
            return NixResult(0, json.dumps(job), "", arguments)
        self.question = Path(arguments[-1]).read_text(encoding="utf-8")
        assert Path(arguments[-1]).parent.stat().st_mode & 0o077 == 0
        errors = ("error: worker error: killed by signal 9",) if self.code else ()
        return NixResult(self.code, "\n".join(self.lines), "", arguments, errors=errors)


def ask(programs: Programs, *names: str, mode: str = "required") -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    attributes = {name: Attribute(ROOT, (name,)) for name in names}
    answers = evaluate(
        programs,  # type: ignore[arg-type]
        attributes,
        limits=LIMITS,
        deadline=None,
        eval_jobs=mode,
        on_warning=warnings.append,
    )
    return dict(answers), warnings


def test_hosts_get_what_their_lines_say() -> None:
    programs = Programs([line("host1", "b"), line("host0", "a")])
    answers, warnings = ask(programs, "web1", "web2")
    assert answers["web1"] == Evaluation("/nix/store/a.drv", {"out": "/nix/store/a"})
    assert answers["web2"] == Evaluation("/nix/store/b.drv", {"out": "/nix/store/b"})
    assert not warnings
    assert not programs.asked
    assert '"host0" = [ "web1" ];' in programs.question
    assert "bare = true;" in programs.question


@pytest.mark.parametrize(
    "bad",
    [
        '{"attr":"host1","attrPath":["host1"],"error":"error: no such luck"}',
        # The path of a content-addressed output is not known yet.
        line("host1", "b", outputs={"out": None}),
        line("host1", "b", outputs={}),
        '{"attr":"host1","attrPath":["host1"]}',
    ],
)
def test_who_has_no_derivation_is_evaluated_alone(bad: str) -> None:
    programs = Programs([line("host0", "a"), bad, line("host2", "c")])
    answers, warnings = ask(programs, "web1", "web2", "web3")
    assert [answers[host].drv_path for host in answers] == [
        "/nix/store/a.drv",
        "/nix/store/own-web2.drv",
        "/nix/store/c.drv",
    ]
    assert len(programs.asked) == 1
    assert not warnings


def test_a_run_that_breaks_off_leaves_the_rest_to_nix() -> None:
    programs = Programs([line("host0", "a"), '{"attr":"host1","dr', "", "[]", line("other", "x")], code=1)
    answers, warnings = ask(programs, "web1", "web2", "web3")
    assert answers["web1"].drv_path == "/nix/store/a.drv"
    assert answers["web3"].drv_path == "/nix/store/own-web3.drv"
    (warning,) = warnings
    assert "no answer for web2, web3, evaluated without it" in warning
    assert "killed by signal 9" in warning


def test_another_version_could_evaluate_otherwise() -> None:
    programs = Programs([], version="2.26.3")
    answers, warnings = ask(programs, "web1", "web2", mode="auto")
    assert answers["web2"].drv_path == "/nix/store/own-web2.drv"
    assert warnings == [
        "nix-eval-jobs is not used: it evaluates like Nix 2.26, and this is Nix 2.33",
    ]
    with pytest.raises(NixferryError, match=r"evaluates like Nix 2\.26,"):
        ask(programs, "web1", "web2")


def test_never_asks_nobody() -> None:
    programs = Programs([line("host0", "a"), line("host1", "b")])
    answers, _warnings = ask(programs, "web1", "web2", mode="never")
    assert answers["web1"].drv_path == "/nix/store/own-web1.drv"
    assert not programs.question


def test_what_means_something_else_in_another_directory_is_left_to_nix() -> None:
    assert can_ask(ROOT)
    assert not can_ask(ExpressionRoot("import ./fleet.nix"))
    assert not can_ask(FlakeRoot(".", "nixosConfigurations"))


@pytest.mark.parametrize(
    ("hosts", "memory", "evaluators", "expected"),
    [
        (10, 1024 + 8 * 512, 2, (2, 4 * 512 - 300)),
        # Room for one host in each.
        (10, 1024 + 2 * 800, 2, (2, 500)),
        (10, 100, 4, (1, 0)),
        (1, 100_000, 4, (1, 100_000 - 1024 - 300)),
    ],
)
def test_workers_share_the_memory(
    hosts: int, memory: int, evaluators: int, expected: tuple[int, int]
) -> None:
    workers, share = worker_memory_mib(hosts, Limits(memory, evaluators), Cost(800, 300))
    assert (workers, share) == expected
    if share:
        assert workers * (share + 300) + MEMORY_RESERVE_MIB <= memory
