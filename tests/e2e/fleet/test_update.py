# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Updates of pins: what builds is delivered, what does not is not, and the checkout of the user stays as it is."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from guides import guide_blocks
from lab import REPOSITORY, nix_environment, run
from project import PlaybookRun, Project

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TOKEN = f"canary-token-{secrets.token_hex(12)}"
IDENTITY = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
DEPENDENCY = "{ outputs = { self }: { version = %s; }; }"
FLAKE = """
{
  inputs.dependency.url = "git+file://UPSTREAM";
  outputs = { self, dependency }:
    let
      version = toString dependency.version;
      derive = name: text: derivation {
        inherit name text;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo $text >$out" ];
      };
      tool = derive "tool-${version}" "x";
      system = host: { config.system.build.toplevel = derive "nixos-system-${host}" "${tool}"; };
    in
    {
      nixosConfigurations.web1 = system "web1";
      nixosConfigurations.web2 = if version == "13" then throw "not with 13" else system "web2";
    };
}
"""


def git(directory: Path, *arguments: str, check: bool = True) -> str:
    return run(["git", "-C", str(directory), *IDENTITY, *arguments], check=check).stdout.strip()


@dataclass
class Fleet:
    """A project with one pin, its remote repository, and the repository that it pins."""

    project: Project
    remote: Path
    upstream: Path
    checkout: Path

    def release(self, version: int) -> str:
        """Give upstream another version. Returns its commit."""
        (self.upstream / "flake.nix").write_text(DEPENDENCY % version)
        git(self.upstream, "add", ".")
        git(self.upstream, "commit", "--quiet", f"--message={version}")
        return git(self.upstream, "rev-parse", "HEAD")

    def update(self, *arguments: str, **variables: Any) -> PlaybookRun:
        given = {f"update_{name}": value for name, value in variables.items()}
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"update_project": str(self.checkout), **given},
            "roles": ["nixferry.deploy.update"],
            "post_tasks": [{"name": "result", "ansible.builtin.debug": {"var": "update_result"}}],
        }
        before = self.state_of_the_user()
        state = {"XDG_STATE_HOME": str(self.project.directory / "state")}
        ran = self.project.run_playbook([play], *arguments, environment=state)
        assert self.state_of_the_user() == before
        return ran

    def state_of_the_user(self) -> tuple[str, ...]:
        questions = (("rev-parse", "HEAD"), ("status", "--porcelain"), ("worktree", "list"))
        return tuple(git(self.checkout, *question) for question in questions)

    def pinned(self, branch: str = "main") -> str:
        """The revision that the remote repository pins on a branch; empty without the branch."""
        text = git(self.remote, "show", f"{branch}:flake.lock", check=False)
        return str(json.loads(text)["nodes"]["dependency"]["locked"]["rev"]) if text else ""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("ansible.cfg", "[defaults]\nlocalhost_warning = False\n")
    found = Fleet(project, tmp_path / "remote.git", tmp_path / "upstream", tmp_path / "checkout")
    for directory in (found.upstream, found.checkout):
        directory.mkdir()
        git(directory, "init", "--quiet", "--initial-branch=main")
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(found.remote)])
    found.release(11)
    (found.checkout / "flake.nix").write_text(FLAKE.replace("UPSTREAM", str(found.upstream)))
    git(found.checkout, "add", ".")
    lock = ["nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock"]
    run(lock, directory=found.checkout, environment=nix_environment())
    git(found.checkout, "add", ".")
    git(found.checkout, "commit", "--quiet", "--message=first")
    git(found.checkout, "remote", "add", "origin", str(found.remote))
    git(found.checkout, "push", "--quiet", "origin", "main")
    return found


class Forge(BaseHTTPRequestHandler):
    """A forge of any kind, with requests as the clients send them."""

    server: ForgeServer

    def do_GET(self) -> None:
        self._answer(200, self.server.requests)

    def do_POST(self) -> None:
        body = self._taken()
        self.server.requests.append(
            {
                "number": 7,
                "iid": 7,
                "html_url": "https://forge/7",
                "web_url": "https://forge/7",
                "head": {"ref": body.get("head")},
                "base": {"ref": body.get("base")},
            }
        )
        self._answer(201, self.server.requests[-1])

    def do_PATCH(self) -> None:
        self._taken()
        self._answer(200, self.server.requests[-1])

    do_PUT = do_PATCH  # noqa: N815

    def _taken(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.command, self.path, body))
        return body

    def _answer(self, status: int, content: Any) -> None:
        known = any(TOKEN in self.headers.get(name, "") for name in ("Authorization", "PRIVATE-TOKEN"))
        data = json.dumps(content if known else {}).encode()
        self.send_response(status if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *_arguments: object) -> None:
        """Print nothing."""


