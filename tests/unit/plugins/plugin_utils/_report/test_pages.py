# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages: whatever a host says stays text, nothing comes from elsewhere, and the colours can be told apart."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_reports import BEGAN, a_plan, a_run, a_status, run_report

from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.facts import OUTCOMES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet_page import fleet_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.pages import FILES, LOOKS, differences
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_page import plan_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run import RunReport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run_page import run_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.timeline import time_line

PAGES: dict[str, Callable[[str], str]] = {
    "run": lambda said: run_page(run_report(said)),
    "fleet": lambda said: fleet_page(a_status(said)),
    "plan": lambda said: plan_page(a_plan(said)),
}
VOID = {"meta", "br"}
# Where a page may name another place: in itself.
PLACES = ("href", "src", "xlink:href", "action", "data", "srcset", "style")


class Reader(HTMLParser):
    """Reads a page: its elements, their attributes and its text. Elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shapes: list[tuple[str, ...]] = []
        self.values: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.style = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shapes.append((tag, *(name for name, _value in attrs)))
        self.values += [value or "" for _name, value in attrs]
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.values.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</title></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)//&lt;b&gt;&#60;i&#62;",
    "<!-- --><![CDATA[ ]]>",
)
markup = st.text(st.sampled_from("<>&\"'`=/ {}%;:#-!aé\u202e\x1b"), max_size=30) | st.text(max_size=20)


@pytest.mark.parametrize("name", PAGES)
@given(said=st.sampled_from(HOSTILE) | markup)
def test_what_a_host_says_stays_text(name: str, said: str) -> None:
    harmless, page = Reader(PAGES[name]("-x")), Reader(PAGES[name](f"-{said}-"))
    # No element and no attribute more than with harmless words, whose lines and parts are as many or more.
    assert set(page.shapes) <= set(harmless.shapes)
    assert page.style == harmless.style
    assert {value for name, value in page.attributes if name in PLACES} <= {
        f"#host-{number}" for number in range(1, 20)
    }


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("said", HOSTILE)
def test_it_is_shown_as_it_is(name: str, said: str) -> None:
    assert any(said in value for value in Reader(PAGES[name](said)).values)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_and_allows_nothing_else(name: str) -> None:
    text = PAGES[name]("")
    page = Reader(text)
    policy = next((value for value in page.values if value.startswith("default-src")), "")
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert {tag for tag, *_names in page.shapes}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "base"}
    )
    assert not re.search(r"url\(|@import|https?:", page.style + text)
    assert "style" not in {name for _tag, *names in page.shapes for name in names}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_heard(name: str) -> None:
    page = Reader(PAGES[name](""))
    tags = [tag for tag, *_names in page.shapes]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("table") == tags.count("caption")
    assert ("html", "lang") in page.shapes
    identifiers = [value for key, value in page.attributes if key == "id"]
    assert len(identifiers) == len(set(identifiers))
    named = {value for key, value in page.attributes if key == "aria-labelledby"}
    targets = {value.removeprefix("#") for key, value in page.attributes if key == "href"}
    assert named | targets <= set(identifiers)
    # Each drawing has words, or is an ornament of words beside it.
    top = [shape for shape in page.shapes if shape[0] == "svg" and "x" not in shape]
    assert all({"aria-label", "aria-hidden"} & set(shape) for shape in top)


def test_the_page_of_a_run_tells_what_happened() -> None:
    text = " ".join(Reader(run_page(run_report())).values)
    for part in (
        "Deploy failed",
        "mail",
        "health check failed: port 25: Connection refused",
        "warning: postfix.service failed",
        "openssl",
        "3.4.2",
        "+332.0 KiB",
        "nginx.service, sshd.service",
        "reboot required: kernel, initrd",
        path_of := "/nix/store/" + "b" * 32 + "-nixos-system-web2-25.11.20261120",
        "then failed: Smoke test",
        "not-attempted",
    ):
        assert part in text, part
    assert path_of in text
    assert "hunter2" not in text
    assert "nothing was changed" not in text.lower()


def test_the_page_of_check_mode_says_would() -> None:
    text = " ".join(Reader(run_page(run_report(check_mode=True))).values)
    assert "would be committed" in text
    assert "Nothing was changed" in text


def test_the_page_of_a_run_that_has_not_ended_says_so() -> None:
    assert "Not finished" in run_page(a_run().report(None))
    assert "Nothing to do" in run_page(RunReport(playbook="x.yml", began=BEGAN).report(BEGAN + 1))


def test_the_page_of_a_fleet_tells_what_is_due() -> None:
    text = " ".join(Reader(fleet_page(a_status())).values)
    for part in (
        "4 of 5 hosts need attention",
        "1 failed",
        "drift: build",
        "quarantine",
        "deploy:20260919",
        "rollback",
    ):
        assert part in text, part


def test_the_page_of_a_plan_tells_what_would_change() -> None:
    text = " ".join(Reader(plan_page(a_plan())).values)
    for part in (
        "2 of 4 hosts would change",
        "due afterwards",
        "tls-key",
        "it could not be reached",
        "Unchanged",
    ):
        assert part in text, part


def test_equal_differences_stand_once() -> None:
    closure = {"packages": [{"name": "a", "before": [], "after": ["1"]}], "size_before": 1, "size_after": 2}
    found = differences(
        [("web1", closure), ("web2", {}), ("web3", dict(closure)), ("web4", {"packages": "?"})]
    )
    assert [each["hosts"] for each in found] == [["web1", "web3"]]


def test_every_outcome_has_a_look() -> None:
    assert list(LOOKS) == list(OUTCOMES)


# --- the time line ----------------------------------------------------------------------------------------------------


def test_the_time_line_has_the_phases_where_they_were() -> None:
    line = time_line(run_report()["hosts"])
    assert line
    rows = {row["name"]: row["bars"] for row in line["rows"]}
    assert [phase["kind"] for phase in rows["mail"]] == ["build", "copy", "activate", "check", "roll back"]
    assert [phase["bad"] for phase in rows["mail"]] == [False, False, False, False, True]
    assert [phase["kind"] for phase in rows["web2"]] == ["build", "copy", "activate", "check", "commit"]
    assert rows["never"] == []
    for bars in rows.values():
        edges = [edge for phase in bars for edge in (phase["x"], phase["x"] + phase["width"])]
        assert all(0 <= edge <= 100.5 for edge in edges)
        assert all(phase["x"] <= after["x"] for phase, after in itertools.pairwise(bars))
    assert line["kinds"] == ["build", "copy", "activate", "check", "commit", "roll back", "secrets", "other"]


def test_a_guard_that_counts_more_than_the_task_took() -> None:
    phases = [
        {"name": "activating", "seconds": 30},
        {"name": "committing", "seconds": 10},
        {"name": "?", "seconds": 9},
    ]
    step = {"action": "nix_switch", "status": "ok", "begin": 5.0, "seconds": 20.0, "phases": phases}
    line = time_line({"web1": {"steps": [step]}, "web2": {"steps": []}})
    assert line
    assert [(phase["kind"], phase["width"]) for phase in line["rows"][0]["bars"]] == [
        ("activate", 75.0),
        ("commit", 25.0),
    ]
    assert time_line({"web2": {"steps": []}}) is None


@pytest.mark.parametrize("seconds", [0.0, 0.3, 7.0, 61.0, 3700.0, 1e6, 1e9])
def test_a_time_line_of_any_length_has_few_ticks(seconds: float) -> None:
    step = {"action": "nix_build", "status": "ok", "begin": 0.0, "seconds": seconds, "phases": []}
    line = time_line({"web1": {"steps": [step]}})
    assert line
    assert 1 <= len(line["ticks"]) <= 1001
    assert seconds > 1e6 or len(line["ticks"]) <= 13


# --- the colours ------------------------------------------------------------------------------------------------------

STYLE = Path(FILES / "style.css").read_text()
THEMES = dict(
    zip(
        ("light", "dark"),
        (
            dict(re.findall(r"--([\w-]+): (#\w+)", block))
            for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)[:2]
        ),
        strict=True,
    )
)
BARS = re.findall(r"\.k-([\w-]+) \{", STYLE)


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    digits = "".join(2 * digit for digit in colour[1:]) if len(colour) == 4 else colour[1:]
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_the_text_has_the_contrast_that_wcag_asks_for(theme: str) -> None:
    colours = THEMES[theme]
    words = [(ink, ground) for ink in ("ink", "soft", "info") for ground in ("paper", "card", "inset")]
    words += [(tone, f"{tone}-bg") for tone in ("good", "bad", "warn", "info", "same")]
    words += [("on-bar", phase) for phase in BARS]
    poor = [pair for pair in words if contrast(colours[pair[0]], colours[pair[1]]) < 4.5]
    poor += [(phase, "inset") for phase in BARS if contrast(colours[phase], colours["inset"]) < 3]
    assert not poor
    assert len(BARS) == 9
