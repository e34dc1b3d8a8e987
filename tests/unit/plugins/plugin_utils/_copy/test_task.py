# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies between two pretended stores: the scripts run under a real /bin/sh, with a small nix-store behind them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import attempts as _attempts
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import stream as _copy_stream
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import task as _copy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import CopyRequest, diff_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.store import TargetStore
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.stream import Stream
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.task import copy_closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.transport import Transport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import commands as _commands
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import (
    command_script,
    read_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    LogEvent,
    Result,
    Start,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item

LIBC, WEB, TOP = (
    f"/nix/store/{letter * 32}-{name}" for letter, name in (("a", "libc"), ("b", "web"), ("c", "top"))
)
BIG = f"/nix/store/{'d' * 32}-big"
DERIVATION = f"/nix/store/{'f' * 32}-top.drv"
SIZES = {LIBC: 3000, WEB: 200, TOP: 100, BIG: 500_000, DERIVATION: 50}
CLOSURES = {
    LIBC: [LIBC],
    WEB: [LIBC, WEB],
    TOP: [LIBC, WEB, TOP],
    BIG: [LIBC, BIG],
    DERIVATION: [DERIVATION],
}

# A store is a file with the names of its valid paths. An export is these names, one a line.
NIX_STORE = """#!/bin/sh
echo "$*" >>"$FAKE/calls"
valid=$FAKE/valid
mode=
while [ $# -gt 0 ]; do
    case $1 in
    --store) valid=$2/nix/var/nix/db/db.sqlite; mkdir -p "$2/nix/var/nix/db"; shift ;;
    --option) shift 2 ;;
    --check-validity | --realise | --import) mode=$1 ;;
    --print-invalid | --ignore-unknown | --keep-going) ;;
    *) break ;;
    esac
    shift
done
touch "$valid"
case $mode in
--check-validity) printf '%s\\n' "$@" | grep -vxF -f "$valid" || : ;;
--realise) for path do grep -xF "$path" "$FAKE/substitutes" >>"$valid"; done; cat >/dev/null ;;
--import)
    if [ -e "$FAKE/fail" ]; then cat "$FAKE/fail" >&2; rm "$FAKE/fail"; cat >/dev/null; exit 1; fi
    tee -a "$valid" ;;
*) echo "error: what is $*" >&2; exit 1 ;;
esac
"""
# The part of "nix copy --from file://DIRECTORY" that reads a narinfo.
NIX = """#!/bin/sh
echo "nix $*" >>"$FAKE/calls"
for word do
    case $word in
    file://*) cache=${word#file://} ;;
    /nix/store/*) path=$word ;;
    esac
done
hash=${path#/nix/store/}
grep -qx "StorePath: $path" "$cache/${hash%%-*}.narinfo" || exit 1
grep -qx "NarSize: $(wc -c <"$cache/large.nar" | tr -d ' ')" "$cache/${hash%%-*}.narinfo" || exit 1
grep -qx "StoreDir: /nix/store" "$cache/nix-cache-info" || exit 1
ls -ld "$cache" >>"$FAKE/cache"
echo "$path" >>"$FAKE/valid"
"""


@dataclass
class Host:
    """A RemoteShell whose host is a directory. ``lose`` counts commands that break the connection instead."""

    directory: Path
    transport: Transport = Transport.STREAM
    round_trips: int = 0
    reconnects: int = 0
    lose: Callable[[str, bytes], bool] = lambda _command, _data: False
    pieces: list[int] = field(default_factory=list)
    host: str = "web1"

    def __post_init__(self) -> None:
        self.directory.mkdir()
        (self.directory / "substitutes").touch()
        self.program("nix-store", NIX_STORE)
        self.program("nix", NIX)

    def program(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def run(self, script: str, *, step: str, **_limits: object) -> RemoteResult:
        return self.run_command("/bin/sh", data=script.encode(), step=step)

    def run_command(self, command: str, *, data: bytes, step: str, **_limits: object) -> RemoteResult:
        self.round_trips += 1
        if self.lose(command, data):
            raise HostUnreachable("the link is down", step=step)
        if command != "/bin/sh":
            self.pieces.append(len(data))
        done = subprocess.run(
            ["/bin/sh", "-c", f"echo 'Welcome, {LIBC} is not an answer'; {command}"],
            input=data,
            capture_output=True,
            timeout=30,
            check=False,
            env={
                "PATH": f"{self.directory}:/usr/bin:/bin",
                "FAKE": str(self.directory),
                "HOME": "/nonexistent",
            },
        )
        return RemoteResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    def reconnect(self, *, step: str) -> None:
        self.reconnects += 1
        self.run("exit 0", step=step)

    @property
    def valid(self) -> list[str]:
        store = self.directory / "valid"
        return store.read_text().split() if store.exists() else []

    @valid.setter
    def valid(self, paths: Sequence[str]) -> None:
        (self.directory / "valid").write_text("".join(f"{path}\n" for path in paths))

    @property
    def calls(self) -> str:
        return (self.directory / "calls").read_text()


@dataclass
class ControllerNix:
    """The controller's Nix: knows the closures above. ``copy`` is what ``nix copy`` does."""

    copy: Callable[[Sequence[str]], NixResult] = lambda arguments: finished(arguments)  # pylint: disable=unnecessary-lambda
    calls: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    on_event: Callable[[LogEvent], None] = lambda _event: None

    def listening(self, on_event: Callable[[LogEvent], None]) -> ControllerNix:
        return ControllerNix(self.copy, self.calls, self.environments, on_event)

    def run(
        self,
        arguments: Sequence[str],
        *,
        output: IO[bytes] | None = None,
        extra_environment: Mapping[str, str] | None = None,
        check: bool = True,
        **_options: Any,
    ) -> NixResult:
        self.calls.append(tuple(arguments))
        result = self.answer(arguments, output, extra_environment)
        if check and result.return_code != 0:
            raise result.error(step="copy")
        return result

    def answer(
        self,
        arguments: Sequence[str],
        output: IO[bytes] | None,
        extra_environment: Mapping[str, str] | None,
    ) -> NixResult:
        match arguments:
            case ["nix-store", "--query", "--requisites", *paths]:
                if any(path not in CLOSURES for path in paths):
                    return finished(arguments, stderr=f"error: path '{paths[0]}' is not valid", code=1)
                closure = dict.fromkeys(path for top in paths for path in CLOSURES[top])
                return finished(arguments, "\n".join(closure))
            case ["nix-store", "--query", "--size", *paths]:
                return finished(arguments, "\n".join(str(SIZES[path]) for path in paths))
            case ["nix-store", "--check-validity", "--print-invalid", *paths]:
                return finished(arguments, "\n".join(path for path in paths if path not in CLOSURES))
            case ["nix-store", "--query", "--references", path]:
                return finished(arguments, "\n".join(CLOSURES[path][:-1]))
            case ["nix-store", "--query", "--hash", _path]:
                return finished(arguments, "sha256:" + "0" * 52)
            case ["nix-store", "--export", *paths]:
                assert output is not None
                output.write("".join(f"{path}\n" for path in paths).encode())
                return finished(arguments)
            case ["nix-store", "--dump", path]:
                assert output is not None
                output.write(os.urandom(SIZES[path]))
                return finished(arguments)
            case ["nix", "copy", *_rest]:
                self.environments.append(extra_environment or {})
                return self.copy(arguments)
        raise AssertionError(arguments)


def finished(arguments: Sequence[str], stdout: str = "", stderr: str = "", code: int = 0) -> NixResult:
    return NixResult(return_code=code, stdout=stdout, stderr=stderr, argv=tuple(arguments))


class Progress:
    """Takes down what the user would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[LogEvent] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, event: LogEvent) -> None:
        self.events.append(event)


@dataclass
class Clock:
    """Time that passes only when it is waited for."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class Scene:
    """Everything that a copy needs."""

    host: Host
    nix: ControllerNix
    progress: Progress
    clock: Clock

    @property
    def pauses(self) -> list[float]:
        return self.clock.pauses

    def copy(self, *paths: str, **options: Any) -> Any:
        request = CopyRequest(paths=paths or (TOP,), **options)
        return copy_closure(self.host, request, nix=self.nix, progress=self.progress)  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    host = Host(tmp_path / "host")
    clock = Clock()
    monkeypatch.setattr(_copy, "choose_transport", lambda shell: shell.transport)
    monkeypatch.setattr(_attempts, "time", clock)
    monkeypatch.setattr(_copy_stream, "controller_temporary", lambda: str(tmp_path))
    return Scene(host, ControllerNix(), Progress(), clock)


class TestNothingToDo:
    def test_one_round_trip_and_no_nix_on_the_controller(self, scene: Scene) -> None:
        scene.host.valid = [LIBC, WEB, TOP]
        result = scene.copy(TOP, WEB)
        assert (result.transport, result.changed, result.attempts) == ("none", False, 0)
        assert scene.host.round_trips == 1
        assert scene.nix.calls == []

    def test_thousands_of_paths_are_one_round_trip_and_fit_on_command_lines(self, scene: Scene) -> None:
        # The longest names that a store has: an argument list of Linux takes 2 MiB, one of macOS half of that.
        paths = [f"/nix/store/{number:032}-{'p' * 211}" for number in range(4321)]
        assert TargetStore(scene.host).missing(paths) == tuple(paths)  # type: ignore[arg-type]
        assert scene.host.round_trips == 1
        calls = scene.host.calls.splitlines()
        assert len(calls) == 3
        assert max(map(len, calls)) < 2**19 + 2**16


class TestCheckMode:
    @pytest.mark.parametrize("transport", list(Transport)[:2])
    def test_tells_what_is_missing_and_changes_nothing(self, scene: Scene, transport: Transport) -> None:
        scene.host.transport = transport
        scene.host.valid = [LIBC]
        result = scene.copy(dry_run=True)
        assert [item.path for item in result.missing] == [WEB, TOP]
        assert result.nar_size == SIZES[WEB] + SIZES[TOP]
        assert result.changed
        assert scene.host.valid == [LIBC]
        assert scene.host.round_trips == 2
        assert "--realise" not in scene.host.calls

    @pytest.mark.parametrize("transport", list(Transport))
    def test_what_was_not_built_is_listed_without_a_size(self, scene: Scene, transport: Transport) -> None:
        future = f"/nix/store/{'9' * 32}-future"
        scene.host.transport = transport
        scene.host.valid = [LIBC]
        result = scene.copy(future, WEB, dry_run=True)
        assert result.missing == (Item(WEB, SIZES[WEB]), Item(future, 0))
        assert result.facts()["unbuilt"] == [future]
        assert f"+ {future} (not built yet" in diff_text(result)
        assert scene.copy(future, dry_run=True).changed

    def test_no_store_is_made_where_there_is_none(self, scene: Scene, tmp_path: Path) -> None:
        root = tmp_path / "new root"
        assert scene.copy(root=str(root), dry_run=True).missing
        assert not root.exists()


class TestStream:
    def test_exactly_the_missing_paths_travel(self, scene: Scene) -> None:
        scene.host.valid = [LIBC]
        result = scene.copy()
        assert scene.host.valid == [LIBC, WEB, TOP]
        assert result.copied == (WEB, TOP)
        assert (result.transport, result.attempts) == ("stream", 1)
        assert ("nix-store", "--export", WEB, TOP) in scene.nix.calls
        assert scene.host.round_trips == 4
        assert scene.progress.lines == ["copying 2 paths, 300 B"]

    def test_the_host_fetches_first_what_its_substituters_have(self, scene: Scene) -> None:
        (scene.host.directory / "substitutes").write_text(f"{LIBC}\n")
        result = scene.copy()
        assert result.copied == (WEB, TOP)
        assert result.facts()["substituted"] == [LIBC]
        assert "--option connect-timeout 5" in scene.host.calls

    def test_or_not(self, scene: Scene) -> None:
        (scene.host.directory / "substitutes").write_text(f"{LIBC}\n")
        assert scene.copy(substitute=False).copied == (LIBC, WEB, TOP)
        assert "--realise" not in scene.host.calls

    def test_a_derivation_is_never_realised(self, scene: Scene) -> None:
        assert scene.copy(DERIVATION, TOP).copied == (DERIVATION, LIBC, WEB, TOP)
        realised = [line for line in scene.host.calls.splitlines() if "--realise" in line]
        assert len(realised) == 1
        assert DERIVATION not in realised[0]

    def test_compressed(self, scene: Scene) -> None:
        seen: list[bytes] = []
        scene.host.lose = lambda command, data: "gunzip" in command and bool(seen.append(data))
        scene.copy(compress=True)
        assert gzip.decompress(seen[0]).decode().split() == [LIBC, WEB, TOP]
        assert scene.host.valid == [LIBC, WEB, TOP]

    def test_another_root(self, scene: Scene, tmp_path: Path) -> None:
        root = tmp_path / "mnt 'x'"
        assert scene.copy(root=str(root)).copied == (LIBC, WEB, TOP)
        assert scene.host.valid == []
        assert scene.copy(root=str(root)).transport == "none"

    def test_large_paths_go_in_pieces_through_the_disk(self, scene: Scene) -> None:
        events: list[LogEvent] = []
        stream = Stream(
            TargetStore(scene.host),  # type: ignore[arg-type]
            scene.nix,  # type: ignore[arg-type]
            compress=False,
            on_event=events.append,
            piece_bytes=64 * 1024,
        )
        stream.send([Item(path, SIZES[path]) for path in (LIBC, BIG, TOP)])
        assert scene.host.valid == stream.arrived == [LIBC, BIG, TOP]
        assert max(scene.host.pieces) <= 64 * 1024
        assert sum(scene.host.pieces) > SIZES[BIG]
        cache = (scene.host.directory / "cache").read_text()
        assert cache.startswith("drwx------")
        assert not Path(cache.split()[-1]).exists()
        told = [event.fields[:2] for event in events if isinstance(event, Result) and event.id == 2]
        assert told == sorted(told)
        assert told[-1] == (SIZES[LIBC] + SIZES[BIG] + SIZES[TOP],) * 2

    def test_a_large_path_that_fails_leaves_nothing_behind(self, scene: Scene) -> None:
        scene.host.program(
            "nix",
            "#!/bin/sh\n"
            'for word do case $word in file://*) echo "${word#file://}" >"$FAKE/cache" ;; esac; done\n'
            "echo 'error: No space left on device' >&2\n"
            "exit 1\n",
        )
        stream = Stream(
            TargetStore(scene.host),  # type: ignore[arg-type]
            scene.nix,  # type: ignore[arg-type]
            compress=True,
            on_event=lambda _event: None,
            piece_bytes=64 * 1024,
        )
        with pytest.raises(NixferryError, match="disk of the host is full"):
            stream.send([Item(BIG, SIZES[BIG])])
        cache = (scene.host.directory / "cache").read_text().strip()
        assert cache.startswith(("/var/tmp/nixferry-", "/tmp/nixferry-"))
        assert not Path(cache).exists()


class TestRetries:
    def test_a_cut_link_goes_on_with_what_had_not_arrived(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_copy_stream, "groups", lambda items, _limit: ([item] for item in items))
        imports = 0

        def lose(command: str, _data: bytes) -> bool:
            nonlocal imports
            imports += "--import" in command
            return "--import" in command and imports == 2

        scene.host.lose = lose
        result = scene.copy()
        assert scene.host.valid == [LIBC, WEB, TOP]
        assert result.copied == (LIBC, WEB, TOP)
        assert (result.attempts, scene.host.reconnects, scene.pauses) == (2, 1, [1.0])
        exported = [call[2] for call in scene.nix.calls if call[1] == "--export"]
        assert exported == [LIBC, WEB, WEB, TOP]
        assert "attempt 1 failed (the link is down); again in 1 s" in scene.progress.lines

    def test_the_pauses_grow_and_the_attempts_end(self, scene: Scene) -> None:
        scene.host.lose = lambda command, _data: "--import" in command
        with pytest.raises(HostUnreachable):
            scene.copy(retries=4)
        assert scene.pauses == [1.0, 3.0, 10.0, 30.0]

    def test_a_host_that_is_down_from_the_beginning_fails_at_once(self, scene: Scene) -> None:
        scene.host.lose = lambda _command, _data: True
        with pytest.raises(HostUnreachable):
            scene.copy()
        assert scene.pauses == []

    def test_a_refused_login_is_not_repeated(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each attempt counts for what locks accounts or bans addresses."""

        def refuse(*, step: str) -> None:
            scene.host.reconnects += 1
            raise HostUnreachable("Permission denied (publickey).", step=step, transient=False)

        monkeypatch.setattr(scene.host, "reconnect", refuse)
        scene.host.lose = lambda command, _data: "--import" in command
        with pytest.raises(HostUnreachable, match="Permission denied"):
            scene.copy(retries=4)
        assert (scene.host.reconnects, scene.pauses) == (1, [1.0])

    def test_what_another_attempt_cannot_heal_is_not_tried_again(self, scene: Scene) -> None:
        (scene.host.directory / "fail").write_text("error: writing to file: No space left on device\n")
        with pytest.raises(NixferryError, match="disk of the host is full"):
            scene.copy()
        assert scene.pauses == []

    def test_the_timeout_ends_it(self, scene: Scene) -> None:
        def lose(command: str, _data: bytes) -> bool:
            scene.clock.now += 29 if "--import" in command else 0
            return "--import" in command

        scene.host.lose = lose
        with pytest.raises(NixferryError, match="the timeout of the copy expired"):
            scene.copy(timeout=60, retries=9)
        assert scene.pauses == [1.0, 1.0]


class TestSsh:
    @pytest.fixture(autouse=True)
    def _by_ssh(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.host.transport = Transport.SSH
        self.remote: list[str] = []

        class Program:
            def __init__(self, _shell: object, remote: str, *, compress: bool | None) -> None:
                outer.remote.append(f"{remote} compress={compress}")

            def __enter__(self) -> Path:
                return Path("/program")

            def __exit__(self, *_exception: object) -> None:
                outer.remote.append("removed")

        outer = self
        monkeypatch.setattr(_copy, "ssh_program", Program)

    def copy_all(self, scene: Scene) -> Callable[[Sequence[str]], NixResult]:
        def copy(arguments: Sequence[str]) -> NixResult:
            scene.host.valid = [LIBC, WEB, TOP]
            return finished(arguments)

        return copy

    def test_nix_copies_over_the_connection(self, scene: Scene) -> None:
        scene.nix.copy = self.copy_all(scene)
        result = scene.copy()
        assert scene.nix.calls[-1] == (
            "nix", "copy", "--to", "ssh://nixferry-target", "--no-check-sigs", "--substitute-on-destination", TOP,
        )  # fmt: skip
        assert scene.nix.environments[-1]["PATH"].startswith("/program:")
        assert self.remote[0].startswith("exec nix-store --option connect-timeout 5")
        assert self.remote[0].endswith("--serve --write compress=None")
        assert self.remote[1] == "removed"
        assert (result.transport, result.attempts, scene.host.round_trips) == ("ssh", 1, 2)

    def test_what_the_host_most_likely_lacks_takes_one_question(self, scene: Scene) -> None:
        scene.nix.copy = self.copy_all(scene)
        result = scene.copy(absent=True)
        assert (result.transport, scene.host.round_trips) == ("ssh", 1)
        assert [item.path for item in result.missing] == [LIBC, WEB, TOP]

    def test_what_was_taken_to_be_missing_and_is_not(self, scene: Scene) -> None:
        scene.host.valid = [LIBC, WEB, TOP]
        result = scene.copy(absent=True)
        assert (result.transport, result.changed, scene.host.round_trips) == ("none", False, 1)
        assert not [call for call in scene.nix.calls if call[1] == "copy"]

    def test_what_nix_says_it_copied_is_what_was_copied(self, scene: Scene) -> None:
        def copy(arguments: Sequence[str]) -> NixResult:
            for path in (WEB, TOP):
                listener(
                    Start(
                        id=1,
                        type=ActivityType.COPY_PATH,
                        level=3,
                        text="",
                        fields=(path, "daemon", "ssh://x"),
                    )
                )
            return finished(arguments)

        listener = scene.progress.event
        scene.nix.listening = lambda on_event: (  # type: ignore[method-assign]
            setter(on_event) or scene.nix
        )

        def setter(on_event: Callable[[LogEvent], None]) -> None:
            nonlocal listener
            listener = on_event

        scene.nix.copy = copy
        result = scene.copy()
        assert result.copied == (WEB, TOP)
        assert result.facts()["substituted"] == [LIBC]
        assert len(scene.progress.events) == 2

    def test_every_option_reaches_nix(self, scene: Scene) -> None:
        scene.nix.copy = self.copy_all(scene)
        scene.copy(TOP, DERIVATION, root="/mnt/a b", substitute=False, compress=True, check_signatures=True)
        first, second = (call for call in scene.nix.calls if call[1] == "copy")
        assert first == ("nix", "copy", "--to", "ssh-ng://nixferry-target", TOP)
        assert second == ("nix", "copy", "--to", "ssh-ng://nixferry-target", "--derivation", DERIVATION)
        assert self.remote[0] == "exec nix-daemon --stdio --store '/mnt/a b' compress=True"

    @pytest.mark.parametrize("chosen", [True, False])
    def test_the_link_is_not_measured_when_compression_was_chosen(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, chosen: bool
    ) -> None:
        monkeypatch.setattr(_copy, "compression_for", lambda _shell, _size: not chosen)
        scene.nix.copy = self.copy_all(scene)
        scene.copy(compress=chosen)
        assert self.remote[0].endswith(f" compress={chosen}")

    def test_a_fast_link_is_not_compressed(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        monkeypatch.setattr(_copy, "compression_for", lambda _shell, size: bool(sizes.append(size)))
        scene.nix.copy = self.copy_all(scene)
        result = scene.copy()
        assert self.remote[0].endswith(" compress=False")
        assert sizes == [sum(item.nar_size for item in result.missing)]

    def test_the_open_connection_is_used_where_no_other_login_works(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_copy, "compression_for", lambda _shell, _size: False)
        answers = [
            lambda arguments: finished(arguments, stderr="Permission denied (publickey).", code=1),
            self.copy_all(scene),
        ]
        scene.nix.copy = lambda arguments: answers.pop(0)(arguments)  # pylint: disable=unnecessary-lambda
        result = scene.copy()
        assert (result.attempts, scene.host.reconnects) == (1, 0)
        assert [line.rpartition(" ")[2] for line in self.remote] == [
            "compress=False", "removed", "compress=None", "removed"
        ]  # fmt: skip

    def test_a_broken_connection_is_opened_anew(self, scene: Scene) -> None:
        answers = [
            lambda arguments: finished(arguments, stderr="client_loop: send disconnect: Broken pipe", code=1),
            self.copy_all(scene),
        ]
        scene.nix.copy = lambda arguments: answers.pop(0)(arguments)  # pylint: disable=unnecessary-lambda
        assert scene.copy().attempts == 2
        assert scene.host.reconnects == 1
        assert self.remote[1] == self.remote[3] == "removed"

    def test_a_missing_signature_has_other_remedies_when_signatures_were_asked_for(
        self, scene: Scene
    ) -> None:
        refusal = f"error: cannot add path '{TOP}' because it lacks a signature by a trusted key"
        scene.nix.copy = lambda arguments: finished(arguments, stderr=refusal, code=1)
        with pytest.raises(NixferryError) as asked:
            scene.copy(check_signatures=True)
        with pytest.raises(NixferryError) as not_asked:
            scene.copy()
        assert "check_sigs: false" in asked.value.remedy
        assert "become: true" in not_asked.value.remedy

    def test_a_path_that_was_not_built(self, scene: Scene) -> None:
        with pytest.raises(NixferryError, match="is not valid") as error:
            scene.copy(f"/nix/store/{'9' * 32}-unbuilt")
        assert "nix_build" in error.value.remedy
        assert scene.host.round_trips == 1


class TestHost:
    def test_no_nix_names_where_it_was_looked_for(self, scene: Scene) -> None:
        (scene.host.directory / "nix-store").unlink()
        scene.host.run_command = _without_nix(scene.host.run_command)  # type: ignore[method-assign]
        with pytest.raises(NixferryError, match="nix-store was not found on the host") as error:
            scene.copy()
        for directory in (
            "/run/current-system/sw/bin",
            "/nix/var/nix/profiles/default/bin",
            ".nix-profile/bin",
        ):
            assert directory in error.value.remedy

    def test_a_script_that_ends_early_is_no_answer(self, scene: Scene) -> None:
        scene.host.program("nix-store", "#!/bin/sh\necho 'error: database is locked' >&2\nexit 3\n")
        with pytest.raises(NixferryError, match="database is locked"):
            scene.copy()

    def test_a_command_that_reads_its_input_does_not_eat_the_script(self, scene: Scene) -> None:
        done = scene.host.run(command_script(["cat", "echo second"]), step="copy")
        assert TargetStore(scene.host).read(done).lines == ("second",)  # type: ignore[arg-type]

    def test_a_greeting_without_an_end_of_line_hides_no_path(self, scene: Scene) -> None:
        path = f"/nix/store/{'9' * 32}-missing"
        done = scene.host.run(command_script([f"echo {path}"]), step="copy")
        greeted = replace(done, stdout=f"Welcome! {done.stdout}")
        assert TargetStore(scene.host).read(greeted).lines == (path,)  # type: ignore[arg-type]

    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
    def test_output_that_was_cut_short_is_not_taken_for_all_of_it(self, scene: Scene, kept: float) -> None:
        """A path that is missing from a list of missing paths would never be copied."""
        done = scene.host.run(command_script([f"echo {path}" for path in CLOSURES]), step="copy")
        begin = done.stdout.index("nixferry=1") + len("nixferry=1\n")
        cut = replace(done, stdout=done.stdout[: begin + int(kept * (len(done.stdout) - begin))])
        with pytest.raises(AnswerLost) as caught:
            TargetStore(scene.host).read(cut)  # type: ignore[arg-type]
        assert _attempts.is_transient(caught.value)

    @pytest.mark.parametrize(
        "shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda argv: argv[0]
    )
    def test_of_a_long_log_the_end_leaves_the_host(
        self, scene: Scene, shell: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_commands, "ERROR_BYTES", 1000)
        noise = "i=0; while [ $i -lt 9999 ]; do echo $i >&2; i=$((i + 1)); done"
        done = subprocess.run(
            [*shell, "-c", command_script(["echo first", f"{{ {noise}; }}", "echo last", "(exit 3)"])],
            capture_output=True,
            check=True,
            env={"PATH": f"{scene.host.directory}:/usr/bin:/bin"},
        )
        assert len(done.stderr) == 1000
        assert done.stderr.endswith(b"9997\n9998\n")
        output = read_commands(RemoteResult(0, done.stdout.decode(), ""), step=Step.COPY)
        assert (output.lines, output.code) == (("first", "last"), 3)

    @pytest.mark.parametrize(
        "shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda argv: argv[0]
    )
    def test_any_bytes_and_any_end_survive_the_way(self, scene: Scene, shell: list[str]) -> None:
        commands = ["printf 'a\\tb  %%41\\n\\n\\001\\377 code=9\\nend=commands'", "(exit 7)", "echo never"]
        done = subprocess.run(
            [*shell, "-c", command_script(commands)],
            capture_output=True,
            check=True,
            env={"PATH": f"{scene.host.directory}:/usr/bin:/bin"},
        )
        output = read_commands(RemoteResult(0, done.stdout.decode(), ""), step=Step.COPY)
        assert output.lines == ("a\tb  %41", "?? code=9", "end=commands")
        assert output.code == 7

    def test_a_host_that_runs_something_else_is_told_apart(self, scene: Scene) -> None:
        silent = RemoteResult(0, "This account is for backups only.\n", "")
        with pytest.raises(NixferryError, match="did not answer") as error:
            TargetStore(scene.host).read(silent)  # type: ignore[arg-type]
        assert "forced command" in error.value.remedy
        assert error.value.output == ["This account is for backups only."]


def _without_nix(run: Callable[..., RemoteResult]) -> Callable[..., RemoteResult]:
    """The machine that runs the tests may have Nix: it is called something else in the script."""

    def hidden(command: str, *, data: bytes, step: str, **_limits: object) -> RemoteResult:
        return run(command, data=data.replace(b"nix-store", b"no-such-nix-store"), step=step)

    return hidden


def test_results_can_be_written_as_json(scene: Scene) -> None:
    assert json.loads(json.dumps(scene.copy().facts()))["copied_paths"] == 3