@dataclass
class ForgeServer(ThreadingHTTPServer):
    requests: list[dict[str, Any]] = field(default_factory=list)
    taken: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Forge)


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    server = ForgeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_green_is_merged_and_red_is_not(fleet: Fleet) -> None:
    first = fleet.pinned()
    good = fleet.release(12)
    # Check mode and a revision that is too young deliver nothing.
    assert fleet.update("--check", deliver="merge").assert_ok().result("result")["update_result"]["changed"]
    young = fleet.update(deliver="merge", min_age_days=1).assert_ok().result("result")["update_result"]
    assert (young["changed"], list(young["held"])) == (False, ["dependency"])
    assert fleet.pinned() == first

    report = fleet.project.directory / "report.md"
    merged = (
        fleet.update(deliver="merge", report_file=str(report)).assert_ok().result("result")["update_result"]
    )
    assert fleet.pinned() == good
    assert git(fleet.remote, "rev-parse", "main") == merged["commit"]
    assert merged["changed_hosts"] == ["web1", "web2"]
    assert "| tool | 11 | 12 |" in report.read_text()
    assert "### web1, web2" in report.read_text()
    assert good in git(fleet.remote, "show", "--no-patch", "--format=%B", "main")

    fleet.release(13)
    red = fleet.update(deliver="merge")
    assert red.return_code != 0
    assert "not with 13" in red.stdout
    fleet.release(14)
    gates = [{"command": ["sh", "-c", "test -e flake.lock; echo the gate; exit 3"]}]
    red = fleet.update(deliver="push", gates=gates)
    assert red.return_code != 0
    assert "the gate" in red.stdout
    assert fleet.pinned() == good
    assert git(fleet.remote, "branch", "--list") == "* main"

    # The way back goes through the same proofs.
    back = fleet.update(deliver="merge", revert=merged["commit"]).assert_ok()
    assert back.result("result")["update_result"]["changed_hosts"] == ["web1", "web2"]
    assert fleet.pinned() == first
    # A remote repository that refuses the push is heard.
    hook = fleet.remote / "hooks/update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert fleet.update(deliver="merge").return_code != 0
    assert fleet.pinned() == first


@pytest.mark.takes_turns(3)
def test_an_update_waits_for_its_day(fleet: Fleet) -> None:
    first, today = fleet.pinned(), datetime.now().strftime("%A")
    good = fleet.release(12)
    others = [day for day in DAYS if day != today]
    waits = fleet.update(deliver="merge", weekdays=others).assert_ok().result("result")["update_result"]
    assert (waits["changed"], fleet.pinned()) == (False, first)
    assert fleet.update(deliver="merge", weekdays=["Someday"]).return_code != 0
    assert (
        fleet.update(deliver="merge", weekdays=[today])
        .assert_ok()
        .result("result")["update_result"]["changed"]
    )
    assert fleet.pinned() == good


@pytest.mark.takes_turns(3)
@pytest.mark.parametrize(
    ("kind", "path", "methods"),
    [
        ("github", "/repos/fleet/hosts/pulls", ("POST", "PATCH")),
        ("gitlab", "/api/v4/projects/fleet%2Fhosts/merge_requests", ("POST", "PUT")),
        ("gitea", "/api/v1/repos/fleet/hosts/pulls", ("POST", "PATCH")),
    ],
)
def test_a_request_is_opened_and_then_changed(
    fleet: Fleet, forge: ForgeServer, kind: str, path: str, methods: tuple[str, str]
) -> None:
    options = {
        "deliver": "request",
        "forge": kind,
        "forge_url": f"http://127.0.0.1:{forge.server_port}/",
        "repository": "fleet/hosts",
        "token": TOKEN,
    }
    if kind == "gitea":
        # The request of another person, which stays as it is.
        other = {
            "number": 3,
            "head": {"ref": "other"},
            "base": {"ref": "main"},
            "html_url": "https://forge/3",
        }
        forge.requests.append(other)
    first = fleet.pinned()
    for version, method, address in ((12, methods[0], path), (14, methods[1], f"{path}/7")):
        good = fleet.release(version)
        ran = fleet.update("-vvv", **options).assert_ok()
        assert ran.result("result")["update_result"]["request"] == "https://forge/7"
        assert (fleet.pinned("update-pins"), fleet.pinned()) == (good, first)
        taken_method, taken_path, body = forge.taken[-1]
        assert (taken_method, taken_path) == (method, address)
        assert body["title"] == "Update dependency"
        assert f"| tool | 11 | {version} |" in body["description" if kind == "gitlab" else "body"]
        everything = [ran.stdout, ran.stderr, json.dumps([entry.result for entry in ran.results])]
        assert not any(TOKEN in text for text in everything)
    assert len(forge.taken) == 2

    fleet.release(15)
    refused = fleet.update(**{**options, "token": "wrong"})
    assert refused.return_code != 0
    assert "401" in refused.result("Say what the forge has against it")["msg"]


