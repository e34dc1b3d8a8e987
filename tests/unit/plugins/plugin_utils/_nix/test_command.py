# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import (
    Nix,
    NixRequest,
    result_of_log,
    search_directories,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    LogEvent,
    Message,
    PlainLine,
)

GENERAL = ["--log-format", "internal-json", "-v"]
FEATURES = ["--extra-experimental-features", "nix-command flakes"]

FakeProgram = Callable[[str, str], Nix]


@pytest.fixture
def fake(tmp_path: Path) -> FakeProgram:
    """Makes a program of the given name and sh text, and a Nix that finds it first."""

    def make(name: str, script: str, **given: object) -> Nix:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        search_path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return Nix(environment={"PATH": search_path}, **given)  # type: ignore[arg-type]

    return make


def log_line(level: int, text: str) -> str:
    entry = json.dumps({"action": "msg", "level": level, "msg": text})
    return f"printf '%s\\n' '@nix {entry}' >&2"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nix-store", "--realise", "x"], ["nix-store", *GENERAL, "--realise", "x"]),
        (["nix-instantiate", "-"], ["nix-instantiate", *FEATURES, *GENERAL, "-"]),
        (["nix", "copy", "x"], ["nix", *FEATURES, *GENERAL, "copy", "x"]),
        (["nix", "eval", "x"], ["nix", *FEATURES, *GENERAL, "eval", "x"]),
        (["nix-copy-closure", "--to", "h"], ["nix-copy-closure", *GENERAL, "--to", "h"]),
        (["nix-collect-garbage", "-d"], ["nix-collect-garbage", "-d"]),
    ],
)
def test_each_program_gets_the_options_that_it_takes(arguments: list[str], expected: list[str]) -> None:
    assert Nix().command_line(arguments) == expected


def test_settings_come_before_a_subcommand() -> None:
    nix = Nix(options={"max-jobs": "3", "builders": "ssh://a b"})
    options = ["--option", "max-jobs", "3", "--option", "builders", "ssh://a b"]
    assert nix.command_line(["nix", "eval", ".#x"]) == ["nix", *FEATURES, *GENERAL, *options, "eval", ".#x"]
    assert nix.command_line(["nix-store", "-r", "x"]) == ["nix-store", *GENERAL, *options, "-r", "x"]


def test_the_system_is_never_passed() -> None:
    assert "--system" not in Nix(options={"a": "b"}).command_line(["nix", "eval", "x"])


def test_output_and_exit_code(fake: FakeProgram) -> None:
    result = fake("nix-store", "cat; exit 3").run(["nix-store"], step="build", input=b"text", check=False)
    assert (result.return_code, result.stdout) == (3, "text")


