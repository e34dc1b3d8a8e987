# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placing secrets, with the real scripts in every shell."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from guard_host import SHELLS, Host
from secrets_host import CHOWN, SecretsHost, make_secrets_host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
# busybox prefers its own programs to those that a test puts in their place.
in_shells_that_run_any_program = pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
WORD = "canary-of-a-secret"
BINARY = bytes(range(256)) * 3
AT_ONCE = 20.0
"""Seconds within which a secret is replaced on a busy machine; to read four terabytes takes hours."""
OTHERS = {
    "no-newline": b"x",
    "empty": b"",
    "windows": b"a\r\nb\r\n",
    "newlines": b"\n\n\n",
    "binary": BINARY,
    "large": BINARY * 5000,
}


@pytest.fixture
def secrets(host: Host) -> SecretsHost:
    if host.shell == "busybox" and os.geteuid() != 0:
        pytest.skip("busybox's own stat says that files do not belong to root")
    return make_secrets_host(host)


def files(directory: Path, contents: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    for name, content in contents.items():
        (directory / f"source-{name}").write_bytes(content)
    return {name: {"file": str(directory / f"source-{name}")} for name in contents}


@in_every_shell
def test_every_content_arrives_as_it_is(secrets: SecretsHost) -> None:
    declared = files(secrets.directory, OTHERS)
    told = secrets.place(declared, check_mode=True)
    assert told["changed"]
    assert secrets.round_trips == 1
    assert not secrets.path("/run/keys").exists()

    placed = secrets.place(declared)
    assert (
        placed["secrets"]
        == told["secrets"]
        == {name: {"path": f"/run/keys/{name}", "change": ["new"]} for name in OTHERS}
    )
    assert {name: secrets.content(f"/run/keys/{name}") for name in OTHERS} == OTHERS
    assert {secrets.mode(f"/run/keys/{name}") for name in OTHERS} == {0o600}
    assert secrets.mode("/run/keys") == 0o711
    assert secrets.mode("/run/keys/.nixferry") == 0o700
    assert secrets.round_trips == 3

    assert not secrets.place(declared)["changed"]
    assert secrets.round_trips == 4
    assert list(secrets.directory.glob("run/nixferry-*")) == []


@in_shells_that_run_any_program
def test_what_changes_is_told_and_nothing_of_a_content(secrets: SecretsHost) -> None:
    odd = '/run/keys/with space & \\ "quotes" $HOME é'
    declared = {"app": {"text": WORD, "path": odd, "user": "app", "permissions": "0440"}, "b": {"text": WORD}}
    first = secrets.place(declared)
    assert first["diff"]["after"] == f"app ({odd}): app:root 440\nb (/run/keys/b): root:root 600\n"
    assert first["diff"]["before"] == ""
    assert secrets.content(odd) == WORD.encode()
    assert secrets.mode(odd) == 0o440
    assert any(line.startswith("app:root ") for line in secrets.chowns())
    # Here the file cannot really belong to another user.
    declared["app"]["user"] = "root"
    assert not secrets.place(declared)["changed"]

    declared["app"]["permissions"] = "0600"
    declared["b"]["text"] = f"{WORD}2"
    second = secrets.place(declared)
    assert {name: entry["change"] for name, entry in second["secrets"].items()} == {
        "app": ["mode"],
        "b": ["content"],
    }
    assert second["diff"] == {
        "before_header": "secrets",
        "after_header": "secrets",
        "before": f"app ({odd}): root:root 440\nb (/run/keys/b): root:root 600\n",
        "after": f"app ({odd}): root:root 600\nb (/run/keys/b): root:root 600, new content\n",
    }
    assert (secrets.mode(odd), secrets.content(odd)) == (0o600, WORD.encode())
    assert secrets.content("/run/keys/b") == f"{WORD}2".encode()
    for text in (WORD, f"{WORD}2"):
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert not any(text in printed or digest in printed for printed in secrets.printed)
        assert not any(text in str(result) or digest in str(result) for result in (first, second))


@in_every_shell
def test_what_is_declared_no_more(secrets: SecretsHost) -> None:
    two = {"a": {"text": "1"}, "b": {"text": "2"}}
    secrets.place(two)
    foreign = secrets.path("/run/keys/foreign")
    foreign.write_text("of another user")
    assert not secrets.place({"a": two["a"]})["changed"]
    assert secrets.place({"a": two["a"]}, phase="pre-activation", exclusive=True)["removed"] == []
    told = secrets.place({"a": two["a"]}, exclusive=True, check_mode=True)
    assert told["removed"] == ["/run/keys/b"]
    assert told["diff"]["before"] == "/run/keys/b: placed earlier\n"
    assert secrets.path("/run/keys/b").exists()
    assert secrets.place({"a": two["a"]}, exclusive=True)["removed"] == ["/run/keys/b"]
    assert not secrets.path("/run/keys/b").exists()
    assert not secrets.place({"a": two["a"]}, exclusive=True)["changed"]
    assert secrets.place({}, exclusive=True)["removed"] == ["/run/keys/a"]
    assert [path.name for path in secrets.path("/run/keys").iterdir() if path.is_file()] == ["foreign"]


@in_shells_that_run_any_program
def test_an_owner_that_is_still_to_come(secrets: SecretsHost) -> None:
    late = {"app": {"text": WORD, "user": "ghost", "permissions": "0640"}}
    with pytest.raises(NixferryError, match="user or group ghost:root for /run/keys/app does not exist"):
        secrets.place(late)
    assert secrets.leftovers() == []
    placed = secrets.place(late, phase="pre-activation")
    assert placed["waiting_for_owner"] == ["app"]
    assert secrets.mode("/run/keys/app") == 0o600
    assert not any("ghost" in line for line in secrets.chowns())
    assert not secrets.place(late, phase="pre-activation")["changed"]
    # The activation brings the user.
    secrets.host_.program("id", '#!/bin/sh\ncase $* in "-un"*) echo root ;; *) echo 0 ;; esac\n')
    secrets.host_.program("chown", CHOWN.replace("ghost", "nobody-at-all"))
    after = secrets.place(late, phase="post-activation")
    assert after["secrets"]["app"]["change"] == ["owner", "mode"]
    assert secrets.mode("/run/keys/app") == 0o640
    assert secrets.chowns()[-1].startswith("ghost:root ")


def unsafe(secrets: SecretsHost, entry: Mapping[str, Any], why: str) -> None:
    with pytest.raises(NixferryError, match=why) as error:
        secrets.place({"app": {"text": WORD, **entry}})
    assert WORD not in error.value.text("web1") + str(error.value.output)
    assert secrets.leftovers() == []
    with pytest.raises(NixferryError, match=why):
        secrets.place({"app": {"text": WORD, **entry}}, check_mode=True)


@in_every_shell
def test_places_that_are_refused(secrets: SecretsHost) -> None:
    disk = {"storage": "persistent"}
    for name, mode in (("shared", 0o1777), ("team", 0o775), ("fine", 0o755)):
        secrets.path(f"/srv/{name}/keys").mkdir(parents=True)
        secrets.path(f"/srv/{name}").chmod(mode)
    unsafe(secrets, {**disk, "path": "/srv/shared/keys/app"}, "every user can write to /srv/shared")
    secrets.path("/srv/fine/to-shared").symlink_to(secrets.path("/srv/shared/keys"))
    unsafe(secrets, {**disk, "path": "/srv/fine/to-shared/app"}, "every user can write to /srv/shared")
    secrets.path("/srv/fine/there").symlink_to("../fine/to-shared/..")
    unsafe(secrets, {**disk, "path": "/srv/fine/there/app"}, "every user can write to /srv/shared")
    secrets.path("/srv/fine/circle").symlink_to("circle")
    unsafe(secrets, {**disk, "path": "/srv/team/keys/app"}, "a group .* write to /srv/team")
    unsafe(secrets, {**disk, "path": "/srv/fine/circle/app"}, "leads in circles")
    secrets.path("/nix/store/1-etc").mkdir(parents=True)
    secrets.path("/srv/fine/store").symlink_to("/nix/store/1-etc")
    unsafe(secrets, {**disk, "path": "/srv/fine/store/app"}, "is in the Nix store")
    secrets.path("/srv/fine/file").write_text("")
    unsafe(secrets, {**disk, "path": "/srv/fine/file/app"}, "is not a directory")
    secrets.path("/srv/fine/keys/app").symlink_to("/etc/passwd")
    unsafe(secrets, {**disk, "path": "/srv/fine/keys/app"}, "exists and is not a regular file")
    secrets.path("/srv/fine/keys/app").unlink()
    assert secrets.place({"app": {"text": WORD, **disk, "path": "/srv/fine/keys/app"}})["changed"]
    # A link of root's may lead to a good place.
    secrets.path("/srv/fine/link").symlink_to(secrets.path("/srv/fine/keys"))
    assert secrets.place({"app": {"text": WORD, **disk, "path": "/srv/fine/link/b"}})["changed"]
    assert secrets.content("/srv/fine/keys/b") == WORD.encode()


@in_every_shell
def test_the_store_under_another_name(secrets: SecretsHost) -> None:
    """As a bind mount shows it, or a link of /proc, which names a process that is gone when it is read."""
    disk = {"storage": "persistent"}
    elsewhere = secrets.path("/srv/fine/mounted")
    (elsewhere / "1-etc").mkdir(parents=True)
    secrets.path("/nix").mkdir(exist_ok=True)
    secrets.path("/nix/store").symlink_to(elsewhere)
    unsafe(secrets, {**disk, "path": "/srv/fine/mounted/1-etc/app"}, "is in the Nix store")
    unsafe(secrets, {**disk, "path": "/srv/fine/mounted/new/app"}, "is in the Nix store")
    secrets.path("/srv/fine/self").symlink_to(f"/proc/self/root{elsewhere}")
    unsafe(
        secrets, {**disk, "path": "/srv/fine/self/1-etc/app"}, "a link on the way leads nowhere, or elsewhere"
    )


# As `setfacl --modify default:user:1000:rwx` sets it (linux/posix_acl_xattr.h): tag, permissions, user.
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, user)
    for tag, permissions, user in (
        (1, 7, 0xFFFFFFFF),
        (2, 7, 1000),
        (4, 5, 0xFFFFFFFF),
        (16, 7, 0xFFFFFFFF),
        (32, 5, 0xFFFFFFFF),
    )
)


