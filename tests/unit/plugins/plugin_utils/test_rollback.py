# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._connection import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard_probe import ProbeResult, parse_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._rollback import Chosen, choose_generation

ONE, TWO = (f"/nix/store/{letter * 32}-system" for letter in "ab")


def probe(current: int, **generations: str) -> ProbeResult:
    lines = [f"generations={number} 1000 {path}" for number, path in generations.items()]
    target = generations.get(str(current), "")
    answer = ["nixferry=1", f"generation={current or ''}", f"profile_target={target}", *lines, "end=probe"]
    return parse_probe(RemoteResult(0, "\n".join(answer), ""))


def test_previous_skips_generations_that_hold_the_same_system() -> None:
    assert choose_generation(probe(3, **{"1": ONE, "2": TWO, "3": TWO}), "previous") == Chosen(1, ONE)


def test_previous_never_goes_forward() -> None:
    with pytest.raises(NixferryError, match="no earlier generation"):
        choose_generation(probe(1, **{"1": ONE, "2": TWO}), "previous")


def test_a_number_is_that_generation_and_nothing_else() -> None:
    host = probe(2, **{"1": ONE, "2": TWO})
    assert choose_generation(host, "1") == Chosen(1, ONE)
    assert choose_generation(host, "2") == Chosen(2, TWO)
    with pytest.raises(NixferryError, match="no generation 7") as caught:
        choose_generation(host, "7")
    assert "1, 2" in caught.value.remedy


def test_a_store_path_need_not_be_a_generation() -> None:
    assert choose_generation(probe(0), ONE) == Chosen(0, ONE)


@pytest.mark.parametrize("to", ["yesterday", "-1", "", "1.5", f"{ONE}/bin"])
def test_anything_else_is_refused(to: str) -> None:
    with pytest.raises(NixferryError, match="neither previous"):
        choose_generation(probe(1, **{"1": ONE}), to)
