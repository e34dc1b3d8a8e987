# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A build runs on a host, and the host sends the log: whatever is in it, there is a result, and a harmless one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.builder_news import BuilderNews
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix import result as _result
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.failures import own_failures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import LogEvent
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import BuildLogs
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import parse_plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.result import ERRORS_KEPT, result_of_log

DERIVATION = f"/nix/store/{'a' * 32}-hello-1.0.drv"
texts = st.text(max_size=40) | st.sampled_from(
    [
        DERIVATION, "\x1b[2J\x9b31m\u202e", "\ud800", "", "error: x", "warning: y", "trace: z", "\r", "a\nb",
        f"error: builder for '{DERIVATION}' failed with exit code \x1b[1m1", "ssh://[::1",
        "these 9999999999999 derivations will be built:",
        "cannot build on 'ssh://\x1b]0;x\x07': \u2066y", "waiting for lock on '\x07'", "?\x00",
    ]
)  # fmt: skip
numbers = st.integers(-2, 120) | st.sampled_from([2**63, -(10**400), 10**4000])
values = texts | numbers | st.none() | st.booleans() | st.lists(texts | numbers, max_size=4)
entries = st.fixed_dictionaries(
    {"action": st.sampled_from(["msg", "start", "stop", "result", "?"])},
    optional={
        "id": st.integers(0, 3) | values,
        "type": st.sampled_from([0, 100, 102, 104, 105, 106, 108, 111, 112]) | values,
        "level": st.integers(0, 4) | values,
        "msg": values,
        "text": values,
        "fields": st.lists(texts | numbers, max_size=5) | values,
    },
)
logs = st.lists(entries.map(lambda entry: f"@nix {json.dumps(entry)}") | texts, max_size=12).map("\n".join)


class Screen:
    verbosity = 1
    columns = 79

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, text: str, **_how: Any) -> None:
        self.shown.append(text)


@given(logs, st.integers(-9, 255), st.text())
def test_any_log_has_a_harmless_result(log: str, code: int, stdout: str) -> None:
    screen, logs, news = Screen(), BuildLogs(), BuilderNews()
    now = iter(range(0, 10**6, 10))
    progress = Progress(
        screen, prefix="web1", muted=False, mode="lines", clock=lambda: float(next(now)), on_terminal=False
    )

    def event(each: LogEvent) -> None:
        logs.event(each)
        news.event(each)
        progress.event(each)

    result = result_of_log(["nix-store"], code, stdout, log, on_event=event, where="web1")
    error = result.error(step="build").result("web1")
    failures = own_failures(result.errors)
    parse_plan(result.errors)
    told = [
        *screen.shown, *result.errors, *result.stderr.split("\n"), error["msg"], *error.get("output", ()),
        *(failure.reason for failure in failures), *news.warnings(),
        *(line for each in logs.built() for line in logs.tail(each)),
    ]  # fmt: skip
    for text in told:
        assert clean(text) == text
        text.encode()


def test_an_endless_log_of_errors_keeps_the_first_ones() -> None:
    log = "\n".join(f"error: number {number}" for number in range(ERRORS_KEPT + 100))
    result = _result.result_of_log(["nix-store"], 1, "", log)
    assert len(result.errors) == ERRORS_KEPT
    assert "number 0" in result.errors[0]
