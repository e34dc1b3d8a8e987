# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    Attribute,
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.costs import (
    remember_cost,
    remembered_cost,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation, evaluate
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import (
    MEMORY_RESERVE_MIB,
    Budget,
    Cost,
    Limits,
    available_memory_mib,
    chunk_size,
    default_limits,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixRequest, NixResult

# The requests in the question that an evaluator is asked: { "0" = [ "web1" ]; }
ENTRY = re.compile(r'"(\d+)" = \[ ((?:"[^"]*" )*)\];')
PLENTY = Limits(memory_mib=100_000, evaluators=1)
ROOT = ExpressionRoot("import ./fleet.nix")


class Evaluators:
    """Answers questions like Nix would: an attribute in ``broken`` spoils every question that it is part of."""

    def __init__(self, broken: Sequence[str] = (), *, root_is_broken: bool = False) -> None:
        self.broken = broken
        self.root_is_broken = root_is_broken
        self.asked: list[list[str]] = []
        self.locked: list[str] = []
        self.parallel: list[int] = []

    def run_many(
        self,
        requests: Sequence[NixRequest],
        *,
        step: str,
        parallel: int,
        on_start: Callable[[NixRequest], None] | None = None,
        **_more: object,
    ) -> list[NixResult]:
        assert step == "evaluate"
        self.parallel.append(parallel)
        results = []
        for request in requests:
            if on_start is not None:
                on_start(request)
            results.append(self.answer(request))
        return results

    def answer(self, request: NixRequest) -> NixResult:
        if "metadata" in request.arguments:
            self.locked.append(request.arguments[-1])
            return (
                self.failure("no lock") if self.root_is_broken else NixResult(0, "{}", "", request.arguments)
            )
        text = (request.input or b"").decode() or request.arguments[request.arguments.index("--apply") + 1]
        question = text.rpartition("requests = ")[2]
        paths = {number: re.findall(r'"([^"]*)"', names) for number, names in ENTRY.findall(question)}
        self.asked.append([".".join(names) for names in paths.values()])
        if self.root_is_broken:
            return self.failure("the file is broken")
        for names in paths.values():
            if names[0] in self.broken:
                return self.failure(f"{names[0]} is broken")
        answers = {
            number: {"drv_path": f"/nix/store/{names[0]}.drv", "outputs": {"out": f"/nix/store/{names[0]}"}}
            for number, names in paths.items()
        }
        return NixResult(0, json.dumps(answers), "", request.arguments)

    @staticmethod
    def failure(message: str) -> NixResult:
        return NixResult(1, "", "", ("nix",), errors=(f"error: {message}",))


def ask(
    evaluators: Evaluators, attributes: dict[str, Attribute], limits: Limits = PLENTY
) -> dict[str, object]:
    return dict(evaluate(evaluators, attributes, limits=limits, deadline=None))  # type: ignore[arg-type]


def hosts(*names: str) -> dict[str, Attribute]:
    return {name: Attribute(ROOT, (name,)) for name in names}


def evaluation(name: str) -> Evaluation:
    return Evaluation(f"/nix/store/{name}.drv", {"out": f"/nix/store/{name}"})


def test_hosts_are_evaluated_together() -> None:
    evaluators = Evaluators()
    assert ask(evaluators, hosts("web1", "web2")) == {"web1": evaluation("web1"), "web2": evaluation("web2")}
    assert evaluators.asked == [["web1", "web2"]]


def test_an_attribute_of_several_hosts_is_evaluated_once() -> None:
    evaluators = Evaluators()
    same = {name: Attribute(ROOT, ("shared",)) for name in ("web1", "web2", "web3")}
    assert ask(evaluators, same) == dict.fromkeys(same, evaluation("shared"))
    assert evaluators.asked == [["shared"]]


def test_a_broken_host_fails_alone_and_with_its_own_error() -> None:
    evaluators = Evaluators(broken=["web2"])
    answers = ask(evaluators, hosts("web1", "web2", "web3"))
    assert answers["web1"] == evaluation("web1")
    assert answers["web3"] == evaluation("web3")
    error = answers["web2"]
    assert isinstance(error, NixferryError)
    assert (error.cause, error.step) == ("web2 is broken", "evaluate")
    # Together, then the root alone, then each by itself.
    assert evaluators.asked == [["web1", "web2", "web3"], [], ["web1"], ["web2"], ["web3"]]


def test_a_broken_file_is_not_evaluated_for_each_host() -> None:
    evaluators = Evaluators(root_is_broken=True)
    answers = ask(evaluators, hosts(*(f"web{number}" for number in range(50))))
    assert all(
        isinstance(each, NixferryError) and each.cause == "the file is broken" for each in answers.values()
    )
    assert len(evaluators.asked) == 2


def test_a_single_broken_host_is_evaluated_once() -> None:
    evaluators = Evaluators(broken=["web1"])
    assert isinstance(ask(evaluators, hosts("web1"))["web1"], NixferryError)
    assert evaluators.asked == [["web1"]]


def test_hosts_with_different_roots_are_asked_apart() -> None:
    evaluators = Evaluators()
    attributes = {**hosts("web1"), "web2": Attribute(ExpressionRoot("other"), ("web2",))}
    assert ask(evaluators, attributes) == {"web1": evaluation("web1"), "web2": evaluation("web2")}
    assert evaluators.asked == [["web1"], ["web2"]]


def test_answers_come_in_the_order_of_the_hosts() -> None:
    names = [f"web{number}" for number in range(20)]
    answers = ask(Evaluators(broken=["web3"]), hosts(*names), Limits(memory_mib=100_000, evaluators=4))
    assert list(answers) == names


def test_chunks_share_the_work_between_evaluators() -> None:
    evaluators = Evaluators()
    ask(evaluators, hosts("a", "b", "c", "d", "e"), Limits(memory_mib=100_000, evaluators=2))
    assert evaluators.asked == [["a", "b", "c"], ["d", "e"]]
    assert set(evaluators.parallel) == {2}


def test_a_flake_is_locked_before_evaluators_run_side_by_side() -> None:
    evaluators = Evaluators()
    root = FlakeRoot("github:o/r", "nixosConfigurations")
    attributes = {name: Attribute(root, (name,)) for name in ("a", "b")}
    ask(evaluators, attributes, Limits(memory_mib=100_000, evaluators=2))
    assert evaluators.locked == ["github:o/r"]
    alone = Evaluators()
    ask(alone, attributes)
    assert alone.locked == []


def test_a_flake_that_cannot_be_locked_fails_for_its_hosts() -> None:
    root = FlakeRoot("github:o/r", "nixosConfigurations")
    evaluators = Evaluators(root_is_broken=True)
    answers = ask(
        evaluators,
        {name: Attribute(root, (name,)) for name in ("a", "b")},
        Limits(memory_mib=100_000, evaluators=2),
    )
    assert [str(each) for each in answers.values()] == ["evaluate: no lock"] * 2
    assert evaluators.asked == []


def test_an_answer_that_is_no_json_is_an_error() -> None:
    class Confused(Evaluators):
        def answer(self, request: NixRequest) -> NixResult:
            return NixResult(0, "hello", "", request.arguments)

    with pytest.raises(NixferryError, match="cannot be read"):
        ask(Confused(), hosts("web1"))


FIRST, FURTHER = 800, 300
COST = Cost(FIRST, FURTHER)


@pytest.mark.parametrize(
    ("attributes", "memory", "evaluators", "expected"),
    [
        (1, 100_000, 8, (1, 1)),
        (10, 100_000, 2, (5, 2)),
        (10, 100_000, 3, (4, 3)),
        # Memory for two in each of two evaluators.
        (100, MEMORY_RESERVE_MIB + 2 * (FIRST + FURTHER), 2, (2, 2)),
        (100, MEMORY_RESERVE_MIB + 2 * (FIRST + FURTHER) - 1, 2, (1, 2)),
        (100, MEMORY_RESERVE_MIB + FIRST, 8, (1, 1)),
        # Less than the reserve: one at a time, but never none.
        (100, 100, 8, (1, 1)),
        (0, 100_000, 4, (1, 1)),
    ],
)
def test_chunk_sizes(attributes: int, memory: int, evaluators: int, expected: tuple[int, int]) -> None:
    assert chunk_size(attributes, Limits(memory, evaluators), COST) == expected


@given(
    st.integers(0, 10_000),
    st.integers(0, 1_000_000),
    st.integers(1, 256),
    st.integers(64, 8000),
    st.integers(64, 8000),
)
def test_chunks_keep_to_the_limits(
    attributes: int, memory: int, evaluators: int, first: int, further: int
) -> None:
    cost = Cost(first, further)
    size, processes = chunk_size(attributes, Limits(memory, evaluators), cost)
    assert size >= 1
    assert 1 <= processes <= evaluators
    assert size * processes == 1 or MEMORY_RESERVE_MIB + processes * cost.of(size) <= memory


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], COST),
        ([(1, 0), (5, 0)], COST),
        ([(1, 900), (1, 1100)], Cost(1100, FURTHER)),
        # The first host of three took 700 at least: the others 400 each at most.
        ([(1, 700), (1, 900), (3, 1500)], Cost(900, 400)),
        # Alone unknown: no more than all of them together.
        ([(3, 1400), (2, 900)], Cost(FIRST, 300)),
        ([(4, 500)], Cost(500, 64)),
    ],
)
def test_what_was_measured_is_learned(measured: list[tuple[int, int]], expected: Cost) -> None:
    assert COST.learned(measured) == expected


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50_000)), max_size=20))
def test_what_was_learned_covers_what_was_measured(measured: list[tuple[int, int]]) -> None:
    learned = COST.learned(measured)
    assert all(learned.of(hosts) >= peak for hosts, peak in measured)