def test_the_environment_is_passed_through(fake: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", "sandbox = false")
    nix = fake("nix-store", 'echo "$NIX_CONFIG $EXTRA"')
    result = nix.run(["nix-store"], step="build", extra_environment={"EXTRA": "more"})
    assert result.stdout == "sandbox = false more\n"


def test_an_error_has_the_words_of_nix_and_a_remedy(fake: FakeProgram) -> None:
    message = "\x1b[31;1merror:\x1b[0m writing: No space left on device"
    nix = fake("nix-store", f"{log_line(3, 'these 2 paths')}; {log_line(0, message)}; exit 1")
    with pytest.raises(NixferryError) as caught:
        nix.run(["nix-store", "--realise"], step="build")
    assert caught.value.cause == "writing: No space left on device"
    assert caught.value.step == "build"
    assert caught.value.remedy.startswith("Free space")
    assert caught.value.output == ["these 2 paths", "error: writing: No space left on device"]


def test_a_warning_does_not_explain_an_error_of_its_own(fake: FakeProgram) -> None:
    warning = log_line(1, "warning: unable to download https://cache: Could not resolve host")
    nix = fake("nix-store", f"{warning}; {log_line(0, 'error: something of its own')}; exit 1")
    with pytest.raises(NixferryError) as caught:
        nix.run(["nix-store"], step="build")
    assert (caught.value.cause, caught.value.remedy) == ("something of its own", "")


def test_a_warning_that_nix_logs_as_an_error_explains_nothing(fake: FakeProgram) -> None:
    """As Nix 2.8 does where root has no build users."""
    warning = log_line(0, 'warning: the group "nixbld" does not exist')
    with pytest.raises(NixferryError) as caught:
        fake("nix-store", f"{warning}; {log_line(0, 'error: something of its own')}; exit 1").run(
            ["nix-store"], step="build"
        )
    assert (caught.value.cause, caught.value.remedy) == ("something of its own", "")
    assert 'warning: the group "nixbld"' in caught.value.output[0]
    with pytest.raises(NixferryError, match=r"^build: sh: bad luck$"):
        fake("nix-store", f"echo 'sh: bad luck' >&2; {warning}; exit 1").run(["nix-store"], step="build")
    with pytest.raises(NixferryError, match=r"^build: warning: the group"):
        fake("nix-store", f"{warning}; exit 1").run(["nix-store"], step="build")


def test_repeated_causes_are_told_once(fake: FakeProgram) -> None:
    line = log_line(0, "error: twice")
    with pytest.raises(NixferryError) as caught:
        fake("nix-store", f"{line}; {line}; exit 1").run(["nix-store"], step="build")
    assert caught.value.cause == "twice"


def test_an_error_before_the_log_format_is_in_force(fake: FakeProgram) -> None:
    with pytest.raises(NixferryError, match="unrecognised flag '--bogus'"):
        fake("nix-store", "echo \"error: unrecognised flag '--bogus'\" >&2; exit 1").run(
            ["nix-store"], step="build"
        )


def test_the_last_line_speaks_for_a_program_that_is_not_nix(fake: FakeProgram) -> None:
    with pytest.raises(NixferryError, match="sh: bad luck"):
        fake("nix-store", "echo first >&2; echo 'sh: bad luck' >&2; exit 1").run(["nix-store"], step="build")


@pytest.mark.parametrize(
    ("ending", "words"), [("exit 9", "exit code 9"), ("kill -KILL $$", "the signal SIGKILL")]
)
def test_a_silent_failure_is_described(fake: FakeProgram, ending: str, words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        fake("nix-store", ending).run(["nix-store"], step="build")


def test_a_deadline_is_named(fake: FakeProgram) -> None:
    begin = time.monotonic()
    with pytest.raises(
        NixferryError, match=r"the timeout of the test expired while nix-store was running"
    ) as caught:
        fake("nix-store", f"{log_line(3, 'waiting for a lock')}; exec sleep 600").run(
            ["nix-store"], step="build", timeout=0.5, deadline_name="the timeout of the test"
        )
    assert caught.value.output == ["waiting for a lock"]
    assert time.monotonic() - begin < 15


def test_events_reach_the_listener(fake: FakeProgram) -> None:
    events: list[LogEvent] = []
    nix = fake("nix-store", f"{log_line(1, 'careful')}; echo plain >&2", on_event=events.append)  # type: ignore[call-arg]
    nix.run(["nix-store"], step="build")
    assert events == [Message(1, "careful"), PlainLine("plain")]


def test_errors_of_a_trial_do_not_reach_the_listener(fake: FakeProgram) -> None:
    events: list[LogEvent] = []
    script = (
        f"{log_line(0, 'trace: said')}; {log_line(0, 'error: not there')}; {log_line(1, 'careful')}; exit 1"
    )
    nix = fake("nix", script, on_event=events.append)  # type: ignore[call-arg]
    result = nix.trying().run_many([NixRequest(("nix",))], step="build", parallel=1)[0]
    assert events == [Message(1, "trace: said"), Message(1, "careful")]
    assert result.error(step="build").cause == "not there"
    # The other ones, and those without a listener, are as they were.
    nix.run(["nix"], step="build", check=False)
    assert Message(0, "error: not there") in events
    silent = fake("nix", script).trying()
    assert silent.run(["nix"], step="build", check=False).return_code == 1


def test_a_missing_nix_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command.USUAL_DIRECTORIES",
        ("~/nowhere",),
    )
    with pytest.raises(NixferryError, match="nix-store was not found on the controller") as caught:
        Nix(environment={"PATH": str(tmp_path)}).version()
    assert str(tmp_path) in caught.value.remedy


def test_a_program_that_cannot_be_started_is_explained(fake: FakeProgram, tmp_path: Path) -> None:
    nix = fake("nix-store", "")
    (tmp_path / "nix-store").write_text("#!/nowhere/sh\n")
    with pytest.raises(NixferryError, match="could not be started"):
        nix.run(["nix-store"], step="build")


def test_the_usual_places_come_after_the_path() -> None:
    directories = search_directories({"PATH": "/a::/run/current-system/sw/bin:/b"}).split(":")
    assert directories[:3] == ["/a", "/run/current-system/sw/bin", "/b"]
    assert "/nix/var/nix/profiles/default/bin" in directories[3:]
    assert len(directories) == len(set(directories))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("nix-store (Nix) 2.8.0", (2, 8)),
        ("nix-store (Nix) 2.34.8+2", (2, 34)),
        ("nix-store (Lix, like Nix) 2.91.1", (2, 91)),
        ("nix-store (Determinate Nix 3.5.2) 2.28.3", (2, 28)),
    ],
)
def test_versions(fake: FakeProgram, text: str, version: tuple[int, int]) -> None:
    assert fake("nix-store", f"echo '{text}'").version() == version


def test_an_unreadable_version_is_an_error(fake: FakeProgram) -> None:
    with pytest.raises(NixferryError, match="'hello', which contains no version"):
        fake("nix-store", "echo hello").version()


def test_several_programs_have_logs_of_their_own(fake: FakeProgram) -> None:
    nix = fake(
        "nix-store",
        'shift 3; printf \'@nix {"action":"msg","level":0,"msg":"error: %s"}\\n\' "$1" >&2; exit "$1"',
    )
    requests = [NixRequest(("nix-store", str(number))) for number in (1, 2, 0)]
    results = nix.run_many(requests, step="build", parallel=2)
    assert [(each.return_code, each.errors) for each in results] == [
        (1, ("error: 1",)),
        (2, ("error: 2",)),
        (0, ("error: 0",)),
    ]


def test_all_messages_are_kept_on_request_only(fake: FakeProgram) -> None:
    nix = fake(
        "nix-store",
        """i=0; while [ $i -lt 500 ]; do
            printf '@nix {"action":"msg","level":3,"msg":"%s"}\n' $i >&2; i=$((i + 1))
        done""",
    )
    kept, not_kept = nix.run_many(
        [NixRequest(("nix-store",), keep_messages=True), NixRequest(("nix-store",))], step="build", parallel=1
    )
    assert kept.messages == tuple(map(str, range(500)))
    assert not_kept.messages == ()
    assert len(not_kept.stderr.splitlines()) < 500


def test_a_log_from_elsewhere_is_read_like_one_from_here() -> None:
    result = result_of_log(
        ["nix-store"], 1, "out", '@nix {"action":"msg","level":0,"msg":"error: far away"}\n'
    )
    assert (result.return_code, result.stdout, result.errors) == (1, "out", ("error: far away",))
