# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pinned sources, shown and updated from repositories on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from lab import nix_environment, run
from project import PlaybookRun, Project

ACTION = "nixferry.deploy.nix_lock_update"
FLAKE = """
{ inputs.one.url = "git+file://UPSTREAM"; inputs.two.url = "git+file://UPSTREAM";
  outputs = { self, one, two }: { version = one.version; }; }
"""


class Upstream:
    """A repository that others pin, with an archive of each commit beside it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "owner" / "upstream.git"
        self.archives = directory / "archives"
        self.path.mkdir(parents=True)
        self.archives.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self, version: int, environment: dict[str, str] | None = None) -> str:
        (self.path / "flake.nix").write_text(f"{{ outputs = {{ self }}: {{ version = {version}; }}; }}")
        self._git("add", ".")
        self._git("commit", "--quiet", f"--message={version}", environment=environment)
        revision = self._git("rev-parse", "HEAD").strip()
        archive = f"--output={self.archives}/{revision}.tar.gz"
        self._git("archive", "--format=tar.gz", "--prefix=upstream/", archive, "HEAD")
        return revision

    def _git(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        identity = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
        return run(["git", "-C", str(self.path), *identity, *arguments], environment=environment).stdout


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_connection": "local"}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    return project


def update(
    project: Project, *flags: str, cases: list[dict[str, Any]], environment: dict[str, str] | None = None
) -> PlaybookRun:
    """One task a case, called `case N`; a case that fails does not stop the next one."""
    tasks = [
        {"name": f"case {number}", ACTION: options, "ignore_errors": True}
        for number, options in enumerate(cases)
    ]
    play = {"hosts": "web1", "gather_facts": False, "tasks": tasks}
    state = {"XDG_STATE_HOME": str(project.directory / "state"), **(environment or {})}
    return project.run_playbook([play], *flags, environment=state).assert_ok()


def revisions(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        pin["name"]: tuple(part["revision"] if part else "" for part in (pin["old"], pin["new"]))
        for pin in result["inputs"]
    }


def evaluate(expression: str) -> Any:
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--expr", expression]
    return json.loads(run(argv, environment=nix_environment()).stdout)


def test_the_inputs_of_a_flake(project: Project, upstream: Upstream) -> None:
    lock = project.directory / "fleet/flake.lock"
    project.write("fleet/flake.nix", FLAKE.replace("UPSTREAM", str(upstream.path)))
    run(["git", "init", "--quiet", str(project.directory / "fleet")])
    run(["git", "-C", str(project.directory / "fleet"), "add", "flake.nix"])
    first = upstream.commit(1)
    project_lock = {"path": "fleet"}

    predicted = update(project, "--check", "--diff", cases=[project_lock]).result("case 0")
    assert predicted["changed"]
    assert not lock.exists()
    done = update(project, "--diff", cases=[project_lock, project_lock])
    made = done.result("case 0")
    assert [made["changed"], done.result("case 1")["changed"]] == [True, False]
    assert revisions(made) == revisions(predicted) == {"one": ("", first), "two": ("", first)}
    # A lock file that git does not know would not be part of the flake.
    assert "flake.lock" in run(["git", "-C", str(lock.parent), "ls-files"]).stdout
    assert first in made["diff"]["after"]
    assert first not in made["diff"]["before"]

    second, before = upstream.commit(2), lock.read_bytes()
    one = {"path": "fleet/flake.lock", "inputs": ["one"]}
    wrong = [{"path": "fleet", "inputs": ["three"]}, {"path": "fleet", "format": "niv"}, {"path": "nowhere"}]
    done = update(project, "--check", cases=[one, {"path": "fleet", "state": "shown"}, *wrong])
    assert revisions(done.result("case 0")) == {"one": (first, second)}
    assert revisions(done.result("case 1")) == {"one": (first, first), "two": (first, first)}
    for case, words in enumerate(
        ("unknown pin three", f"{lock.parent}/nix/sources.json does not exist", "nowhere"), 2
    ):
        assert words in done.result(f"case {case}")["msg"]
    assert lock.read_bytes() == before
    done = update(project, cases=[one, {"path": "fleet", "state": "shown"}])
    assert revisions(done.result("case 1")) == {"one": (second, second), "two": (first, first)}
    # Nix agrees with what was written, to the letter.
    text = lock.read_text()
    nix = ["nix", "--extra-experimental-features", "nix-command flakes"]
    answer = run([*nix, "eval", f"{lock.parent}#version"], environment=nix_environment()).stdout
    assert answer.strip() == "2"
    assert lock.read_text() == text


def test_the_pins_of_niv(project: Project, upstream: Upstream) -> None:
    first = upstream.commit(1)
    template = f"file://{upstream.archives}/<rev>.tar.gz"
    archive = {"branch": "main", "owner": "owner", "repo": "upstream", "rev": first, "type": "tarball"}
    pins = {
        "zoo": {**archive, "sha256": "0" * 52, "url": "old", "url_template": template, "homepage": None},
        "git": {"branch": "main", "repo": f"file://{upstream.path}", "rev": first, "type": "git"},
        "local": {"path": "./somewhere", "type": "local"},
        "version": {
            "type": "tarball",
            "url_template": "https://example.org/<version>.tar.gz",
            "version": "1",
        },
    }
    file = project.write("nix/sources.json", json.dumps(pins, indent=4) + "\n")
    second = upstream.commit(2)
    # The entry's repository is on GitHub; git is told where that is here.
    github = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{upstream.path.parent.parent}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    before = file.read_bytes()
    cases: list[dict[str, Any]] = [{}, {"inputs": ["version"]}]
    checked = update(project, "--check", cases=cases, environment=github)
    assert file.read_bytes() == before
    assert "no branch" not in checked.result("case 0").get("msg", "")
    assert "its URL does not depend on a revision" in checked.result("case 1")["msg"]
    done = update(project, cases=[{}, {}], environment=github)
    assert [done.result(f"case {number}")["changed"] for number in (0, 1)] == [True, False]
    result = done.result("case 0")
    assert result["inputs"] == checked.result("case 0")["inputs"]
    assert revisions(result)["zoo"] == revisions(result)["git"] == (first, second)
    assert [pin["updatable"] for pin in result["inputs"]] == [True, True, False, False]
    written = json.loads(file.read_text())
    assert written["zoo"]["url"] == f"file://{upstream.archives}/{second}.tar.gz"
    assert {**written["zoo"], "rev": "", "url": "", "sha256": ""} == {
        **pins["zoo"],
        "rev": "",
        "url": "",
        "sha256": "",
    }
    assert file.read_text() == json.dumps(written, indent=4) + "\n"
    zoo = written["zoo"]
    fetched = (
        f'import ((fetchTarball {{ url = "{zoo["url"]}"; sha256 = "{zoo["sha256"]}"; }}) + "/flake.nix")'
    )
    assert evaluate(f"(({fetched}).outputs {{ self = null; }}).version") == 2


def test_the_pins_of_npins(project: Project, upstream: Upstream) -> None:
    first = upstream.commit(1)
    git = {"type": "Git", "repository": {"type": "Git", "url": f"file://{upstream.path}"}, "branch": "main"}
    pin = {**git, "submodules": False, "revision": first, "url": None, "hash": "old"}
    token = {
        "type": "GitLab",
        "repo_path": "a/b",
        "server": "https://gitlab.example/",
        "private_token": "s3cret",
    }
    for version in (3, 8):
        pins = {
            "plain": pin,
            "frozen": {**pin, "frozen": True},
            "token": {**pin, "repository": token},
            "password": {**pin, "repository": {"type": "Git", "url": "https://ann:s3cret@example.org/x.git"}},
            "gone": {**pin, "branch": "gone", "frozen": version == 3},
            "release": {
                "type": "PyPi",
                "name": "x",
                "version": "1.2",
                "url": "https://example.org",
                "hash": "h",
            },
        }
        project.write(
            f"v{version}/npins/sources.json", json.dumps({"pins": pins, "version": version}, indent=2)
        )
    second = upstream.commit(2)
    old = (project.directory / "v8/npins/sources.json").read_bytes()
    cases = [
        {"path": "v3"},
        {"path": "v8"},
        {"path": "v8", "inputs": ["plain"]},
        {"path": "v8", "state": "shown"},
    ]
    done = update(project, "--diff", cases=[*cases, {"path": "v8", "inputs": ["token"]}])
    # One pin that cannot be updated leaves the file as it is.
    assert "has no branch gone" in done.result("case 1")["msg"]
    assert "visible in the process list" in done.result("case 4")["msg"]
    hashes = []
    for number, version in ((0, 3), (2, 8)):
        result = done.result(f"case {number}")
        assert result["changed"]
        assert revisions(result)["plain"] == (first, second)
        written = json.loads((project.directory / f"v{version}/npins/sources.json").read_text())
        assert written["pins"]["frozen"]["revision"] == first
        hashes.append(written["pins"]["plain"]["hash"])
    assert (project.directory / "v8/npins/sources.json").read_bytes() != old
    # As npins' own Nix code fetches it; the older form of the hash is the same one.
    source = f'{{ url = "file://{upstream.path}"; rev = "{second}"; ref = "main"; narHash = "{hashes[1]}"; }}'
    assert (
        evaluate(f'((import ((fetchGit {source}) + "/flake.nix")).outputs {{ self = null; }}).version') == 2
    )
    converted = run(["nix-hash", "--type", "sha256", "--to-base16", hashes[0]]).stdout.strip()
    sri_digits = run(
        ["nix", "--extra-experimental-features", "nix-command", "hash", "to-base16", hashes[1]]
    ).stdout
    assert converted == sri_digits.strip()
    shown = {pin["name"]: pin for pin in done.result("case 3")["inputs"]}
    assert shown["password"]["url"] == "https://example.org/x.git"
    assert shown["release"]["new"]["revision"] == "1.2"
    assert "s3cret" not in str(done)


def test_each_nix_updates_the_inputs_that_were_asked_for(each_controller: Project) -> None:
    """Nix 2.8 has other commands for it than later versions."""
    directory = each_controller.directory
    upstream = Upstream(directory / "upstream")
    first = upstream.commit(1)
    inside = upstream.path.relative_to(directory)
    each_controller.write("fleet/flake.nix", FLAKE.replace("UPSTREAM", f"{each_controller.root}/{inside}"))
    # The project is copied into the controller: what belongs together is done in one run.
    git = f"git -C {each_controller.root}/{inside} -c user.name=a -c user.email=a -c safe.directory=*"
    commit = f"{git} commit --quiet --allow-empty --message=2 && {git} rev-parse HEAD"
    tasks: list[dict[str, Any]] = [
        {"name": "trust", "ansible.builtin.raw": "git config --global --add safe.directory '*'"},
        {"name": "lock", ACTION: {"path": "fleet"}},
        {"name": "commit", "ansible.builtin.raw": commit},
        {"name": "check", ACTION: {"path": "fleet"}, "check_mode": True},
        {"name": "one", ACTION: {"path": "fleet", "inputs": ["one"]}},
        {"name": "again", ACTION: {"path": "fleet", "inputs": ["one"]}},
        {"name": "unknown", ACTION: {"path": "fleet", "inputs": ["three"]}, "ignore_errors": True},
        {"name": "all", ACTION: {"path": "fleet"}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    done = each_controller.run_playbook([play]).assert_ok()
    second = done.result("commit")["stdout"].strip()
    assert revisions(done.result("lock")) == {"one": ("", first), "two": ("", first)}
    assert revisions(done.result("check")) == {"one": (first, second), "two": (first, second)}
    assert revisions(done.result("one")) == {"one": (first, second)}
    assert not done.result("again")["changed"]
    assert "three" in done.result("unknown")["msg"]
    assert revisions(done.result("all")) == {"one": (second, second), "two": (first, second)}


def test_young_revisions_of_niv_and_npins_wait(project: Project, upstream: Upstream) -> None:
    """The files do not say how old a revision is: the commit does. One that waits does not hold up the others."""
    first = upstream.commit(1)
    aged = Upstream(project.directory / "aged")
    old = aged.commit(1)
    long_ago = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"}
    aged_second = aged.commit(2, environment=long_ago)
    upstream.commit(2)

    def niv(source: Upstream, revision: str) -> dict[str, str]:
        return {"branch": "main", "repo": f"file://{source.path}", "rev": revision, "type": "git"}

    def npins(source: Upstream, revision: str) -> dict[str, Any]:
        repository = {"type": "Git", "url": f"file://{source.path}"}
        pin = {"type": "Git", "repository": repository, "branch": "main", "submodules": False}
        return {**pin, "revision": revision, "url": None, "hash": "old"}

    pins = {"old/one": (aged, old), "young": (upstream, first)}
    project.write("niv/nix/sources.json", json.dumps({name: niv(*pin) for name, pin in pins.items()}))
    content = {"pins": {name: npins(*pin) for name, pin in pins.items()}, "version": 8}
    project.write("npins/npins/sources.json", json.dumps(content))
    done = update(project, cases=[{"path": path, "min_age_days": 2} for path in ("niv", "npins")])
    for number in (0, 1):
        result = done.result(f"case {number}")
        assert result["changed"]
        assert list(result["held"]) == ["young"]
        assert "0 hours old" in result["held"]["young"]
        assert revisions(result) == {"old/one": (old, aged_second), "young": (first, first)}