def test_evaluators_that_take_more_than_expected_leave_room_for_fewer() -> None:
    budget = Budget(3000, 1000)
    assert budget.may_start([100, 0])
    assert not budget.may_start([100, 0, 0])
    assert not budget.may_start([1600])
    # Another one like that may come.
    assert not budget.may_start([200])
    assert budget.may_start([])


def test_costs_are_remembered_by_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = FlakeRoot("/one", "x"), FlakeRoot("/other", "x")
    assert remembered_cost([one]) == Cost()
    remember_cost(one, [(1, 0)])
    assert remembered_cost([one]) == Cost()
    remember_cost(one, [(1, 2000), (2, 2500)])
    assert remembered_cost([one]) == Cost(2000, 500)
    assert remembered_cost([other]) == Cost()
    assert remembered_cost([other, one]) == Cost(2000, 500)
    # A few small hosts do not make the large ones be forgotten.
    remember_cost(one, [(1, 1000)])
    assert remembered_cost([one]).first == 1500
    for file in (tmp_path / "nixferry/memory").iterdir():
        file.write_text('{"first": "1", "further": -3}')
    assert remembered_cost([one]) == Cost()


def machine(root: Path, *, available_kib: int | None, limit: str = "", used: str = "") -> Path:
    for name, text in {
        "proc/meminfo": None
        if available_kib is None
        else f"MemTotal: 1 kB\nMemAvailable:   {available_kib} kB\n",
        "sys/fs/cgroup/memory.max": limit,
        "sys/fs/cgroup/memory.current": used,
    }.items():
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("available", "limit", "used", "expected"),
    [
        (8 * 1024**2, "", "", 8192),
        (8 * 1024**2, "max\n", "1\n", 8192),
        (8 * 1024**2, f"{4 * 1024**3}\n", f"{1024**3}\n", 3072),
        (2 * 1024**2, f"{4 * 1024**3}\n", f"{1024**3}\n", 2048),
        (8 * 1024**2, "100\n", "200\n", 0),
    ],
)
def test_memory_of_machine_and_container(
    tmp_path: Path, available: int, limit: str, used: str, expected: int
) -> None:
    assert (
        available_memory_mib(machine(tmp_path, available_kib=available, limit=limit, used=used)) == expected
    )


