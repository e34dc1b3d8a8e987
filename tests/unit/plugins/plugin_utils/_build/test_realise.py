# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.floating import built_target
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.realise import (
    Controller,
    Target,
    missing,
    plan,
    realise,
    target_of,
    target_of_store_path,
    without_log,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import (
    NixRequest,
    NixResult,
    result_of_log,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.failures import Failure, own_failures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    Result,
    Start,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import BuildLogs
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan, parse_plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import derivation_outputs

LOGS = Path(__file__).parents[3] / "fixtures" / "nix-logs"
VERSIONS = ["2.8.0", "2.26.3", "2.34.8"]


def store(name: str) -> str:
    return f"/nix/store/{'0' * 32}-{name}"


def target(name: str) -> Target:
    return Target(store(f"{name}.drv"), {"out": store(name)}, store(name))


def recorded(version: str, case: str) -> NixResult:
    log, _separator, code = (
        (LOGS / f"{version}-{case}.log").read_text(encoding="utf-8").rpartition("exit code: ")
    )
    return result_of_log(["nix-store"], int(code), "", log)


class Store:
    """Stands for nix-store: ``needs`` says what each derivation needs, ``broken`` and ``foreign`` fail."""

    def __init__(
        self,
        *,
        valid: Sequence[str] = (),
        needs: Mapping[str, Sequence[str]] | None = None,
        broken: Sequence[str] = (),
        foreign: Sequence[str] = (),
        logs: Mapping[str, str] | None = None,
    ) -> None:
        self.valid = set(valid)
        self.needs = dict(needs or {})
        self.broken = set(broken)
        self.foreign = set(foreign)
        self.logs = dict(logs or {})
        self.realised: list[list[str]] = []

    def run(self, arguments: Sequence[str], *, step: str, check: bool = True, **_limits: object) -> NixResult:
        result = self.answer(tuple(arguments))
        if check and result.return_code != 0:
            raise result.error(step=step)
        return result

    def run_many(
        self,
        requests: Sequence[NixRequest],
        *,
        step: str,
        parallel: int,
        on_start: Callable[[NixRequest], None] | None = None,
    ) -> list[NixResult]:
        assert step == "build"
        assert parallel >= 1
        assert on_start is None
        return [self.answer(request.arguments) for request in requests]

    def answer(self, arguments: tuple[str, ...]) -> NixResult:
        match arguments:
            case ("nix-store", "--check-validity", "--print-invalid", *paths):
                return self.success("\n".join(path for path in paths if path not in self.valid))
            case ("nix-store", "--query", "--requisites", path):
                return self.success("\n".join(self.closure(path)))
            case ("nix-store", "--query", "--outputs", path):
                base = path.removesuffix(".drv")
                return self.success(f"{base}\n{base}-dev\n{base}-lib-static\n")
            case ("nix-store", "--read-log", path):
                return self.success(self.logs[path]) if path in self.logs else NixResult(1, "", "", arguments)
            case ("nix-store", "--realise", "--keep-going", *paths):
                self.realised.append(paths)
                return self.realise(paths)
        raise AssertionError(f"unexpected: {arguments}")

    def success(self, text: str) -> NixResult:
        return NixResult(0, text, "", ("nix-store",))

    def closure(self, path: str) -> list[str]:
        return [each for need in self.needs.get(path, ()) for each in self.closure(need)] + [path]

    def realise(self, paths: Sequence[str]) -> NixResult:
        errors: dict[str, None] = {}
        for path in paths:
            for each in self.closure(path):
                if each in self.foreign:
                    # Nix 2.8 gives up at once.
                    error = f"error: a 'riscv64-linux' with features {{}} is required to build '{each}'"
                    return NixResult(1, "", "", ("nix-store",), errors=(error,))
                if each in self.broken:
                    errors[f"error: builder for '{each}' failed with exit code 1"] = None
            if not self.broken & set(self.closure(path)):
                self.valid.add(path.removesuffix(".drv"))
        if not errors:
            return self.success("")
        errors[f"error: build of {', '.join(repr(path) for path in paths)} failed"] = None
        return NixResult(100, "", "", ("nix-store",), errors=tuple(errors))


def realised(nix: Store, *names: str, logs: BuildLogs | None = None) -> dict[str, NixferryError]:
    targets = {name: target(name) for name in names}
    return realise(nix, targets, Controller(nix, logs or BuildLogs()), deadline=None)  # type: ignore[arg-type]


def test_all_hosts_are_realised_in_one_call() -> None:
    nix = Store()
    assert realised(nix, "web1", "web2") == {}
    assert nix.realised == [[store("web1.drv"), store("web2.drv")]]


def test_nothing_to_realise_is_no_call() -> None:
    nix = Store()
    assert realised(nix) == {}
    assert nix.realised == []


def test_a_host_fails_for_its_own_dependency_and_shows_its_log() -> None:
    dependency = store("libfoo.drv")
    nix = Store(
        needs={store("web1.drv"): [dependency], store("web2.drv"): [store("fine.drv")]}, broken=[dependency]
    )
    logs = BuildLogs()
    logs.event(Start(1, ActivityType.BUILD, 3, "", fields=(dependency, "", 1, 1)))
    logs.event(Result(1, 101, ("undefined reference",)))
    errors = realised(nix, "web1", "web2", logs=logs)
    assert set(errors) == {"web1"}
    error = errors["web1"]
    why = f"builder for '{dependency}' failed with exit code 1; {store('web1.drv')} needs it"
    assert error.cause == f"{why}; its log ends with: undefined reference"
    assert error.output == ["undefined reference"]
    assert dependency in error.remedy
    assert error.step == "build"


def test_without_its_log_a_failure_quotes_no_builder() -> None:
    nix = Store(broken=[store("web1.drv")], logs={store("web1.drv"): "one\ncanary; and more\n"})
    result = realised(nix, "web1")["web1"].result("web1")
    assert "canary" in result["msg"]
    silent = without_log({"hosts": {"web1": result}, "failed": True})
    assert "canary" not in str(silent)
    assert silent["hosts"]["web1"]["remedy"] == result["remedy"]
    assert "What to do: See in `output`" in silent["hosts"]["web1"]["msg"]


def test_a_log_that_did_not_come_by_is_read_from_the_store() -> None:
    nix = Store(broken=[store("web1.drv")], logs={store("web1.drv"): "one\ntwo\n"})
    assert realised(nix, "web1")["web1"].output == ["one", "two"]


def test_several_culprits_are_all_named() -> None:
    culprits = [store("a.drv"), store("b.drv")]
    nix = Store(needs={store("web1.drv"): culprits}, broken=culprits)
    message = realised(nix, "web1")["web1"].cause
    assert culprits[0] in message
    assert f"1 more failed: {culprits[1]}" in message


def test_hosts_go_on_after_a_derivation_that_no_builder_takes() -> None:
    nix = Store(foreign=[store("pi.drv")])
    errors = realised(nix, "pi", "web1", "web2")
    assert set(errors) == {"pi"}
    assert "build_on: target" in errors["pi"].remedy
    assert nix.realised == [
        [store("pi.drv"), store("web1.drv"), store("web2.drv")],
        [store("web1.drv"), store("web2.drv")],
    ]


def test_an_error_without_a_culprit_is_everybodys() -> None:
    class Full(Store):
        def realise(self, _paths: Sequence[str]) -> NixResult:
            return NixResult(1, "", "", ("nix-store",), errors=("error: writing: No space left on device",))

    nix = Full()
    errors = realised(nix, "web1", "web2")
    assert {error.cause for error in errors.values()} == {"writing: No space left on device"}
    assert all(error.remedy.startswith("Free space") for error in errors.values())
    assert len(nix.realised) == 1


def test_a_host_that_was_built_before_the_error_is_fine() -> None:
    class Interrupted(Store):
        def realise(self, _paths: Sequence[str]) -> NixResult:
            self.valid.add(store("web1"))
            return NixResult(1, "", "", ("nix-store",), errors=("error: interrupted",), timed_out=True)

    errors = realised(Interrupted(), "web1", "web2")
    assert set(errors) == {"web2"}
    assert "the timeout for the build expired" in errors["web2"].cause


def test_a_store_path_that_no_store_has() -> None:
    class Unable(Store):
        def realise(self, paths: Sequence[str]) -> NixResult:
            return NixResult(1, "", "", ("nix-store",), errors=(f"error: build of '{paths[0]}' failed",))

    ready = {"web1": target_of_store_path(store("system"))}
    nix = Unable()
    errors = realise(nix, ready, Controller(nix, BuildLogs()), deadline=None)  # type: ignore[arg-type]
    assert f"{store('system')} is not in the store, and no substituter has it" in errors["web1"].cause


def test_missing_targets_lack_at_least_one_output() -> None:
    nix = Store(valid=[store("web1"), store("web2")])
    several = Target(store("web2.drv"), {"out": store("web2"), "dev": store("web2-dev")}, store("web2"))
    assert missing(nix, {"web1": target("web1"), "web2": several}) == {"web2": several}  # type: ignore[arg-type]


def test_outputs_of_a_derivation_have_names() -> None:
    nix = Store(valid=[store("web.drv")])
    assert derivation_outputs(nix, store("web.drv"), step="build") == {  # type: ignore[arg-type]
        "out": store("web"),
        "dev": store("web-dev"),
        "lib-static": store("web-lib-static"),
    }


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (store("gone.drv"), "not in the controller's store"),
        (store("web"), "not a derivation"),
        ("/tmp/x.drv", "not a store path"),
    ],
)
def test_what_is_no_derivation_is_refused(path: str, words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        derivation_outputs(Store(), path, step="build")  # type: ignore[arg-type]


def test_the_toplevel_is_the_named_output() -> None:
    outputs = {"out": store("web"), "dev": store("web-dev")}
    assert target_of(store("web.drv"), outputs, "dev").toplevel == store("web-dev")
    with pytest.raises(NixferryError, match="no output 'doc'") as caught:
        target_of(store("web.drv"), outputs, "doc")
    assert "dev, out" in caught.value.remedy


# As Nix evaluates the path of a content-addressed derivation; ``nix-store --query`` names none.
@pytest.mark.parametrize("outputs", [{"out": "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"}, {}])
def test_a_path_that_is_not_known_yet_is_read_after_the_build(outputs: dict[str, str]) -> None:
    target = target_of(store("web.drv"), outputs, "dev")
    assert (target.known, target.outputs, target.toplevel) == (False, {}, "")

    def after(*paths: str, code: int = 0) -> Target:
        result = NixResult(code, "".join(f"{path}\n" for path in paths), "", ("nix-store",))
        return built_target(target, result)

    built = after(store("web"), store("web-dev"))
    assert built.outputs == {"out": store("web"), "dev": store("web-dev")}
    assert (built.known, built.toplevel, built.derivation) == (True, store("web-dev"), store("web.drv"))
    with pytest.raises(NixferryError, match="no output 'dev'"):
        after(store("web"))
    with pytest.raises(NixferryError, match="named no store path"):
        after()
    with pytest.raises(NixferryError, match="is not an output of"):
        after(store("webster"))
    with pytest.raises(NixferryError, match="exit code 1"):
        after(code=1)


def test_a_ready_store_path_is_checked() -> None:
    assert target_of_store_path(store("web") + "/").toplevel == store("web")
    with pytest.raises(NixferryError, match="is a derivation"):
        target_of_store_path(store("web.drv"))
    with pytest.raises(NixferryError, match="not a store path"):
        target_of_store_path("/etc")


def test_a_plan_is_asked_for_once_for_each_derivation() -> None:
    class Planner(Store):
        def answer(self, arguments: tuple[str, ...]) -> NixResult:
            assert arguments[:3] == ("nix-store", "--realise", "--dry-run")
            self.realised.append(list(arguments[3:]))
            return NixResult(
                0, "", "", arguments, messages=("this derivation will be built:", f"  {arguments[3]}")
            )

    nix = Planner()
    targets = {"web1": target("same"), "web2": target("same"), "web3": target("other")}
    plans = plan(nix, targets, parallel=2, deadline=None)  # type: ignore[arg-type]
    assert plans["web1"] is plans["web2"]
    assert plans["web3"] == Plan(would_build=(store("other.drv"),))
    assert nix.realised == [[store("same.drv")], [store("other.drv")]]


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_failures_name_the_culprit_alone(version: str) -> None:
    failures = own_failures(recorded(version, "realise-failures").errors)
    assert [each.derivation.partition("-")[2] for each in failures] == ["broken.drv"]
    assert "failed with exit code 3" in failures[0].reason
    assert "\n" not in failures[0].reason
    assert "Output paths" not in failures[0].reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("case", "name", "words"),
    [
        ("realise-silent", "silent.drv", "exit code 1"),
        ("realise-wrong-hash", "wrong-hash.drv", "got: sha256-"),
        ("realise-foreign", "foreign.drv", "riscv64-linux"),
    ],
)
def test_other_recorded_failures_name_the_culprit(version: str, case: str, name: str, words: str) -> None:
    [failure] = own_failures(recorded(version, case).errors)
    assert failure.derivation.partition("-")[2] == name
    assert words in failure.reason


