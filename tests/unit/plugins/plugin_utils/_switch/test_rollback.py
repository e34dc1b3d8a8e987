# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult, read_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import parse_answer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.rollback import (
    Chosen,
    choose_generation,
    further_back,
    nearest_deploys,
    remembered_deploys,
)

ONE, TWO, THREE = (f"/nix/store/{letter * 32}-system" for letter in "abc")


def probe(
    current: int, dates: dict[str, int] | None = None, history: tuple[str, ...] = (), **generations: str
) -> ProbeResult:
    lines = [
        f"generations={number} {(dates or {}).get(number, 1000)} {path}"
        for number, path in generations.items()
    ]
    lines += [f"history={line}" for line in history]
    target = generations.get(str(current), "")
    answer = ["nixferry=1", f"generation={current or ''}", f"profile_target={target}", *lines, "end=probe"]
    return read_probe(parse_answer("probe", RemoteResult(0, "\n".join(answer), "")))


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


@pytest.mark.parametrize(
    "to",
    ["yesterday", "-1", "", "1.5", "²", "9" * 6000, f"{ONE}/bin", "deploy", "20260921T141300-00000001"],
)
def test_anything_else_is_refused(to: str) -> None:
    with pytest.raises(NixferryError, match="neither previous"):
        choose_generation(probe(1, **{"1": ONE}), to)


def run_at(minute: int) -> str:
    """The id of a run that began at 14:`minute` UTC."""
    return f"20260921T14{minute:02}00-000000{minute:02}"


def at(minute: int, seconds: int = 0) -> int:
    return BEGIN + 60 * minute + seconds


def line(generation: int, path: str, minute: int, *, run: int | None = None, ahead: int = 0) -> str:
    """A deploy that was committed ten seconds after the run began, by a clock that is `ahead` of the controller's."""
    deploy = "" if run is None else f"deploy={run_at(run)} "
    return f"{generation} {path} {at(minute, 10 + ahead)} id switch - {deploy}ann@laptop"


BEGIN = int(datetime(2026, 9, 21, 14, 0, tzinfo=UTC).timestamp())
# Three runs on the whole fleet; this host was left out of the second, and generation 4 was made by hand.
HISTORY = (line(2, ONE, 10, run=10), line(3, TWO, 30, run=30))
GENERATIONS = {"1": THREE, "2": ONE, "3": TWO, "4": THREE}
DATES = {"1": at(0), "2": at(10, 11), "3": at(30, 11), "4": at(50)}


# What the other hosts of the fleet remember.
KNOWN = [run_at(minute) for minute in (5, 9, 10, 11, 20, 30, 31, 40, 55)]


def fleet_host(history: tuple[str, ...] = HISTORY, without: str = "", ahead: int = 0) -> ProbeResult:
    generations = {number: path for number, path in GENERATIONS.items() if number not in without}
    dates = {number: date + ahead for number, date in DATES.items()}
    return probe(4, dates, history, **generations)


@pytest.mark.parametrize(
    ("to", "number"),
    [
        (f"deploy:{run_at(10)}", 2),
        (f"deploy:{run_at(30)}", 3),
        # Left out: what it held when the others were switched.
        (f"deploy:{run_at(20)}", 2),
        (f"deploy:{run_at(9)}", 1),
        (f"deploy:{run_at(55)}", 4),
        ("time:2026-09-21T14:20:00Z", 2),
        ("time:2026-09-21T16:20:00+02:00", 2),
        ("time:2026-09-21T14:10:05", 1),
        ("time:2026-09-21T14:30:12", 3),
        ("time:2026-09-21", None),
    ],
)
def test_a_fleet_goes_back_to_a_deploy_or_a_time(to: str, number: int | None) -> None:
    if number is None:
        with pytest.raises(NixferryError, match="as old as 2026-09-21 00:00:00 UTC"):
            choose_generation(fleet_host(), to, KNOWN)
        return
    chosen = choose_generation(fleet_host(), to, KNOWN)
    assert (chosen.number, chosen.path) == (number, GENERATIONS[str(number)])
    # A host without a history, as earlier versions leave it, says the same as long as all generations are there.
    if "deploy" not in to or number != 3:
        assert choose_generation(fleet_host(()), to.replace(run_at(10), run_at(11)), KNOWN).number == number


