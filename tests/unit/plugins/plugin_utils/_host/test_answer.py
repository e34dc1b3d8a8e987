# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a host answers, a reader raises no other error than ``NixferryError``, and keeps no more than its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_shell import checks, option

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import (
    LINE_CHARACTERS,
    TEXT_CHARACTERS,
    clean,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.install import parse_installation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult, read_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.refusal import raise_refusal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus, read_status
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.on_host import parse_host_output
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    AnswerLost,
    key_of,
    parse_answer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.trusted import parse_trusted_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import parse_path_info
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.wire import (
    parse_comparison,
    parse_placed,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.drift import deploy_facts
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.result import (
    check_result,
    generations_result,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.rollback import (
    nearest_deploys,
    remembered_deploys,
)

HOSTILE_WORDS = (
    "", "0", "1", "²", "٣", "-1", "9" * 15, "9" * 6000, "committed", "failed", "planned", "x86_64-linux", "deploy=1",
    "/nix/store/" + "a" * 32 + "-system", "\x1b[2J", "\x9b31m", "\u202e", "\ud800", "\n", "\r", "%", "=", "end=status",
    "new,content", "switch", "root:root", "x" * 5000,
)  # fmt: skip
words = st.sampled_from(HOSTILE_WORDS) | st.text(max_size=20) | st.integers(0, 10**12).map(str)
values = st.lists(words, max_size=8).map(" ".join)
KEYS = sorted(
    {
        *(key_of(field) for answer in (GuardStatus, ProbeResult) for field in fields(answer)),
        *(
            "generation",
            "lock_age",
            "error",
            "message",
            "entry",
            "later",
            "missing",
            "ours",
            "set",
            "unit_failed",
        ),
        *("output", "file", "before", "after", "program_changed", "rule_changed", "check"),
    }
)
lines = st.tuples(st.sampled_from(KEYS), values)


def encoded(value: str) -> str:
    return "".join(f"%{byte:02x}" for byte in value.encode("utf-8", "replace"))


def answered(verb: str, pairs: list[tuple[str, str]]) -> RemoteResult:
    told = [f"{key}={encoded(value)}" for key, value in pairs]
    return RemoteResult(0, "\n".join(["nixferry=1", *told, f"end={verb}", ""]), "")


def assert_harmless(value: Any, depth: int = 0) -> None:
    """No text moves the cursor, and none is larger than the bound."""
    if isinstance(value, str):
        assert clean(value) == value
        assert len(value) <= TEXT_CHARACTERS + 8 * LINE_CHARACTERS
        value.encode()
    elif isinstance(value, dict):
        for each in (*value.keys(), *value.values()):
            assert_harmless(each, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            assert_harmless(each, depth + 1)
    elif hasattr(value, "__dict__"):
        assert_harmless(dict(vars(value)), depth + 1)


def harmless(read: Callable[[], Any]) -> Any:
    """Read an answer; the error, if any, is harmless too."""
    try:
        found = read()
    except NixferryError as error:
        assert_harmless(error.result("web1"))
        return None
    assert_harmless(found)
    return found


@given(st.text(), st.text(), st.integers(-9, 255))
def test_any_output_is_an_answer_or_an_error(stdout: str, stderr: str, code: int) -> None:
    harmless(lambda: parse_answer("status", RemoteResult(code, stdout, stderr)))
    harmless(lambda: parse_answer("status", RemoteResult(code, f"nixferry=1\n{stdout}", stderr)))


@given(st.lists(lines), st.text(max_size=200))
def test_noise_before_an_answer_is_ignored(pairs: list[tuple[str, str]], noise: str) -> None:
    quiet = answered("status", pairs)
    noisy = RemoteResult(0, f"{noise}\n{quiet.stdout}", "")
    assert parse_answer("status", noisy) == parse_answer("status", quiet)


@given(st.lists(lines), st.data())
def test_an_answer_cut_short_is_noticed(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    whole = answered("status", pairs).stdout.rstrip("\n")
    begin = len("nixferry=1")
    cut = whole[: data.draw(st.integers(begin, len(whole) - 1))]
    with pytest.raises(AnswerLost):
        parse_answer("status", RemoteResult(0, cut, ""))


@pytest.mark.parametrize("value", ["\x1b]0;owned\x07x", "one\rtwo", "a\nb", "\u202ecba", "\x9b2J"])
def test_a_value_of_one_line_stays_one(value: str) -> None:
    answer = parse_answer("status", answered("status", [("note", value)]))
    (note,) = answer.all("note")
    assert note.isprintable()


def test_a_line_of_millions_of_characters_is_refused_at_once() -> None:
    for value in ("a" * 60_000_000, "%41" * 5_000_000):
        with pytest.raises(NixferryError, match="makes no sense") as caught:
            parse_answer("status", RemoteResult(0, f"nixferry=1\nlog={value}\nend=status\n", ""))
        assert_harmless(caught.value.result("web1"))


@given(st.lists(lines))
def test_any_answer_about_an_activation(pairs: list[tuple[str, str]]) -> None:
    def read() -> GuardStatus:
        answer = parse_answer("status", answered("status", [*pairs, ("phase", "committed")]))
        raise_refusal(answer)
        return read_status(answer)

    harmless(read)


probe_values = st.fixed_dictionaries(
    {
        "generations": st.lists(st.tuples(words, words, words).map(" ".join), max_size=3),
        "history": st.lists(st.lists(words, min_size=6, max_size=9).map(" ".join), max_size=3),
        "deploy": st.lists(st.lists(words, min_size=6, max_size=9).map(" ".join), max_size=3),
        "deployed": st.lists(st.lists(words, min_size=6, max_size=9).map(" ".join), max_size=1),
        "deployed_last": st.lists(words, max_size=1),
        "lock_id": st.lists(words, max_size=1),
        "closure_current": st.lists(st.tuples(words, words).map(" ".join), max_size=3),
    }
)


@given(probe_values, st.lists(lines, max_size=3))
def test_any_answer_about_a_host(found: dict[str, list[str]], more: list[tuple[str, str]]) -> None:
    pairs = [(key, value) for key, values in found.items() for value in values] + more

    def read() -> ProbeResult:
        answer = parse_answer("probe", answered("probe", pairs))
        raise_refusal(answer)
        return read_probe(answer)

    probe = harmless(read)
    if probe is not None:
        assert_harmless(generations_result(probe))
        assert_harmless(deploy_facts("web1", probe, None))
        assert_harmless(check_result(probe, "", "switch", None))
        assert_harmless(nearest_deploys("", remembered_deploys(probe)))


@given(st.lists(lines))
def test_any_answer_about_secrets(pairs: list[tuple[str, str]]) -> None:
    comparison = harmless(lambda: parse_comparison(answered("secrets", pairs), 2))
    if comparison is not None:
        assert {*comparison.differences, *comparison.later, *comparison.missing} <= {0, 1}
    harmless(lambda: parse_placed(answered("secrets", pairs)))


@given(st.lists(lines))
def test_any_answer_about_keys_and_installations(pairs: list[tuple[str, str]]) -> None:
    harmless(lambda: parse_trusted_keys(answered("trusted_keys", pairs)))
    harmless(lambda: parse_installation(answered("install_guard", pairs)))


@given(st.lists(st.lists(words, min_size=3, max_size=6).map(" ".join)) | st.lists(st.text()))
def test_any_answer_about_health(told: list[str]) -> None:
    asked = checks(option(command="true"), option(unit="x"))
    output = "check=0 of them\nnixferry=1\n" + "\n".join(f"check={encoded(each)}" for each in told)
    results = parse_host_output(asked, output)
    assert [result.check for result in results] == list(asked)
    assert_harmless([result.result() for result in results])
    parse_host_output(asked, "\n".join(["nixferry=1", *(f"check={each}" for each in told)]))


@given(st.text() | st.lists(values).map("\n".join))
def test_any_listing_of_paths(text: str) -> None:
    for item in parse_path_info(text):
        assert 0 <= item.nar_size < 10**15
        assert is_store_path(item.path)


def test_an_option_is_no_path() -> None:
    """What one host lists becomes arguments of Nix on another one."""
    path = f"/nix/store/{'a' * 32}-system"
    items = parse_path_info(f"--option 1\n{path}\t1\n{path}/../../etc 1\n-v 2\n")
    assert [item.path for item in items] == [path]
