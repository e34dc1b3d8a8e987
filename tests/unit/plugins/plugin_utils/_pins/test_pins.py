# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of pins: what is read from them, what is refused, and how they are written."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.flake import FlakeLock
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.niv import NivSources
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.npins import NpinsSources
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.pins import (
    LockFile,
    Pin,
    chosen,
    holds_password,
    pins_result,
    read_lock_file,
    without_password,
    write_lock_file,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.sources import Sources
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.task import find_lock_file

OLD, NEW = "1" * 40, "2" * 40


def file_of(data: object, indent: int = 2) -> LockFile:
    return LockFile(Path("/project/file.json"), json.dumps(data, indent=indent) + "\n")


@dataclass(frozen=True)
class Elsewhere(Sources):
    """Repositories whose branches are all at NEW, and what was asked for."""

    nix: Nix = field(default_factory=Nix)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def head_of(self, url: str, branch: str) -> str:
        self.asked.append((url, branch))
        return NEW

    def download_hash(self, url: str, *, unpack: bool) -> str:
        self.asked.append((url, unpack))
        return "base32"

    def checkout_hash(self, url: str, branch: str, revision: str, *, submodules: bool) -> str:
        self.asked.append((url, branch, revision, submodules))
        return "sha256-checkout"

    def base64_form(self, base32: str) -> str:
        return f"sha256-{base32}"

    def base32_form(self, sri: str) -> str:
        return f"32 of {sri}"


@dataclass
class FakeNix:
    """Answers for Nix of a version."""

    release: tuple[int, int]
    answer: str = ""
    return_code: int = 0
    requests: list[NixRequest] = field(default_factory=list)

    def version(self) -> tuple[int, int]:
        return self.release

    def run_many(self, requests: list[NixRequest], **_options: object) -> list[NixResult]:
        self.requests += requests
        arguments = requests[0].arguments
        if "--output-lock-file" in arguments:
            Path(arguments[-1]).write_text(self.answer)
        return [NixResult(self.return_code, self.answer, "", arguments)]


def lock(revision: str = OLD) -> dict[str, Any]:
    """As Nix writes it: an input, its own input, one that follows, and one without revisions."""
    return {
        "nodes": {
            "home-manager": {
                "inputs": {"nixpkgs": ["nixpkgs"], "lib": "lib_2"},
                "locked": {"owner": "nix", "repo": "hm", "rev": OLD, "narHash": "sha256-h", "type": "github"},
                "original": {"owner": "nix", "repo": "hm", "type": "github"},
            },
            "lib_2": {
                "locked": {
                    "url": "https://ann:pw@example.org/lib",
                    "rev": OLD,
                    "type": "git",
                    "lastModified": 5,
                },
                "original": {"url": "https://ann:pw@example.org/lib", "ref": "main", "type": "git"},
            },
            "nixpkgs": {
                "locked": {"owner": "NixOS", "repo": "nixpkgs", "rev": revision, "type": "github"},
                "original": {"id": "nixpkgs", "type": "indirect"},
            },
            "here": {
                "locked": {"path": "./here", "type": "path"},
                "original": {"path": "./here", "type": "path"},
            },
            "root": {"inputs": {"home-manager": "home-manager", "nixpkgs": "nixpkgs", "here": "here"}},
        },
        "root": "root",
        "version": 7,
    }


def flake(nix: FakeNix) -> FlakeLock:
    return FlakeLock(cast(Nix, nix))


def test_the_inputs_of_a_flake_and_of_its_inputs() -> None:
    pins = flake(FakeNix((2, 8))).pins(file_of(lock()))
    assert {name: (pin.url, pin.revision) for name, pin in pins.items()} == {
        "home-manager": ("github:nix/hm", OLD),
        "nixpkgs": ("indirect:nixpkgs", OLD),
        "here": ("path:./here", ""),
        "home-manager/lib": ("git+https://example.org/lib", OLD),
    }
    assert (pins["home-manager/lib"].branch, pins["home-manager/lib"].time) == ("main", 5)
    assert flake(FakeNix((2, 8))).pins(LockFile(Path("flake.lock"), "")) == {}


@pytest.mark.parametrize(
    ("release", "names", "arguments"),
    [
        ((2, 8), ["a", "b/c"], ("--no-write-lock-file", "--update-input", "a", "--update-input", "b/c")),
        ((2, 18), [], ("--no-write-lock-file", "--recreate-lock-file")),
        ((2, 93), [], ("--no-write-lock-file", "--recreate-lock-file")),
    ],
)
def test_older_nix_tells_the_lock_file(
    release: tuple[int, int], names: list[str], arguments: tuple[str, ...]
) -> None:
    nix = FakeNix(release, json.dumps({"locks": lock(NEW)}))
    text = flake(nix).updated(file_of(lock()), names)
    assert json.loads(text) == lock(NEW)
    assert text == json.dumps(lock(NEW), indent=2, sort_keys=True) + "\n"
    request = nix.requests[0].arguments
    assert request[:5] == ("nix", "flake", "metadata", ".", "--json")
    assert request[5:] == arguments


@pytest.mark.parametrize("release", [(2, 19), (2, 34)])
def test_newer_nix_writes_it_elsewhere(release: tuple[int, int]) -> None:
    nix = FakeNix(release, "as Nix writes it")
    assert flake(nix).updated(file_of(lock()), ["a"]) == "as Nix writes it"
    assert nix.requests[0].arguments[:6] == ("nix", "flake", "update", "a", "--flake", ".")


def test_what_nix_cannot_update_fails() -> None:
    with pytest.raises(NixferryError):
        flake(FakeNix((2, 8), return_code=1)).updated(file_of(lock()), [])
    with pytest.raises(NixferryError, match="cannot be read"):
        flake(FakeNix((2, 8), "{}")).updated(file_of(lock()), [])


@pytest.mark.parametrize(
    "damage", [{}, {"nodes": {}}, {"nodes": {"root": {"inputs": {"a": "b"}}}, "root": "root"}]
)
def test_a_damaged_lock_file_is_told(damage: Mapping[str, Any]) -> None:
    damaged = {**damage, "version": 7}
    with pytest.raises(NixferryError, match="not a valid lock file of Nix"):
        flake(FakeNix((2, 8))).pins(file_of(damaged))


GITHUB = {
    "branch": "main",
    "owner": "ann",
    "repo": "zoo",
    "rev": OLD,
    "type": "tarball",
    "sha256": "old",
    "url": "old",
}


def test_niv_follows_branches() -> None:
    data = {
        "zoo": {
            **GITHUB,
            "url_template": "https://github.com/<owner>/<repo>/archive/<rev>.tar.gz",
            "homepage": None,
        },
        "bare": {key: value for key, value in GITHUB.items() if key != "url"},
        "one": {**GITHUB, "type": "file", "url_template": "https://example.org/<rev>"},
        "git": {"branch": "next", "repo": "ssh://git@example.org/x", "rev": OLD, "type": "git"},
        "same": {**GITHUB, "rev": NEW},
    }
    sources = Elsewhere()
    text = NivSources(sources).updated(file_of(data, 4), list(data))
    archive = f"https://github.com/ann/zoo/archive/{NEW}.tar.gz"
    new = {"rev": NEW, "sha256": "base32", "url": archive}
    assert json.loads(text) == {
        "zoo": {**data["zoo"], **new},
        "bare": {**data["bare"], **new},
        "one": {**data["one"], **new, "url": f"https://example.org/{NEW}"},
        "git": {**data["git"], "rev": NEW},
        "same": data["same"],
    }
    assert text.startswith('{\n    "zoo": {\n        "branch"')
    assert ("https://github.com/ann/zoo.git", "main") in sources.asked
    assert [asked for asked in sources.asked if asked[1] in (True, False)] == [
        (archive, True),
        (archive, True),
        (f"https://example.org/{NEW}", False),
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**GITHUB, "branch": ""}, "does not follow a branch"),
        ({"type": "local", "path": "./x"}, "has no revisions"),
        ({"type": "tarball", "url": "https://example.org/1.tar.gz"}, "does not depend on a revision"),
        (
            {**GITHUB, "owner": "", "repo": "", "url_template": "https://example.org/<rev>"},
            "names no repository",
        ),
        ({"type": "git", "repo": "https://ann:pw@example.org/x", "branch": "main"}, "process list"),
        ({"type": "git", "repo": "https://example.org/x", "branch": "main", "ref": "v1"}, "its `ref`"),
    ],
)
def test_what_niv_cannot_follow_here(entry: dict[str, Any], words: str) -> None:
    pin = NivSources(Elsewhere()).pins(file_of({"x": entry}))["x"]
    assert words in pin.refusal
    assert "pw" not in pin.url
    assert chosen({"x": pin}, [], update=True) == []
    with pytest.raises(NixferryError, match="x cannot be updated"):
        chosen({"x": pin}, ["x"], update=True)