def test_the_playbook_by_environment_alone(fleet: Fleet, forge: ForgeServer) -> None:
    """The job of the page, as far as it needs no machine of a forge."""
    page = guide_blocks(REPOSITORY / "docs/docsite/rst/updates.rst")
    job = yaml.safe_load(next(block for block in page if "runs-on" in block))
    step = job["jobs"]["update"]["steps"][-1]
    good = fleet.release(12)
    argv, settings = fleet.project.prepare([])
    environment = {
        **settings,
        **{name: str(value) for name, value in step["env"].items()},
        "NIXFERRY_FORGE_URL": f"http://127.0.0.1:{forge.server_port}",
        "NIXFERRY_REPOSITORY": "fleet/hosts",
        "NIXFERRY_TOKEN": TOKEN,
        "NIXFERRY_MIN_AGE_DAYS": "0",
        "GITHUB_STEP_SUMMARY": str(fleet.project.directory / "summary"),
        "RUNNER_TEMP": str(fleet.project.directory),
        "PATH": f"{Path(argv[0]).parent}:{run(['sh', '-c', 'echo $PATH']).stdout.strip()}",
    }
    run(["sh", "-e"], input=step["run"], directory=fleet.checkout, environment=environment)
    assert fleet.pinned("update-pins") == good
    assert "| tool | 11 | 12 |" in (fleet.project.directory / "summary").read_text()
    assert forge.taken[0][0] == "POST"


# The pins of other tools. A pure evaluation takes what has the name of a revision.
PIN = {
    "niv": ("nix/sources.json", "dependency.repo", "dependency.rev"),
    "npins": ("npins/sources.json", "pins.dependency.repository.url", "pins.dependency.revision"),
}


def pins_of(tool: str, upstream: Path, revision: str) -> dict[str, Any]:
    url = f"file://{upstream}"
    if tool == "niv":
        return {"dependency": {"branch": "main", "repo": url, "rev": revision, "type": "git"}}
    repository = {"type": "Git", "url": url}
    pin = {"type": "Git", "repository": repository, "branch": "main", "submodules": False, "url": None}
    return {"pins": {"dependency": {**pin, "revision": revision, "hash": "old"}}, "version": 8}


@pytest.mark.takes_turns(4)
@pytest.mark.parametrize("tool", PIN)
def test_the_pins_of_niv_and_npins_go_the_same_way(fleet: Fleet, tool: str) -> None:
    place, url, revision = PIN[tool]
    first = git(fleet.upstream, "rev-parse", "HEAD")
    reads = (
        f'dependency = ((import ((builtins.fetchGit {{ url = pins.{url}; rev = pins.{revision}; ref = "main"; }}) + '
        '"/flake.nix")).outputs { self = null; }); '
        f"pins = builtins.fromJSON (builtins.readFile ./{place}); "
    )
    text = FLAKE.replace('  inputs.dependency.url = "git+file://UPSTREAM";\n', "").replace(
        "self, dependency", "self"
    )
    (fleet.checkout / "flake.nix").write_text(
        text.replace("      version =", f"      {reads}\n      version =")
    )
    (fleet.checkout / "flake.lock").unlink()
    (fleet.checkout / place).parent.mkdir()
    (fleet.checkout / place).write_text(json.dumps(pins_of(tool, fleet.upstream, first)))
    git(fleet.checkout, "add", ".")
    git(fleet.checkout, "commit", "--quiet", f"--message={tool}")
    git(fleet.checkout, "push", "--quiet", "origin", "main")
    good = fleet.release(12)
    young = fleet.update(format=tool, deliver="merge", min_age_days=1).assert_ok().result("result")
    assert list(young["update_result"]["held"]) == ["dependency"]
    merged = fleet.update(format=tool, deliver="merge").assert_ok().result("result")["update_result"]
    assert merged["changed_hosts"] == ["web1", "web2"]
    assert good in git(fleet.remote, "show", f"main:{place}")
    fleet.release(13)
    red = fleet.update(format=tool, deliver="merge")
    assert red.return_code != 0
    assert "not with 13" in red.stdout
    assert good in git(fleet.remote, "show", f"main:{place}")
