# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a machine boots, as the files that a web server offers say it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from module_runs import start

from ansible_collections.nixferry.deploy.plugins.modules import nix_netboot_pointer

MODULE = "nix_netboot_pointer"
MAC = "52:54:00:12:34:56"
TRIAL = "0123456789abcdef0123456789abcdef"
OTHER_TRIAL = "fedcba9876543210fedcba9876543210"


def ran(options: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Run the module in this process: it ends with its result on standard output."""
    given = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    told = io.StringIO()
    with patch_module_args(given), contextlib.redirect_stdout(told), pytest.raises(SystemExit):
        nix_netboot_pointer.main()
    return dict(json.loads(told.getvalue()))


def make_release(tree: Path, content: str) -> str:
    """A complete release with some content; returns its name."""
    files = {name: f"{name} {content}" for name in ("boot.ipxe", "initrd", "kernel", "store")}
    files["manifest.json"] = json.dumps({"toplevel": f"/nix/store/{content}", "key": content})
    sums = "".join(f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in sorted(files))
    name = hashlib.sha256(sums.encode()).hexdigest()[:32]
    directory = tree / "releases" / name
    directory.mkdir(parents=True)
    for file, text in {**files, "SHA256SUMS": sums}.items():
        (directory / file).write_text(text)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "www"


def point(
    tree: Path, state: str, *, check: bool = False, diff: bool = False, **options: Any
) -> dict[str, Any]:
    given = {"directory": str(tree), "host": "web1", "macs": [MAC], "state": state, **options}
    return ran(given, check=check, diff=diff)


def script(tree: Path) -> str:
    return (tree / "hosts/52-54-00-12-34-56.ipxe").read_text()


def boots(tree: Path) -> tuple[str, str]:
    """What the script of the machine offers once, if the server still has it, and what it boots otherwise."""
    once, default = "", ""
    for line in script(tree).splitlines():
        words = line.split()
        if words[:1] == ["imgfetch"] and (tree / "pending" / words[3].rpartition("/")[2]).exists():
            once = "offered"
        if words[:2] == ["set", "cmdline"]:
            release = words[2].partition("=")[2]
            once, default = (release, default) if once == "offered" else (once, release)
    return once, default


def test_a_first_release_is_what_the_machine_boots(tree: Path) -> None:
    one = make_release(tree, "one")
    foretold = point(tree, "present", release=one, check=True, diff=True)
    assert foretold["changed"]
    assert foretold["diff"]["after"] == f"card {MAC}\nrelease {one}\n"
    assert not (tree / "hosts").exists()
    result = point(tree, "present", release=one, url="http://192.0.2.1/")
    assert result["changed"]
    assert result["toplevel"] == "/nix/store/one"
    assert boots(tree) == ("", one)
    answer = json.loads((tree / f"v1/boot/{MAC}").read_text())
    assert "http://192.0.2.1/hosts/52-54-00-12-34-56.ipxe" in answer["ipxe-script"]
    assert not point(tree, "present", release=one, url="http://192.0.2.1/")["changed"]
    known = ran({"directory": str(tree), "host": "web1"})
    assert (known["release"], known["changed"], list(known["releases"])) == (one, False, [one])


def test_a_trial_is_offered_and_then_confirmed(tree: Path) -> None:
    one, two = make_release(tree, "one"), make_release(tree, "two")
    point(tree, "present", release=one)
    tried = point(tree, "trial", release=two, trial=TRIAL, seconds=77)
    assert (tried["release"], tried["taken"]) == (one, False)
    assert boots(tree) == (two, one)
    assert "panic=-1" in script(tree)
    # The web server hands it out.
    (tree / "pending" / TRIAL).unlink()
    assert boots(tree) == ("", one)
    assert ran({"directory": str(tree), "host": "web1"})["taken"]
    confirmed = point(tree, "confirmed", trial=TRIAL)
    assert (confirmed["release"], confirmed["previous"], confirmed["trial"]) == (two, one, None)
    assert boots(tree) == ("", two)


def test_a_trial_that_has_ended_leaves_nothing(tree: Path) -> None:
    one, two = make_release(tree, "one"), make_release(tree, "two")
    point(tree, "present", release=one)
    before = script(tree)
    point(tree, "trial", release=two, trial=TRIAL)
    assert point(tree, "ended", trial=TRIAL)["changed"]
    assert script(tree) == before
    assert list((tree / "pending").iterdir()) == []
    # It may be said again, and is then nothing to do.
    assert not point(tree, "ended", trial=TRIAL)["changed"]


def test_another_deploy_is_refused_until_the_trial_must_have_ended(tree: Path) -> None:
    one, two = make_release(tree, "one"), make_release(tree, "two")
    point(tree, "present", release=one)
    point(tree, "trial", release=two, trial=TRIAL, lifetime=600)
    for state in ("trial", "present"):
        refused = point(tree, state, release=two, trial=OTHER_TRIAL)
        assert refused.get("failed")
        assert "another deploy tries the release" in refused["msg"]
    assert boots(tree) == (two, one)
    file = tree / "state/web1.json"
    state = json.loads(file.read_text())
    state["trial"]["begun"] -= 601
    file.write_text(json.dumps(state))
    assert point(tree, "trial", release=two, trial=OTHER_TRIAL)["changed"]
    assert [each.name for each in (tree / "pending").iterdir()] == [OTHER_TRIAL]
    # The first controller, should it live, is told.
    late = point(tree, "confirmed", trial=TRIAL)
    assert "not under way any more" in late["msg"]
    assert boots(tree) == (two, one)


def test_a_trial_falls_back_to_what_the_machine_runs(tree: Path) -> None:
    one, two, three = (make_release(tree, name) for name in ("one", "two", "three"))
    point(tree, "present", release=one)
    # Published, and never proved.
    point(tree, "present", release=two)
    point(tree, "trial", release=three, trial=TRIAL, fallback=one)
    assert boots(tree) == (three, one)


@pytest.mark.parametrize("file", ["kernel", "store", "SHA256SUMS", "manifest.json"])
def test_a_release_with_other_content_is_not_offered(tree: Path, file: str) -> None:
    one, two = make_release(tree, "one"), make_release(tree, "two")
    point(tree, "present", release=one)
    (tree / "releases" / two / file).write_text("other")
    for state in ("present", "trial"):
        refused = point(tree, state, release=two, trial=TRIAL)
        assert refused.get("failed")
        assert "releases" in refused["msg"]
    assert boots(tree) == ("", one)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "../web1"}, "not a valid name of a host"),
        ({"host": "web1\nboot"}, "not a valid name of a host"),
        ({"macs": ["52:54:00"]}, "not a valid MAC address"),
        ({"macs": ["52:54:00:12:34:56\nshell"]}, "not a valid MAC address"),
        ({"release": "../../etc"}, "not a valid name of a release"),
        ({"macs": []}, "no network card"),
        ({"keep": 0}, "must be positive"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    tree: Path, options: dict[str, Any], said: str
) -> None:
    one = make_release(tree, "one")
    refused = point(tree, "present", **{"release": one, **options})
    assert refused.get("failed")
    assert said in refused["msg"]
    assert not (tree / "hosts").exists()


def test_a_card_belongs_to_one_machine(tree: Path) -> None:
    one = make_release(tree, "one")
    point(tree, "present", release=one)
    refused = point(tree, "present", release=one, host="web2")
    assert "is a card of web1 already" in refused["msg"]
    # A card that has gone boots nothing any more.
    point(tree, "present", release=one, macs=["52-54-00-AA-AA-AA"])
    assert [each.name for each in (tree / "hosts").iterdir()] == ["52-54-00-aa-aa-aa.ipxe"]
    assert point(tree, "present", release=one, host="web2")["changed"]


def test_releases_that_no_machine_needs_go_after_a_day(tree: Path) -> None:
    names = [make_release(tree, str(number)) for number in range(4)]
    for name in names[:3]:
        point(tree, "present", release=name, keep=2)
    assert len(list((tree / "releases").iterdir())) == 4
    old = time.time() - 90000
    for name in names:
        os.utime(tree / "releases" / name, (old, old))
    # One that was sent just now, and is not named yet.
    os.utime(tree / "releases" / names[3])
    point(tree, "present", release=names[2], keep=2)
    assert {each.name for each in (tree / "releases").iterdir()} == set(names[1:])


def test_a_machine_is_forgotten(tree: Path) -> None:
    one = make_release(tree, "one")
    point(tree, "present", release=one, url="http://192.0.2.1")
    point(tree, "trial", release=one, trial=TRIAL)
    assert point(tree, "absent")["changed"]
    for directory in ("hosts", "v1/boot", "pending", "state"):
        assert list((tree / directory).iterdir()) == []
    assert not point(tree, "absent")["changed"]


def test_machines_are_changed_side_by_side(tree: Path) -> None:
    one = make_release(tree, "one")
    runs = []
    for number in range(6):
        options = {"host": f"web{number}", "macs": [f"52:54:00:00:00:0{number}"], "state": "present"}
        runs.append(start(MODULE, {"directory": str(tree), "release": one, **options}))
    assert all(not each.result().get("failed") for each in runs)
    assert len(list((tree / "hosts").iterdir())) == 6


def test_a_damaged_state_is_not_guessed(tree: Path) -> None:
    one = make_release(tree, "one")
    point(tree, "present", release=one)
    before = script(tree)
    (tree / "state/web1.json").write_text("{")
    refused = point(tree, "present", release=one)
    assert "does not hold the state of a host" in refused["msg"]
    assert script(tree) == before


@pytest.mark.parametrize("name", ["pending", "hosts", "state", "releases", "v1"])
def test_a_link_leads_nowhere(tree: Path, tmp_path: Path, name: str) -> None:
    """The tree may belong to a user who is not root, and this runs as root."""
    other = tmp_path / "etc"
    other.mkdir()
    (other / "passwd").write_text("root")
    release = make_release(tree, "a")
    if name == "releases":
        (tree / "releases").rename(tmp_path / "elsewhere")
        other = tmp_path / "elsewhere"
    (tree / name).symlink_to(other)
    before = sorted(other.rglob("*"))
    for check in (True, False):
        said = point(tree, "present", release=release, check=check)
        assert f"{tree}/{name} is a link" in said["msg"]
    assert sorted(other.rglob("*")) == before


def test_the_lock_is_not_a_link(tree: Path, tmp_path: Path) -> None:
    release = make_release(tree, "a")
    (tree / ".lock").symlink_to(tmp_path / "made-by-root")
    assert "cannot be changed" in point(tree, "present", release=release)["msg"]
    assert not (tmp_path / "made-by-root").exists()


def test_only_trials_are_removed_from_the_pending_ones(tree: Path) -> None:
    release = make_release(tree, "a")
    (tree / "pending").mkdir()
    for name in (TRIAL, "notes"):
        (tree / "pending" / name).touch()
    assert point(tree, "present", release=release)["changed"]
    assert [file.name for file in (tree / "pending").iterdir()] == ["notes"]