def test_a_place_in_a_template_of_niv_that_nothing_fills() -> None:
    entry = {**GITHUB, "url_template": "https://example.org/<nothing>/<rev>"}
    with pytest.raises(NixferryError, match="<nothing>, which the entry lacks"):
        NivSources(Elsewhere()).updated(file_of({"x": entry}), ["x"])


def npins(repository: dict[str, Any], **more: Any) -> dict[str, Any]:
    pin = {"type": "Git", "repository": repository, "branch": "main", "submodules": False, "revision": OLD}
    return {**pin, "url": None, "hash": "old", **more}


FORGES = {
    "GitHub": (
        {"owner": "a", "repo": "b"},
        "https://github.com/a/b",
        "https://github.com/a/b/archive/{}.tar.gz",
    ),
    "Forgejo": (
        {"server": "https://code.example/", "owner": "a", "repo": "b"},
        "https://code.example/a/b",
        "https://code.example/a/b/archive/{}.tar.gz",
    ),
    "GitLab": (
        {"server": "https://lab.example/", "repo_path": "a/b/c"},
        "https://lab.example/a/b/c",
        "https://lab.example/api/v4/projects/a%2Fb%2Fc/repository/archive.tar.gz?sha={}",
    ),
}


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize(
    ("version", "hash_of"), [(3, "base32"), (5, "base32"), (6, "sha256-base32"), (8, "sha256-base32")]
)
def test_npins_follows_branches_on_forges(forge: str, version: int, hash_of: str) -> None:
    repository, home, archive = FORGES[forge]
    pins = {"x": npins({"type": forge, **repository})}
    sources = Elsewhere()
    text = NpinsSources(sources).updated(file_of({"pins": pins, "version": version}), ["x"])
    url = archive.format(NEW)
    assert json.loads(text) == {
        "pins": {"x": {**pins["x"], "revision": NEW, "url": url, "hash": hash_of}},
        "version": version,
    }
    assert sources.asked == [(f"{home}.git", "main"), (url, True)]


