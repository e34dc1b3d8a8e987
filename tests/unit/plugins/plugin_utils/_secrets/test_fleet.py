# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of a fleet file: what is asked of Nix, what becomes of the answer, and what is never told."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets import fleet as _secrets_fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.fleet import (
    FLEET_OPTIONS,
    FleetSecrets,
    fleet_of,
    read_fleet_secrets,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.task import secrets_task
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import (
    FileFleet,
    FlakeFleet,
    Fleet,
)

WORD = "canary-of-a-secret"
FLEET = FileFleet(("/srv/fleet/network.nix",), "auto")
KEY: dict[str, Any] = {
    "path": "/run/keys/app",
    "user": "app",
    "group": "root",
    "permissions": "0440",
    "upload_at": "pre-activation",
    "source": "text",
    "text": None,
    "file": None,
    "command": None,
}
OPTIONS: dict[str, Any] = {"secrets": None, "phase": "all", "exclusive": False, "stage": False}


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's state is, with the locks."""
    directory = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    return directory


@dataclass
class Evaluator:
    """Answers with ``secrets``, or fails with an error that quotes a content; the listing works all the same."""

    secrets: Mapping[str, Any] | str | None
    listed: tuple[str, ...] = ("web1",)
    timed_out: bool = False

    def run_many(self, requests: Sequence[NixRequest], **_settings: object) -> list[NixResult]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: NixRequest) -> NixResult:
        question = (request.input or b"").decode()
        assert WORD not in question
        if ".list " in question:
            hosts = {name: {"keys": {"app": {}}} for name in self.listed}
            answer: Any = {"format": "nixops", "meta": {}, "names": list(hosts), "hosts": hosts}
        else:
            assert question.endswith('.hosts."web1".secrets')
            answer = self.secrets
        if answer is None:
            error = f"error: a definition is not of type `string': {WORD}"
            return NixResult(1, "", error, request.arguments, errors=(error,), timed_out=self.timed_out)
        return NixResult(0, answer if isinstance(answer, str) else json.dumps(answer), "", request.arguments)


def read(secrets: Mapping[str, Any], fleet: Fleet = FLEET, storage: str | None = None) -> FleetSecrets:
    nix = cast(Nix, Evaluator(secrets))
    return read_fleet_secrets(fleet, "web1", directory="/play", storage=storage, nix=nix)


def test_entries_are_what_the_option_takes() -> None:
    found = read(
        {
            "app": {**KEY, "text": WORD},
            "token": {**KEY, "path": "/var/secrets/token", "file": "../secrets/token"},
            "asked": {
                **KEY,
                "path": "/var/keys/asked",
                "command": ["pass", "show", "x"],
                "restart_units": ["a"],
            },
        }
    )
    assert WORD not in repr(found)
    task = secrets_task(OPTIONS, found, check_mode=False, diff_mode=False)
    app, token, asked = task.secrets
    assert (app.source, app.value, app.owner, app.mode, app.storage) == (
        "text",
        WORD,
        "app:root",
        "440",
        "tmpfs",
    )
    # As morph has it, and on the disk, which is where it lies.
    assert (token.value, token.path, token.storage) == (
        "/srv/secrets/token",
        "/var/secrets/token",
        "persistent",
    )
    assert (asked.value, asked.working_directory) == (["pass", "show", "x"], "/srv/fleet")
    assert asked.restart_units == ("a.service",)
    assert WORD not in repr(task)


def test_those_of_ansible_win_by_name() -> None:
    found = read(
        {"app": {**KEY, "text": "fleet"}, "token": {**KEY, "path": "/run/keys/token", "text": "kept"}}
    )
    options = {**OPTIONS, "secrets": {"app": {"text": "ansible"}, "own": {"command": "true"}}}
    secrets = {s.name: s for s in secrets_task(options, found, check_mode=False, diff_mode=False).secrets}
    assert {name: secret.value for name, secret in secrets.items()} == {
        "app": "ansible",
        "token": "kept",
        "own": "true",
    }
    assert secrets["app"].user == "root"
    assert (secrets["token"].working_directory, secrets["own"].working_directory) == ("/srv/fleet", "")


def test_a_key_without_content_gets_it_from_ansible() -> None:
    found = read({"app": {**KEY, "permissions": "0440"}})
    with pytest.raises(NixferryError, match=r"app needs one of text, file, command, and has none"):
        secrets_task(OPTIONS, found, check_mode=False, diff_mode=False)
    for own, path in (({"text": WORD}, "/run/keys/app"), ({"text": WORD, "destDir": "/run/x"}, "/run/x/app")):
        task = secrets_task({**OPTIONS, "secrets": {"app": own}}, found, check_mode=False, diff_mode=False)
        (secret,) = task.secrets
        assert (secret.value, secret.user, secret.mode, secret.path) == (WORD, "app", "440", path)
    own = {"content": WORD, "owner": "web", "mode": "0400", "dest": "/run/x/y"}
    (secret,) = secrets_task(
        {**OPTIONS, "secrets": {"app": own}}, found, check_mode=False, diff_mode=False
    ).secrets
    assert (secret.value, secret.user, secret.mode, secret.path) == (WORD, "web", "400", "/run/x/y")


