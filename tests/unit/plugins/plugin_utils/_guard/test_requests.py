# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the guard, and its answers; the guard itself is tested in tests/unit/target."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import new_activation_id
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import client as _guard_client
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import probe as _guard_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import refusal as _guard_refusal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import status as _guard_status
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import texts as _guard_texts
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import (
    LOADER_OF_PROGRAM,
    LOADER_OF_RECORD,
    guard_program,
    target_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    AnswerLost,
    key_of,
    parse_answer,
    unescape,
)

TOPLEVEL = "/nix/store/0c6vwm1jx8kpaqkgkzs7ia2ww8n3qvxj-nixos-system-web1-25.05"
REQUEST = _guard.StartRequest("20260101T000000-0badcafe", KINDS["nixos"], TOPLEVEL)


@dataclasses.dataclass(frozen=True)
class Completed:
    stdout: str
    return_code: int = 0
    stderr: str = ""


def answer(verb: str, *lines: str) -> Completed:
    return Completed("\n".join(("nixferry=1", *lines, f"end={verb}", "")))


def status_of(verb: str, completed: Completed) -> _guard_status.GuardStatus:
    """What the client makes of an answer."""

    class Shell:
        def run(self, _script: str, *, step: str, **_limits: object) -> Completed:
            assert step == verb
            return completed

    guard = Guard(Shell())  # type: ignore[arg-type]
    if verb == "start":
        return guard.start(REQUEST)
    return guard.status(REQUEST.activation_id)


def encode(value: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in value)


@given(st.binary())
def test_every_byte_survives_the_percent_encoding(value: bytes) -> None:
    assert unescape(encode(value)) == value.decode("utf-8", errors="replace")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_any_value_of_a_request_is_plain_text_and_can_be_read_back(value: str) -> None:
    coded = _guard.encode_value(value)
    assert re.fullmatch(r"[ -&(-~]*", coded)
    assert unescape(coded) == value


@pytest.mark.parametrize(
    "shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda argv: argv[0]
)
@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is missing")
def test_any_value_reaches_the_guard_as_it_is(shell: list[str]) -> None:
    values = [
        " spaces  and\ttabs ",
        "newlines\n\n",
        "$(touch /tmp/x) `id` ${HOME} $HOME",
        "quotes ' \" \\ ; & | < > ! * ? [a] ~",
        "% %% %4 %41 %zz %00",
        "\x01\x1b[31m\x7f",
        "na\u00efve \u20ac \U0001f680",
        "-n",
        "end=start\nversion=1",
        "\u00e9" * 10_000,
        "x" * 60_000,
        "",
    ]
    request = dataclasses.replace(
        REQUEST, environment=tuple((f"V{n}", value) for n, value in enumerate(values))
    )
    for value in values:
        lines = _guard.request_lines(
            "0", "start", _guard.request_fields(dataclasses.replace(REQUEST, revision="r"))
        )
        lines.insert(2, f"reason={_guard.encode_value(value)}")
        script = (
            "".join(target_text(part) for part in ("lib/base.sh", "lib/answer.sh", "lib/request.sh"))
            + 'exec 3>&2\nread_request\njudge_request\nfind_encoded reason\ndecode "$ENCODED"\nprintf %s "$DECODED"\n'
        )
        done = subprocess.run(
            [*shell, "-c", script], input="\n".join([*lines, ""]).encode(), capture_output=True, check=True
        )
        assert done.stdout.decode() == value
    assert len(list(_guard.request_fields(request))) > len(values)


@pytest.mark.parametrize("value", ["%00", "%0", "%", "%zz", "a%", "%%41"])
def test_what_is_no_encoding_is_refused(value: str) -> None:
    script = f"{target_text('lib/request.sh')}\ndecode '{value}' && echo read\n"
    assert subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False).stdout == b""


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,63}", fullmatch=True),
        st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])), min_size=1),
    )
)
def test_answers_are_read_back_as_they_were_written(values: dict[str, list[str]]) -> None:
    values.pop("end", None)
    lines = [f"{key}={encode(value.encode())}" for key, found in values.items() for value in found]
    read = parse_answer("probe", answer("probe", *lines))
    assert read.values == {key: tuple(found) for key, found in values.items()}


def test_nul_is_refused() -> None:
    request = dataclasses.replace(REQUEST, deployer="a\0b")
    with pytest.raises(ValueError, match="deployer holds a NUL"):
        _guard.request_lines("0", "start", _guard.request_fields(request))


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation_id": "../etc"},
        {"activation_id": ""},
        {"activation_id": "a b"},
        {"action": "dance"},
        {"failed_units": "panic"},
        {"timeout_confirm": 0},
    ],
)
def test_requests_that_the_guard_could_not_serve_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"activation id|not a valid Action|not a valid FailedUnits|timeouts"
    ):
        dataclasses.replace(REQUEST, **wrong)  # type: ignore[arg-type]