def test_a_system_that_does_not_tell_has_half_of_its_memory_available(tmp_path: Path) -> None:
    assert available_memory_mib(tmp_path) > 0


def test_given_limits_win() -> None:
    assert default_limits(2048, 3) == Limits(2048, 3)
    assert default_limits().evaluators >= 1


def test_hosts_that_differ_in_their_arguments_share_an_evaluator() -> None:
    evaluators = Evaluators()
    attributes = {
        "web1": Attribute(ROOT, ("web",), '{ "n" = 1; }'),
        "web2": Attribute(ROOT, ("web",), '{ "n" = 2; }'),
        "web3": Attribute(ROOT, ("web",)),
        "web4": Attribute(ROOT, ("web",)),
    }
    answers = evaluate(evaluators, attributes, limits=PLENTY, deadline=None)  # type: ignore[arg-type]
    assert len(evaluators.asked) == 1
    assert len(evaluators.asked[0]) == 3
    assert set(answers) == set(attributes)
    request = ROOT.request({"0": ("web",), "1": ("web",)}, special_args={"0": '{ "n" = 1; }', "1": ""})
    assert b'specialArgs = { "0" = { "n" = 1; }; };' in (request.input or b"")


def test_long_arguments_are_parted() -> None:
    evaluators = Evaluators()
    long = '{ "n" = "' + "x" * 40_000 + '"; }'
    attributes = {f"web{n}": Attribute(ROOT, (f"web{n}",), long) for n in range(5)}
    answers = evaluate(evaluators, attributes, limits=PLENTY, deadline=None)  # type: ignore[arg-type]
    assert [len(asked) for asked in evaluators.asked] == [2, 2, 1]
    assert all(isinstance(answer, Evaluation) for answer in answers.values())