def test_the_hosts_clock_does_not_matter_to_runs() -> None:
    for ahead in (-500, 500):
        history = (line(2, ONE, 10, run=10, ahead=ahead), line(3, TWO, 30, run=30, ahead=ahead))
        host = fleet_host(history, ahead=ahead)
        assert choose_generation(host, f"deploy:{run_at(11)}", KNOWN).number == 2
        assert choose_generation(host, f"deploy:{run_at(31)}", KNOWN).number == 3


def test_a_deploy_that_made_no_generation_of_its_own_is_found() -> None:
    again = (*HISTORY, line(3, TWO, 40, run=40))
    assert choose_generation(fleet_host(again), f"deploy:{run_at(30)}").number == 3
    assert choose_generation(fleet_host(again), f"deploy:{run_at(40)}").number == 3


@pytest.mark.parametrize(
    ("to", "without", "words"),
    [
        (
            f"deploy:{run_at(30)}",
            "3",
            "generation 3, which was deployed on 2026-09-21 14:30 UTC, was deleted",
        ),
        (
            f"deploy:{run_at(20)}",
            "2",
            "generation 2, which was deployed on 2026-09-21 14:10 UTC, was deleted",
        ),
        ("time:2026-09-21T14:05:00Z", "1", "known to be as old"),
        ("time:2226-09-21T14:05:00Z", "", "in the future"),
        ("time:yesterday", "", "is not a valid time"),
        ("deploy:web", "", "is not a valid deploy id"),
        ("deploy:20269921T141300-00000001", "", "is not a valid deploy id"),
    ],
)
def test_what_was_deleted_or_makes_no_sense_is_said(to: str, without: str, words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        choose_generation(fleet_host(without=without), to, KNOWN)


def test_a_gap_is_not_guessed_over() -> None:
    """Without a history, a generation that is gone may have been the one."""
    host = fleet_host((), without="2")
    with pytest.raises(NixferryError, match="the deleted generations 2 may have been current then"):
        choose_generation(host, f"deploy:{run_at(20)}", KNOWN)
    # What is known to have been deployed later was not.
    later = (line(2, ONE, 10, run=10),)
    assert choose_generation(fleet_host(later, without="2"), f"deploy:{run_at(5)}", KNOWN).number == 1


def test_the_same_system_under_another_number_will_do() -> None:
    host = probe(5, {"1": at(0), "5": at(50)}, HISTORY, **{"1": THREE, "5": TWO})
    assert choose_generation(host, f"deploy:{run_at(30)}").number == 5


def test_of_a_run_that_switched_a_host_twice_the_end_counts() -> None:
    """A transaction has taken the host back; its generations carry no dates that would tell."""
    history = (line(2, TWO, 10, run=10), line(3, ONE, 11, run=10))
    host = probe(3, {"1": at(0), "2": at(0), "3": at(0)}, history, **{"1": ONE, "2": TWO, "3": ONE})
    for run in (10, 20):
        assert choose_generation(host, f"deploy:{run_at(run)}", KNOWN).number == 3


MISTYPED = run_at(10).replace("-0000", "-0001")


def test_an_unknown_deploy_is_not_taken_for_its_time() -> None:
    """A mistyped id has a time in it all the same, and this host has held something then."""
    with pytest.raises(NixferryError, match=f"no host that was asked knows the deploy {MISTYPED}") as caught:
        choose_generation(fleet_host(), f"deploy:{MISTYPED}", [run_at(20), run_at(55)])
    nearest = caught.value.cause.split("come nearest are ")[1].split(", ")
    assert nearest[0] == run_at(10)
    assert len(nearest) == 3
    assert "time:2026-09-21T14:10:00Z" in caught.value.remedy


def test_a_deploy_counts_as_known_when_another_host_or_the_host_itself_remembers_it() -> None:
    host = fleet_host()
    with pytest.raises(NixferryError, match="no host that was asked knows"):
        choose_generation(host, f"deploy:{run_at(20)}", [run_at(21)])
    assert choose_generation(host, f"deploy:{run_at(20)}", [run_at(20)]).number == 2
    assert choose_generation(host, f"deploy:{run_at(30)}").number == 3
    # A host that has been added to the fleet since.
    with pytest.raises(NixferryError, match=r"no generation of .* is known to be as old"):
        choose_generation(probe(1, {"1": at(50)}, **{"1": ONE}), f"deploy:{run_at(20)}", [run_at(20)])


def test_what_a_host_is_asked_for_decides_for_the_others() -> None:
    """Each tells a few ids only, and the wanted one is among them wherever it is known."""
    many = fleet_host(tuple(line(2, ONE, minute, run=minute) for minute in range(60)))
    known = remembered_deploys(many)
    for wanted in (run_at(7), run_at(59)):
        told = nearest_deploys(wanted, known)
        assert (told[0], len(told)) == (wanted, 3)
        assert choose_generation(fleet_host(()), f"deploy:{wanted}", told).number
    assert MISTYPED not in nearest_deploys(MISTYPED, known)
    # Nothing is looked for, or a deploy of an older version has no id.
    assert nearest_deploys("", known) == []
    assert nearest_deploys(MISTYPED, remembered_deploys(fleet_host((line(2, ONE, 10),)))) == []


def test_a_host_that_remembers_too_much_does_not_hold_up_the_others() -> None:
    known = [
        run_at(7),
        *(f"20991231T{number:06}-deadbeef" for number in range(60_000)),
        "x" * 4000,
        "y" * 4000,
    ]
    begin = time.monotonic()
    assert nearest_deploys(run_at(7), known)[0] == run_at(7)
    assert time.monotonic() - begin < 20


def test_hosts_that_remember_nothing_say_so() -> None:
    with pytest.raises(NixferryError, match="none is known at all"):
        choose_generation(probe(1, **{"1": ONE}), f"deploy:{run_at(20)}")


def test_a_record_beside_its_generation_is_remembered_without_a_history() -> None:
    """A full disk may have cost the history."""
    record = line(2, ONE, 10, run=10)
    answer = ["nixferry=1", "generation=2", f"profile_target={ONE}", f"deploy={record}"]
    answer += [f"generations=1 1000 {THREE}", f"generations=2 1000 {ONE}", "end=probe"]
    host = read_probe(parse_answer("probe", RemoteResult(0, "\n".join(answer), "")))
    assert choose_generation(host, f"deploy:{run_at(10)}").number == 2


A, B, C = "20260101T100000-aaaaaaaa", "20260102T100000-bbbbbbbb", "20260103T100000-cccccccc"


def last_deployed(deploy: str) -> ProbeResult:
    lines = ["nixferry=1", "generation=2", "profile_target=x", "end=probe"]
    if deploy:
        lines.insert(1, f"deployed=2 {TWO} 1000 x switch - deploy={deploy} ann@laptop")
    return read_probe(parse_answer("probe", RemoteResult(0, "\n".join(lines), "")))


def test_a_host_that_the_last_deploy_did_not_change_is_warned_of() -> None:
    warning = further_back(last_deployed(B), {A, B, C})
    assert f"the last deploy, {C}, did not change this host, so `previous` undoes deploy {B} here" in warning
    assert f"deploy:{B} takes all hosts to what they had before the last deploy" in warning
    only = further_back(last_deployed(""), {C})
    assert "undoes what it had before here" in only
    assert "takes all hosts" not in only


@pytest.mark.parametrize(
    ("own", "known"), [(C, {A, B, C}), (B, {B}), (C, {A, B}), (A, set()), ("", {"", "invalid"})]
)
def test_a_host_that_the_last_deploy_changed_goes_back_without_a_word(own: str, known: set[str]) -> None:
    assert further_back(last_deployed(own), known) == ""