def test_the_summary_blames_nobody() -> None:
    summary = f"error: build of '{store('web1.drv')}', '{store('web2.drv')}' failed"
    assert own_failures([summary]) == []
    dependent = f"error: 1 dependencies of derivation '{store('web1.drv')}' failed to build"
    own = f"error: builder for '{store('x.drv')}' failed due to signal 9 (Killed)"
    assert own_failures([dependent, own, summary, own]) == [
        Failure(store("x.drv"), own.removeprefix("error: "))
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_plans(version: str) -> None:
    def names(paths: Sequence[str]) -> list[str]:
        return [path.partition("-")[2] for path in paths]

    built = parse_plan(recorded(version, "realise-dry-run").stderr.splitlines())
    assert names(built.would_build) == ["broken.drv", "good.drv", "needs-broken.drv"]
    assert built.would_fetch == built.unknown == ()
    fetched = parse_plan(recorded(version, "fetch-dry-run").stderr.splitlines())
    assert names(fetched.would_fetch) == ["good"]
    assert fetched.would_build == ()


def test_sizes_of_a_plan() -> None:
    messages = [
        "this derivation will be built:",
        f"  {store('a.drv')}",
        "these 2 paths will be fetched (1.50 MiB download, 2.0 GiB unpacked):",
        f"  {store('b')}",
        f"  {store('c')}",
        "warning: something else",
        f"  {store('not-listed')}",
        "don't know how to build these paths:",
        f"  {store('d')}",
    ]
    expected = Plan((store("a.drv"),), (store("b"), store("c")), 1_572_864, 2_147_483_648, (store("d"),))
    assert parse_plan(messages) == parse_plan(["\n".join(messages)]) == expected
    assert not expected.empty
    assert parse_plan([]).empty


@given(st.lists(st.text()))
def test_any_messages_make_a_plan(messages: list[str]) -> None:
    parse_plan(messages)
    own_failures(messages)