@pytest.mark.parametrize(("version", "hash_of"), [(3, "32 of sha256-checkout"), (7, "sha256-checkout")])
@pytest.mark.parametrize(
    "repository",
    [{"type": "Git", "url": "https://example.org/x"}, {"type": "GitHub", "owner": "a", "repo": "b"}],
)
def test_npins_hashes_a_checkout_where_there_is_no_archive(
    repository: dict[str, Any], version: int, hash_of: str
) -> None:
    submodules = repository["type"] == "GitHub"
    data = {"pins": {"x": npins(repository, submodules=submodules)}, "version": version}
    sources = Elsewhere()
    pin = json.loads(NpinsSources(sources).updated(file_of(data), ["x"]))["pins"]["x"]
    assert (pin["revision"], pin["url"], pin["hash"]) == (NEW, None, hash_of)
    assert sources.asked[-1][1:] == ("main", NEW, submodules)


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        (npins({"type": "Git", "url": "https://x.example"}, frozen=True), "frozen"),
        (npins({"type": "Git", "url": "https://x.example"}, lfs=True), "LFS"),
        (npins({"type": "Git", "url": "https://token@x.example"}), "process list"),
        (npins({"type": "Other"}), "not supported here"),
        (
            npins({"type": "GitLab", "server": "https://x", "repo_path": "a", "private_token": "pw"}),
            "access token",
        ),
        (
            {
                "type": "GitRelease",
                "version": "1.0",
                "repository": {"type": "GitHub", "owner": "a", "repo": "b"},
            },
            "GitRelease",
        ),
        ({"type": "Channel", "name": "nixos-unstable", "url": "https://x.example"}, "Channel"),
    ],
)
def test_what_npins_cannot_follow_here(pin: dict[str, Any], words: str) -> None:
    found = NpinsSources(Elsewhere()).pins(file_of({"pins": {"x": pin}, "version": 8}))["x"]
    assert words in found.refusal
    assert "pw" not in found.url + found.refusal