@pytest.mark.parametrize(
    ("path", "said", "storage", "expected"),
    [
        ("/run/keys/x", None, None, "tmpfs"),
        ("/run/keys/x", None, "sealed", "sealed"),
        ("/run/keys/x", None, "persistent", "tmpfs"),
        ("/var/keys/x", None, "sealed", "persistent"),
        ("/run/keys/x", "sealed", "tmpfs", "sealed"),
    ],
)
def test_where_it_lies_says_what_storage_it_is(
    path: str, said: str | None, storage: str | None, expected: str
) -> None:
    found = read({"x": {**KEY, "path": path, "storage": said, "text": "x"}}, storage=storage)
    task = secrets_task({**OPTIONS, "storage": storage}, found, check_mode=False, diff_mode=False)
    assert task.secrets[0].storage == expected


def test_what_is_not_done_is_told() -> None:
    def entry(*action: str) -> dict[str, Any]:
        return {**KEY, "file": "x", "action": list(action)}

    found = read(
        {
            "known": entry("sudo", "systemctl", "restart", "nginx.service"),
            "reload": entry("systemctl", "reload-or-restart", "nginx"),
            "strange": entry("sh", "-c", "true"),
            "flag": entry("systemctl", "restart", "--no-block", "x"),
            "store": {**KEY, "file": "/nix/store/x-source/key"},
        }
    )
    assert found.entries["known"]["restart_units"] == ["nginx.service"]
    assert found.entries["reload"]["reload_units"] == ["nginx"]
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "the action of the secret strange is not run",
        "the action of the secret flag is not run",
        "the file of the secret store lies in the Nix store, which every user of this machine can read",
    ]


@pytest.mark.parametrize(
    ("fleet", "directory"),
    [
        (FileFleet(("<fleet/network.nix>",), "auto"), "/play"),
        (FlakeFleet("github:example/fleet", "colmena", "colmena"), "/play"),
        (FlakeFleet("/srv/my%20fleet?dir=x", "colmena", "colmena"), "/srv/my fleet"),
    ],
)
def test_the_directory_that_files_count_from(fleet: Fleet, directory: str) -> None:
    class Anything(Evaluator):
        def _answer(self, request: NixRequest) -> NixResult:
            return NixResult(0, json.dumps({"x": {**KEY, "file": "x"}}), "", request.arguments)

    found = read_fleet_secrets(fleet, "web1", directory="/play", nix=cast(Nix, Anything({})))
    assert (found.directory, found.entries["x"]["file"]) == (directory, f"{directory}/x")


@pytest.mark.parametrize("answer", [None, f'{{"app": "{WORD}'], ids=["failed", "no-json"])
def test_no_error_tells_what_the_evaluator_said(answer: str | None) -> None:
    with pytest.raises(NixferryError, match=r"cannot be evaluated \(app\)") as caught:
        read_fleet_secrets(FLEET, "web1", directory="/play", nix=cast(Nix, Evaluator(answer)))
    error = caught.value
    assert WORD not in f"{error.result('web1')}{error.__context__!r}{error.__cause__!r}"


def test_a_host_that_is_not_in_the_fleet_and_a_deadline() -> None:
    with pytest.raises(NixferryError, match=r"the fleet /srv/fleet/network.nix has no host 'web1'"):
        read_fleet_secrets(FLEET, "web1", directory="/", nix=cast(Nix, Evaluator(None, listed=("db1",))))
    late = cast(Nix, Evaluator(None, timed_out=True))
    with pytest.raises(NixferryError, match="deadline for reading the secrets") as caught:
        read_fleet_secrets(FLEET, "web1", directory="/", nix=late)
    assert WORD not in str(caught.value.result("web1"))


def test_the_options_name_a_fleet(tmp_path: Path) -> None:
    (tmp_path / "network.nix").touch()
    given: dict[str, Any] = {
        name: specification.get("default") for name, specification in FLEET_OPTIONS.items()
    }
    assert fleet_of({**given, "fleet": ""}, str(tmp_path)) is None
    # What the role passes on where nothing is a fleet.
    assert fleet_of({**given, "fleet": "", "args": {"n": 1}}, str(tmp_path)) is None
    fleet = fleet_of({**given, "fleet": "network.nix", "argstrs": {"n": 1}}, str(tmp_path))
    assert isinstance(fleet, FileFleet)
    assert fleet.files == (f"{tmp_path}/network.nix",)
    assert '"n" = "1"' in fleet.arguments.replace("n = ", '"n" = ')


def test_evaluators_take_turns(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at a time as the machine has room for; here one, whose lock is held while Nix runs."""
    monkeypatch.setattr(_secrets_fleet, "available_processors", lambda: 1)
    held: list[bool] = []

    class Watched(Evaluator):
        def _answer(self, request: NixRequest) -> NixResult:
            (lock,) = (state / "nixferry/locks").iterdir()
            with lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(True)
            return super()._answer(request)

    read_fleet_secrets(FLEET, "web1", directory="/", nix=cast(Nix, Watched({})))
    assert held == [True]


def test_nothing_is_kept_in_a_cache_of_evaluations() -> None:
    """What asks on a real machine: contents in no argument and in no file."""
    line = Nix(options=_secrets_fleet._NIX_OPTIONS).command_line(FLEET.secrets_request("web1").arguments)
    assert line[line.index("eval-cache") - 1 : line.index("eval-cache") + 2] == [
        "--option",
        "eval-cache",
        "false",
    ]
    assert line[-1] == "-"
