# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as the user sees them: words, and the same words as data."""

from __future__ import annotations

import json

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.explain import CopyError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    OUTPUT_TAIL_LINES,
    NixferryError,
    Step,
)

ERROR = NixferryError(
    "the disk is full\n", step=Step.COPY, remedy="Free space.", output=[str(n) for n in range(100)]
)


def test_the_text_names_host_step_cause_and_remedy() -> None:
    assert ERROR.text("web1") == "web1: copy failed: the disk is full\nWhat to do: Free space."


@pytest.mark.parametrize(("where", "place"), [("", ""), (CONTROLLER, ""), ("web1", ""), ("big", " on big")])
def test_another_host_is_named(where: str, place: str) -> None:
    assert ERROR.with_(where=where).text("web1").startswith(f"web1: copy{place} failed")


@pytest.mark.parametrize(("where", "told"), [("", "web1"), (CONTROLLER, CONTROLLER), ("big", "big")])
def test_a_result_has_the_same_as_data(where: str, told: str) -> None:
    result = ERROR.with_(where=where).result("web1")
    output = result.pop("output")
    assert result == {
        "failed": True,
        "changed": False,
        "msg": ERROR.with_(where=where).text("web1"),
        "where": told,
        "step": "copy",
        "cause": "the disk is full",
        "remedy": "Free space.",
    }
    assert output == [str(n) for n in range(100 - OUTPUT_TAIL_LINES, 100)]
    # Ansible passes plain strings on, and knows no enumerations.
    assert not isinstance(result["step"], Step)
    assert json.loads(json.dumps(result)) == result


def test_an_error_never_changes() -> None:
    for name in ("cause", "step", "remedy", "output", "where"):
        with pytest.raises(AttributeError):
            setattr(ERROR, name, "x")
    ERROR.output.append("more")
    assert "more" not in ERROR.output


def test_with_keeps_type_and_all_else() -> None:
    error = CopyError("cut", remedy="Again.", output=["x"], transient=True)
    other = error.with_(cause="cut off", where=CONTROLLER)
    assert (type(other), other.transient, other.remedy, other.output) == (CopyError, True, "Again.", ["x"])
    assert (other.cause, str(other), other.where) == ("cut off", "copy: cut off", CONTROLLER)
    assert (error.cause, error.where) == ("cut", "")