@pytest.mark.parametrize(
    ("data", "words"),
    [({"pins": {}, "version": 9}, "version 9"), ({"pins": [], "version": 3}, "not a valid file of npins")],
)
def test_a_file_of_npins_that_is_not_known(data: dict[str, Any], words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        NpinsSources(Elsewhere()).pins(file_of(data))


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]"])
def test_a_file_that_is_no_json_object(text: str) -> None:
    with pytest.raises(NixferryError, match="JSON"):
        LockFile(Path("/x"), text).data()


@pytest.mark.parametrize(
    ("url", "shown", "secret"),
    [
        ("https://example.org/x", "https://example.org/x", False),
        ("https://token@example.org/x", "https://example.org/x", True),
        ("https://ann:pw@example.org:8443/x?y", "https://example.org:8443/x?y", True),
        ("ssh://git@example.org/x", "ssh://git@example.org/x", False),
        ("git+ssh://git:pw@example.org/x", "git+ssh://git@example.org/x", True),
        ("git@example.org:x/y", "git@example.org:x/y", False),
        ("github:NixOS/nixpkgs", "github:NixOS/nixpkgs", False),
        ("", "", False),
    ],
)
def test_passwords_in_urls(url: str, shown: str, secret: bool) -> None:
    assert without_password(url) == shown
    assert holds_password(url) is secret


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "real.json"
    path.write_text("old")
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    file = read_lock_file(link)
    write_lock_file(file, "new")
    assert (path.read_text(), link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == ("new", True, 0o640)
    with pytest.raises(NixferryError, match="changed by another process"):
        write_lock_file(file, "newer")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.json", "real.json"]
    with pytest.raises(NixferryError, match="cannot be written"):
        write_lock_file(LockFile(tmp_path / "nowhere/file", ""), "new")


def test_which_file_is_meant(tmp_path: Path) -> None:
    with pytest.raises(NixferryError, match="has none of"):
        find_lock_file(tmp_path, "auto")
    (tmp_path / "npins").mkdir()
    npins_file = tmp_path / "npins/sources.json"
    npins_file.write_text('{"pins": {}, "version": 3}')
    assert find_lock_file(tmp_path, "auto") == ("npins", npins_file)
    (tmp_path / "flake.nix").write_text("{ }")
    with pytest.raises(NixferryError, match=r"flake.lock and npins/sources.json"):
        find_lock_file(tmp_path, "auto")
    assert find_lock_file(tmp_path, "flake") == ("flake", tmp_path / "flake.lock")
    other = tmp_path / "other.json"
    other.write_text('{"nixpkgs": {}}')
    assert find_lock_file(other, "auto") == ("niv", other)
    assert find_lock_file(npins_file, "auto") == ("npins", npins_file)


def test_what_became_of_the_pins() -> None:
    old = {"a": Pin("a", "git", revision=OLD), "b": Pin("b", "git", revision=OLD), "gone": Pin("gone", "git")}
    new = {"a": Pin("a", "git", revision=NEW), "b": old["b"], "added": Pin("added", "git", revision=NEW)}
    told = pins_result(old, new, ["b"])
    assert {pin["name"]: pin["changed"] for pin in told} == {
        "a": True,
        "b": False,
        "gone": True,
        "added": True,
    }
    assert next(pin for pin in told if pin["name"] == "added")["old"] is None
    assert next(pin for pin in told if pin["name"] == "gone")["new"] is None
    with pytest.raises(NixferryError, match="unknown pin x") as caught:
        chosen(old, ["x"], update=False)
    assert "a, b, gone" in caught.value.remedy
