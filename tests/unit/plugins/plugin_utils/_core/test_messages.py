# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every message of a failure keeps: five lines, the cause, what to do next, and no log.

The tables of errors are walked whole, and so is the text of every error in the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_host import answer

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import explain as copy_explain
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import read_status
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.texts import ERRORS, REASONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import login
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import parse_answer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import REMEDIES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.follow import Followed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import switch_result

PLUGINS = Path(__file__).parents[5] / "plugins"
LINES = 5
LOG = [f"a line of the log, number {number}" for number in range(40)]
# Words of the code, and places that the user does not see.
FORBIDDEN = re.compile(
    r"\b(?:log|output|error|message) (?:above|below)\b|\baborted\b|\bwhoever\b|\bsomebody\b|\bnobody\b|[{}]"
    r"|^(?:please )?(?:check|see|read) (?:the|your) (?:log|output|error|message)s?\.$",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.?`]$")


def assert_told(message: str, host: str = "web1") -> None:
    """What a message has, whatever failed."""
    lines = message.splitlines()
    assert len(lines) <= LINES, message
    assert lines[0].startswith(f"{host}: "), message
    assert " failed: " in lines[0], message
    assert [line for line in lines if line.startswith("What to do: ")] == lines[-1:], message
    remedy = lines[-1].removeprefix("What to do: ")
    assert SENTENCE_END.search(remedy), message
    assert not FORBIDDEN.search(remedy), message


@given(
    st.text(alphabet=st.sampled_from("ab \n\r\t"), max_size=300),
    st.text(alphabet=st.sampled_from("ab \n"), max_size=60),
    st.sampled_from(list(Step)),
)
def test_no_text_makes_a_message_long(cause: str, remedy: str, step: Step) -> None:
    error = NixferryError(cause, step=step, remedy=f"{remedy} Do it.", output=LOG)
    message = error.result("web1")["msg"]
    assert_told(message)
    assert not any(line in message for line in LOG)


def test_a_line_is_bounded_as_well() -> None:
    assert len(NixferryError("x" * 5000, step=Step.BUILD).text("web1").splitlines()[0]) < 1000


@pytest.mark.parametrize("output", [(), ("said",)])
@pytest.mark.parametrize("step", Step)
def test_an_error_without_a_remedy_of_its_own_has_that_of_its_step(
    step: Step, output: tuple[str, ...]
) -> None:
    result = NixferryError("it went wrong", step=step, output=output).result("web1")
    assert_told(result["msg"])
    assert result["remedy"] in result["msg"]


WITHOUT_UNITS = ("darwin", "profile")


def ends() -> Iterator[tuple[str, dict[str, str]]]:
    for reason in REASONS:
        why = {
            "reason": reason,
            "message": "aborted: the check said no" if reason == "aborted" else "it was so",
        }
        for units in ({}, {"failed_unit": "web.service"}):
            yield "rolled-back", {**why, **units}
            yield "failed", {**why, **units}
        yield "failed", {**why, "left_running": "1"}
        yield "failed", {**why, "other_system": "/nix/store/x", "boot_default": "old"}


@pytest.mark.parametrize(("phase", "fields"), list(ends()))
def test_every_end_of_an_activation(phase: str, fields: dict[str, str]) -> None:
    times = {"log_path": "/var/lib/nixferry/x/log", "log": "%0a".join(LOG)}
    _verb, text = answer("status", phase, **fields, **times)
    text = text.replace(
        "end=status", "phase_time=activating 100 1\nphase_time=rolling-back 130 31\nend=status"
    )
    status = read_status(parse_answer("status", RemoteResult(0, text, "")))
    result = switch_result("web1", Followed(status))
    assert result["failed"]
    assert_told(result["msg"])
    assert "aborted" not in result["msg"]
    assert not any(line in result["msg"] for line in LOG)
    assert result["log"] == LOG
    if "{journal}" in REASONS[fields["reason"]] and phase == "rolled-back":
        assert "`journalctl --since @100 --until @130" in result["msg"]
    if fields["reason"] == "failed_units" and "failed_unit" in fields and phase == "rolled-back":
        assert "--unit web.service`" in result["remedy"]
        assert result["msg"].partition("\n")[0].count("web.service") == 1


@pytest.mark.parametrize("reason", sorted(set(REASONS) - {"failed_units"}))
@pytest.mark.parametrize("kind", WITHOUT_UNITS)
def test_a_kind_without_units_has_no_journal(kind: str, reason: str) -> None:
    fields = {"reason": reason, "message": "it was so", "kind": kind, "log_path": "/var/lib/nixferry/x/log"}
    _verb, text = answer("status", "rolled-back", **fields)
    result = switch_result("web1", Followed(read_status(parse_answer("status", RemoteResult(0, text, "")))))
    assert_told(result["msg"])
    # Only a kind with a boot default reboots inside a deploy.
    assert "journalctl" not in result["msg"] or reason == "boot_failed"


def test_a_name_that_the_host_made_up_is_quoted_in_a_command() -> None:
    fields = {"reason": "failed_units", "message": "units failed", "failed_unit": "a;reboot.service"}
    _verb, text = answer("status", "rolled-back", **fields)
    status = read_status(parse_answer("status", RemoteResult(0, text, "")))
    assert "--unit 'a;reboot.service'`" in status.remedy


def rows() -> Iterator[tuple[str, str, str]]:
    for name, (_step, remedy) in ERRORS.items():
        yield name, "the guard refused", remedy
    tables = {
        "nix": REMEDIES,
        "login": login.LOGIN_CAUSES,
        "escalation": login.ESCALATION_CAUSES,
        "copy": copy_explain.CAUSES,
    }
    for table, causes in tables.items():
        for cause in causes:
            filled = cause.remedy.format(directory="/srv", features="{kvm}".strip("{}"), host="web1")
            yield f"{table}: {cause.signs[0]}", cause.message.format(line="what was said"), filled


@pytest.mark.parametrize(("name", "cause", "remedy"), list(rows()))
def test_every_row_of_a_table(name: str, cause: str, remedy: str) -> None:
    assert remedy, name
    assert_told(NixferryError(cause, step=Step.BUILD, remedy=remedy, output=LOG).text("web1"))


def calls() -> Iterator[tuple[str, ast.Call]]:
    errors = {"NixferryError", "HostUnreachable", "CopyError", "GuardRefusal"}
    for path in sorted(PLUGINS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in errors:
                yield f"{path.relative_to(PLUGINS)}:{node.lineno}", node


def literal(node: ast.expr) -> str:
    """Return the text of a string in the code, with x where a value is put in; empty for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) if isinstance(part, ast.Constant) else "x" for part in node.values)
    if isinstance(node, ast.BinOp):
        left, right = literal(node.left), literal(node.right)
        return left + right if left and right else ""
    return ""


def test_every_error_in_the_code_is_written_as_a_cause_and_a_remedy() -> None:
    wrong = []
    found = list(calls())
    for place, call in found:
        remedy = next((literal(word.value) for word in call.keywords if word.arg == "remedy"), "")
        cause = literal(call.args[0]) if call.args else ""
        if cause.endswith(".") or "aborted:" in cause:
            wrong.append(f"{place}: the cause ends with a full stop, or has a word of the guard: {cause}")
        if remedy and (not SENTENCE_END.search(remedy) and not remedy.endswith("x")):
            wrong.append(f"{place}: the remedy is not a sentence: {remedy}")
        if FORBIDDEN.search(remedy.replace("{host}", "").replace("{", "").replace("}", "")):
            wrong.append(f"{place}: the remedy says nothing: {remedy}")
    assert len(found) > 150
    assert not wrong, "\n".join(wrong)