def test_ids_are_fresh_and_sort_by_time() -> None:
    ids = {new_activation_id() for _index in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{8}", identifier) for identifier in ids)


def test_what_is_empty_is_left_out() -> None:
    lines = _guard.request_lines("0", "start", _guard.request_fields(REQUEST))
    assert not [line for line in lines if line.endswith("=")]
    assert {"kind=nixos", f"toplevel={TOPLEVEL}", "roll_back_on_failure=1", "end=start"} <= set(lines)
    assert not [line for line in lines if line.startswith(("profile=", "force="))]


@pytest.mark.parametrize(
    ("stdout", "words"),
    [
        ("", "did not answer 'status' (exit code 0)"),
        ("sudo: a password is required\n", "did not answer"),
        ("nixferry=2\nend=status\n", "did not answer"),
        ("nixferry=1\nphase=committed\n", "was cut off"),
        ("nixferry=1\nhello world\nend=status\n", "is not key=value: 'hello world'"),
        ("nixferry=1\nphase=50%\nend=status\n", "is not key=value"),
        ("nixferry=1\nphase=committed\nend=probe\n", "ends as the answer to 'probe'"),
        ("nixferry=1\nphase=dancing\nend=status\n", "unknown phase 'dancing'"),
        ("nixferry=1\nphase=committed\nphase=failed\nend=status\n", "came 2 times"),
        ("nixferry=1\nphase=committed\nexit_code=many\nend=status\n", "should be a number"),
        ("nixferry=1\nphase=committed\nunchanged=yes\nend=status\n", "should be 0 or 1"),
        ("nixferry=1\nerror=gremlins\nend=status\n", "unknown error 'gremlins'"),
    ],
)
def test_answers_that_break_the_contract_are_errors(stdout: str, words: str) -> None:
    with pytest.raises(NixferryError) as caught:
        status_of("status", Completed(stdout))
    assert words in caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("stdout", "return_code", "lost"),
    [("nixferry=1\n", 0, True), ("", -9, True), ("", 1, False), ("nixferry=1\nx\n", 0, False)],
)
def test_an_answer_that_was_lost_is_told_from_a_refusal(stdout: str, return_code: int, lost: bool) -> None:
    with pytest.raises(NixferryError) as caught:
        status_of("start", Completed(stdout, return_code))
    assert isinstance(caught.value, AnswerLost) == lost


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        (["prepared 1000 50", "activating 1001 51", "committed 1007 57"], [1000, 1001, 1007]),
        pytest.param(
            ["prepared 1000 50", "activating 4602 52", "committed 4604 54"], [1000, 1002, 1004], id="set"
        ),
        pytest.param(["prepared 5000 50", "activating 1402 52"], [5000, 5002], id="set back"),
        pytest.param(["activating 1000 900", "committed 1060 20"], [1000, 1060], id="boot"),
        pytest.param(["activating 1000 90", "", "com", "committed later"], [1000], id="full disk"),
        pytest.param(["activating 1000", "committed 1005"], [1000, 1005], id="an older guard"),
    ],
)
def test_times_of_phases_do_not_follow_a_clock_that_is_set(lines: list[str], times: list[int]) -> None:
    text = "".join(f"phase_time={line}\n" for line in lines)
    status = status_of("status", Completed(f"nixferry=1\nphase=committed\n{text}end=status\n"))
    assert [moment for _phase, moment in status.phase_times] == times


def test_what_the_shell_printed_is_shown_when_there_is_no_answer() -> None:
    with pytest.raises(NixferryError) as caught:
        status_of("start", Completed("", 1, "sudo: a password is required\n"))
    assert caught.value.output == ["sudo: a password is required"]


def test_lock_holder_is_part_of_the_message() -> None:
    lines = (
        "lock_id=20260101T000000-1",
        "lock_deployer=alice@laptop",
        "lock_age=90",
        "error=lock_held",
        "message=busy",
    )
    with pytest.raises(NixferryError) as caught:
        status_of("start", answer("start", *lines))
    assert caught.value.cause == "busy: alice@laptop (activation 20260101T000000-1 for 90 s)"


def test_every_error_and_reason_of_the_guard_is_explained() -> None:
    text = guard_program().text
    errors = set(re.findall(r'\b(?:error|abandon) ([a-z_]+) "', text))
    errors |= set(re.findall(r"\bREQUEST_REFUSED=([a-z_]+)", text))
    loaders = {*LOADER_OF_RECORD, *LOADER_OF_PROGRAM}
    errors |= set(re.findall(r"\banswer error=([a-z_]+)", "".join(map(target_text, loaders))))
    assert errors == set(_guard_texts.ERRORS)
    reasons = set(re.findall(r"(?:REASON=|judge_refusal )([a-z_]+)", text)) | set(
        re.findall(r"\b(?:roll_back|rescue_activation|set_result reason) ([a-z]+_[a-z_]+|interrupted)", text)
    )
    # Names of functions, which are no reasons.
    assert reasons - {"restore_boot_default", "roll_back_problem"} == set(_guard_texts.REASONS)


def test_every_key_of_the_guard_is_read() -> None:
    """A key that one half writes and the other does not read is a mistake."""
    said = set(re.findall(r"\bsay(?:_lines|_end_of|_closure)? ([a-z_]+)", guard_program().text))
    results = (_guard_status.GuardStatus, _guard_probe.ProbeResult)
    read = {key_of(field) for result in results for field in dataclasses.fields(result)}
    by_hand = (_guard_refusal, _guard_client)
    read |= {key for reader in by_hand for key in re.findall(r'"([a-z_]+)"', inspect.getsource(reader))}
    assert said - read == set()


def test_final_and_remedy() -> None:
    status = status_of("status", answer("status", "phase=rolled-back", "reason=not_confirmed"))
    assert status.final
    assert "fresh login" in status.remedy
    running = status_of("status", answer("status", "phase=committing"))
    assert not running.final
    failed = status_of("status", answer("status", "phase=failed", "log_path=/var/log/x"))
    assert "/var/log/x" in failed.remedy
    assert "a reboot brings that back" not in failed.remedy
    bootable = answer("status", "phase=failed", "kind=nixos", "boot_default=old")
    assert "a reboot brings that back" in status_of("status", bootable).remedy