@in_every_shell
def test_a_directory_that_gives_new_files_to_others(secrets: SecretsHost) -> None:
    declared = {"app": {"text": WORD, "permissions": "0640"}}
    keys = secrets.path("/run/keys")
    keys.mkdir()
    keys.chmod(0o755)
    try:
        os.setxattr(keys, "system.posix_acl_default", DEFAULT_ACL)
    except OSError as error:
        pytest.skip(f"this file system has no access control lists: {error.strerror}")
    with pytest.raises(NixferryError, match="could not be written") as failed:
        secrets.place(declared)
    assert any("/run/keys passes an access control list on" in line for line in failed.value.output)
    assert secrets.leftovers() == []
    os.removexattr(keys, "system.posix_acl_default")
    assert secrets.place(declared)["changed"]


def test_what_is_not_in_main_memory_is_no_place_for_tmpfs(secrets: SecretsHost) -> None:
    secrets.path("/srv/fine").mkdir(parents=True)
    unsafe(secrets, {"path": "/srv/fine/app"}, "is not in main memory: it lies on ext4")
    unsafe(
        secrets, {"dest_dir": "/srv/to/come", "storage": "sealed"}, "is not in main memory: it lies on ext4"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_of_another_user_is_refused(secrets: SecretsHost) -> None:
    secrets.path("/srv/home/keys").mkdir(parents=True)
    os.chown(secrets.path("/srv/home"), 1000, -1)
    unsafe(
        secrets, {"storage": "persistent", "path": "/srv/home/keys/app"}, "/srv/home belongs to another user"
    )


def belongs_to(secrets: SecretsHost, user: str, name: str) -> None:
    """Let the file ``name`` be that of another user, who may write to it."""
    stat, its = secrets.host_.programs / "stat", secrets.host_.programs / "its-stat"
    stat.rename(its)
    asked = f'case $* in "-c %u %g %U"*{name}) {its} "$@" | sed s/root/{user}/; exit ;; esac'
    secrets.host_.program("stat", f'#!/bin/sh\n{asked}\nexec {its} "$@"\n')


@in_shells_that_run_any_program
@pytest.mark.parametrize("phase", ["all", "post-activation"])
def test_what_the_old_owner_writes_does_not_become_the_new_ones(secrets: SecretsHost, phase: str) -> None:
    declared = {"app": {"text": WORD}}
    secrets.place(declared)
    belongs_to(secrets, "mallory", "app")
    path = secrets.path("/run/keys/app")
    before = path.stat().st_ino
    with path.open("r+") as held_open:
        secrets.meanwhile = lambda: path.write_text("written by mallory")
        placed = secrets.place(declared, phase=phase)
        held_open.write("written by mallory")
    assert placed["secrets"]["app"]["change"] == ["owner"]
    assert path.read_text() == WORD
    assert path.stat().st_ino != before
    assert any(line.startswith("root:root ") for line in secrets.chowns())


@in_every_shell
def test_a_file_of_any_size_is_replaced_at_once(secrets: SecretsHost) -> None:
    declared = {"app": {"text": WORD}, "b": {"text": WORD}}
    secrets.place(declared)
    with secrets.path("/run/keys/app").open("r+b") as file:
        file.truncate(2**42)
    began = time.monotonic()
    assert secrets.place(declared)["secrets"]["app"]["change"] == ["content"]
    assert secrets.content("/run/keys/app") == WORD.encode()
    assert not secrets.place(declared)["changed"]
    assert time.monotonic() - began < AT_ONCE


@in_shells_that_run_any_program
def test_a_file_that_grows_while_it_is_read_is_replaced(secrets: SecretsHost) -> None:
    declared = {"app": {"text": WORD}}
    secrets.place(declared)
    digest, timeout = shutil.which("sha256sum"), shutil.which("timeout")
    secrets.host_.program("sha256sum", f'#!/bin/sh\n[ $# = 0 ] || exec sleep 1000\nexec {digest} "$@"\n')
    secrets.host_.program("timeout", f'#!/bin/sh\nshift\nexec {timeout} 0.3 "$@"\n')
    assert secrets.place(declared)["secrets"]["app"]["change"] == ["content"]
    assert secrets.content("/run/keys/app") == WORD.encode()


@in_shells_that_run_any_program
def test_a_file_with_as_many_links_as_it_may_have_is_replaced(secrets: SecretsHost) -> None:
    declared = {"app": {"text": "old"}, "b": {"text": "1"}}
    secrets.place(declared)
    refuse = (
        '#!/bin/sh\ncase $2 in */keys/app) echo "ln: Too many links" >&2; exit 1 ;; esac\nexec /bin/ln "$@"\n'
    )
    secrets.host_.program("ln", refuse)
    declared["b"]["text"] = "2"
    secrets.place(declared)
    declared["app"]["text"] = WORD
    secrets.place(declared)
    assert [secrets.content(f"/run/keys/{name}") for name in ("app", "b")] == [WORD.encode(), b"2"]


FAULTS = {
    "connection": "did not arrive completely",
    "disk": "could not be written: the old ones",
    "owner": "could not be written: the old ones",
    "place": "could not be placed: the old ones",
}


@in_shells_that_run_any_program
@pytest.mark.parametrize("fault", FAULTS)
def test_all_of_it_or_nothing(secrets: SecretsHost, fault: str) -> None:
    old = {name: {"text": f"old {name}"} for name in "abcd"}
    new = {name: {"text": f"{WORD} {name}"} for name in "abcdx"}
    secrets.place(old)
    before = secrets.leftovers()
    if fault == "connection":
        secrets.cut_off = 3
    elif fault == "disk":
        real = shutil.which("head")
        text = f'#!/bin/sh\necho >>$HOST/heads; [ $(wc -l <$HOST/heads) -lt 4 ] || exit 1\nexec {real} "$@"\n'
        secrets.host_.program("head", text)
    elif fault == "owner":
        secrets.host_.program("chown", "#!/bin/sh\necho 'chown: invalid group' >&2; exit 1\n")
    else:
        real = shutil.which("mv")
        moved = "[ -e $HOST/moved ] || { : >$HOST/moved; exit 1; }"
        text = f'#!/bin/sh\ncase $* in *.placing*keys/c) {moved} ;; esac\nexec {real} "$@"\n'
        secrets.host_.program("mv", text)
    with pytest.raises(NixferryError, match=FAULTS[fault]) as error:
        secrets.place(new)
    assert WORD not in error.value.text("web1") + str(error.value.output)
    assert {name: secrets.content(f"/run/keys/{name}") for name in "abcd"} == {
        name: f"old {name}".encode() for name in "abcd"
    }
    assert not secrets.path("/run/keys/x").exists()
    assert secrets.leftovers() == before
    # Nothing is in the way of the next attempt.
    secrets.cut_off = 0
    for name in ("head", "mv"):
        (secrets.host_.programs / name).unlink(missing_ok=True)
    secrets.host_.program("chown", CHOWN)
    assert len(secrets.place(new)["secrets"]) == 5
    assert secrets.content("/run/keys/x") == f"{WORD} x".encode()


@in_every_shell
def test_units_learn_of_contents_that_change_and_of_nothing_else(secrets: SecretsHost) -> None:
    secrets.path("/run/systemd/system").mkdir(parents=True)
    declared: dict[str, Any] = {
        "a": {"text": "1", "restart_units": ["app"], "reload_units": "web.service"},
        "b": {"text": "1", "restart_units": ["web.service", "app.service", "-.mount"]},
        "c": {"text": "1", "reload_units": ["proxy.service"]},
    }

    told = secrets.place(declared)
    assert told["units"] == ["-.mount", "app.service", "proxy.service", "web.service"]
    assert secrets.calls() == [
        "daemon-reload",
        "reload-or-restart proxy.service",
        "restart -.mount",
        "restart app.service",
        "restart web.service",
    ]
    assert not secrets.place(declared)["changed"]
    declared["b"]["permissions"] = "0400"
    assert secrets.place(declared)["units"] == []
    assert secrets.calls() == []
    declared["a"]["text"] = "2"
    assert secrets.place(declared)["units"] == ["app.service", "web.service"]
    assert secrets.calls() == ["reload-or-restart web.service", "restart app.service"]
    declared["c"] = {"text": WORD, "restart_units": ["ill.service"]}
    failed = secrets.place(declared)
    assert failed["failed"]
    assert failed["changed"]
    assert "ill.service" in failed["msg"]
    assert WORD not in str(failed)
    assert secrets.content("/run/keys/c") == WORD.encode()


@in_every_shell
def test_what_is_sealed_lies_on_the_disk_in_no_other_form(secrets: SecretsHost) -> None:
    declared = {"app": {"text": WORD, "storage": "sealed"}, "b": {"text": WORD}}
    with pytest.raises(NixferryError, match="systemd-creds was not found"):
        secrets.place(declared)
    secrets.path("/run/systemd/system").mkdir(parents=True)
    secrets.place(declared)
    boot_unit = secrets.path("/etc/systemd/system.control/sysinit.target.wants/nixferry-secrets.service")
    assert "Before=sysinit.target" in boot_unit.read_text()
    sealed = secrets.path("/var/lib/nixferry/secrets/sealed/%2frun%2fkeys%2fapp")
    assert secrets.content("/run/keys/app") == WORD.encode()
    assert sealed.read_bytes().startswith(b"sealed\n")
    for path in secrets.path("/var").rglob("*"):
        assert not path.is_file() or WORD.encode() not in path.read_bytes()
    assert not secrets.place(declared)["changed"]
    # Another one has been sealed, or none.
    sealed.write_bytes(b"sealed\nsomething else")
    assert secrets.place(declared)["secrets"]["app"]["change"] == ["content"]
    assert not secrets.place(declared)["changed"]
    sealed.unlink()
    assert secrets.place(declared)["secrets"]["app"]["change"] == ["content"]
    # A reboot takes the others away.
    secrets.boot()
    assert secrets.content("/run/keys/app") == WORD.encode()
    assert secrets.mode("/run/keys/app") == 0o600
    assert secrets.place(declared)["secrets"].keys() == {"b"}
    declared["app"]["storage"] = "tmpfs"
    declared["b"]["text"] = "changed"
    secrets.place(declared)
    assert not sealed.exists()
    assert secrets.content("/run/keys/app") == WORD.encode()


def test_what_is_sent_again_after_a_lost_answer_is_done_once(secrets: SecretsHost) -> None:
    secrets.place({"a": {"text": "old"}})
    secrets.resend = True
    secrets.place({"a": {"text": WORD}})
    kept = secrets.path("/run/keys/a").stat()
    assert secrets.content("/run/keys/a") == WORD.encode()
    # The file in its place, and as part of the one set that there is.
    assert kept.st_nlink == 2
    assert len(list(secrets.path("/var/lib/nixferry/secrets/sets").iterdir())) == 1
    assert not secrets.place({"a": {"text": WORD}})["changed"]


def test_another_user_deploys(secrets: SecretsHost) -> None:
    host = secrets.host_
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    with pytest.raises(NixferryError, match="another deploy to this host is running"):
        secrets.place({"a": {"text": WORD}})
    assert not secrets.path("/run/keys/a").exists()
    host.confirm(started.activation_id)
    assert secrets.place({"a": {"text": WORD}})["changed"]


def test_five_hundred(secrets: SecretsHost) -> None:
    declared = {f"secret-{number}": {"text": f"{WORD} {number}"} for number in range(500)}
    assert len(secrets.place(declared)["secrets"]) == 500
    assert secrets.round_trips == 2
    assert all(
        secrets.content(f"/run/keys/secret-{number}") == f"{WORD} {number}".encode() for number in range(500)
    )
    assert not secrets.place(declared)["changed"]
    assert secrets.round_trips == 3


@in_every_shell
def test_each_secret_has_a_unit_to_be_ordered_after(secrets: SecretsHost) -> None:
    secrets.path("/run/systemd/system").mkdir(parents=True)
    units = secrets.path("/etc/systemd/system.control")
    foreign = secrets.path("/etc/systemd/system/theirs-key.service")
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Service]\n")
    odd = '/run/keys/a "b" $c %d'
    declared = {
        "app": {"text": WORD},
        "odd": {"text": WORD, "path": odd},
        "theirs": {"text": WORD},
        "no unit": {"text": WORD},
    }
    secrets.place(declared)
    assert sorted(path.name for path in units.glob("*.service")) == ["app-key.service", "odd-key.service"]
    assert (units / "app-key.service").stat().st_mode & 0o777 == 0o644
    lines = (units / "odd-key.service").read_text().splitlines()
    assert (
        lines[-1]
        == """ExecStart=/bin/sh -c 'until [ -e "$$1" ]; do sleep 0.3; done' sh "/run/keys/a \\"b\\" $$c %%d\""""
    )
    assert secrets.calls() == ["daemon-reload"]
    declared["app"]["text"] = "another"
    secrets.place(declared)
    assert secrets.calls() == []
    del declared["app"]
    secrets.place(declared, exclusive=True)
    assert secrets.calls() == ["--no-block stop app-key.service", "daemon-reload"]
    assert [path.name for path in units.glob("*.service")] == ["odd-key.service"]
