# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed pointers: what is not exactly one of the publisher's, for this host and channel, is refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    LARGEST_NUMBER,
    POINTER_BYTES,
    Pointer,
    parse_pointer,
    read_pointer_key,
    sign_pointer,
    verify_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey, public_key

TOPLEVEL = f"/nix/store/{'a' * 32}-nixos-system-web1"
POINTER = Pointer("web1", "stable", 7, 1000, 2000, TOPLEVEL)
# What OpenSSH calls the half that signs.
SECRET = "PRIVATE"


def make_key(directory: Path, name: str, *options: str) -> Path:
    file = directory / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, *options, "-f", file], check=True
    )
    return file


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SshKey]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: read_pointer_key(str(make_key(directory, name))) for name in ("publisher", "other")}


@pytest.fixture(scope="module")
def signed(keys: dict[str, SshKey]) -> bytes:
    return sign_pointer(POINTER, keys["publisher"])


def check(content: bytes, key: SshKey, now: float | None = None) -> Pointer:
    return verify_pointer(content, [key.public], host="web1", channel="stable", now=now)


def test_what_was_signed_is_read_again(keys: dict[str, SshKey], signed: bytes) -> None:
    assert check(signed, keys["publisher"], now=1999.9) == POINTER


def test_an_old_key_is_trusted_beside_the_new_one(keys: dict[str, SshKey], signed: bytes) -> None:
    both = [keys["other"].public, keys["publisher"].public]
    assert verify_pointer(signed, both, host="web1", channel="stable") == POINTER


def test_every_single_change_of_a_byte_is_noticed(keys: dict[str, SshKey], signed: bytes) -> None:
    """All of the lines, and a sample of the signature, since each check starts a process."""
    begin = signed.index(b"-----BEGIN")
    for position in [*range(0, begin, 5), *range(begin, len(signed), 23)]:
        for byte in (b"0", b"\n"):
            if signed[position : position + 1] == byte:
                continue
            with pytest.raises(NixferryError):
                check(signed[:position] + byte + signed[position + 1 :], keys["publisher"])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text[:-1], id="cut"),
        pytest.param(lambda text: text + b"\n", id="more"),
        pytest.param(lambda text: text + text, id="twice"),
        pytest.param(lambda text: b"\n" + text, id="line before"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="line ends of DOS"),
        pytest.param(lambda text: text[: text.index(b"-----BEGIN")], id="no signature"),
        pytest.param(lambda text: text[text.index(b"-----BEGIN") :], id="signature only"),
        pytest.param(lambda _text: b"", id="empty"),
        pytest.param(lambda _text: b"<html>404</html>\n", id="a page of a server"),
        pytest.param(lambda text: text.replace(b"web1", b"web\xff"), id="not ASCII"),
        pytest.param(lambda text: text + b"x" * POINTER_BYTES, id="too long"),
    ],
)
def test_what_is_not_a_whole_pointer_is_refused(
    keys: dict[str, SshKey], signed: bytes, change: object
) -> None:
    with pytest.raises(NixferryError):
        check(change(signed), keys["publisher"])  # type: ignore[operator]


def test_another_key_is_refused(keys: dict[str, SshKey], signed: bytes) -> None:
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        check(signed, keys["other"])
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        verify_pointer(signed, [], host="web1", channel="stable")


def test_a_signature_for_another_purpose_is_refused(keys: dict[str, SshKey]) -> None:
    """The publisher's key also signs commits, perhaps of a text that an attacker chose."""
    signature = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", keys["publisher"].path],
        input=POINTER.text().encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        check(POINTER.text().encode() + signature, keys["publisher"])


def test_a_pointer_is_for_one_host_and_one_channel(keys: dict[str, SshKey], signed: bytes) -> None:
    for host, channel in (("web2", "stable"), ("web1", "testing"), ("WEB1", "stable")):
        with pytest.raises(NixferryError, match="is for web1 in channel stable"):
            verify_pointer(signed, [keys["publisher"].public], host=host, channel=channel)


def test_an_expired_pointer_is_refused_where_that_counts(keys: dict[str, SshKey], signed: bytes) -> None:
    with pytest.raises(NixferryError, match="has expired at 1970-01-01 00:33:20 UTC"):
        check(signed, keys["publisher"], now=2000)
    assert check(signed, keys["publisher"]) == POINTER


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "../web1"},
        {"host": "web 1"},
        {"host": ".hidden"},
        {"host": ""},
        {"channel": "a/b"},
        {"channel": "a\nserial 9"},
        {"serial": -1},
        {"serial": LARGEST_NUMBER + 1},
        {"expires": 1000},
        {"toplevel": "/nix/store/x"},
        {"toplevel": f"{TOPLEVEL}/bin/sh"},
        {"toplevel": f"{TOPLEVEL} "},
    ],
    ids=str,
)
def test_nothing_wrong_is_signed(keys: dict[str, SshKey], wrong: dict[str, object]) -> None:
    with pytest.raises(NixferryError):
        sign_pointer(replace(POINTER, **wrong), keys["publisher"])  # type: ignore[arg-type]


@given(st.text(max_size=400))
def test_reading_any_text_ends_with_a_pointer_or_with_words(text: str) -> None:
    with contextlib.suppress(NixferryError):
        parse_pointer(text)


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,30}", fullmatch=True)


@given(
    names,
    names,
    st.integers(0, LARGEST_NUMBER),
    st.integers(0, LARGEST_NUMBER - 1),
    st.integers(1, 10**9),
)
def test_text_and_pointer_are_the_same(
    host: str, channel: str, serial: int, issued: int, lifetime: int
) -> None:
    pointer = Pointer(host, channel, serial, issued, min(issued + lifetime, LARGEST_NUMBER), TOPLEVEL)
    assert parse_pointer(pointer.text()) == pointer


@pytest.mark.parametrize("number", ["07", "+7", "7 ", "\u0667", "7.0", "0x7", "", "9" * 16])
def test_numbers_have_one_form(number: str) -> None:
    with pytest.raises(NixferryError):
        parse_pointer(POINTER.text().replace("serial 7", f"serial {number}"))


# --- keys ---------------------------------------------------------------------------------------------------------


def test_the_public_half_is_found_without_its_file(tmp_path: Path) -> None:
    file = make_key(tmp_path, "key")
    expected = Path(f"{file}.pub").read_text().split()[:2]
    Path(f"{file}.pub").unlink()
    assert read_pointer_key(str(file)).public.split() == expected


def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = make_key(tmp_path, "key")
    file.chmod(0o644)
    with pytest.raises(NixferryError, match="cannot be used to sign") as raised:
        read_pointer_key(str(file))
    assert "UNPROTECTED" in "\n".join(raised.value.output)


def test_a_key_with_a_passphrase_asks_nothing(tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret words", "-f", file], check=True)
    with pytest.raises(NixferryError, match="cannot be used to sign") as raised:
        read_pointer_key(str(file))
    assert "ssh-agent" in raised.value.remedy
    # Its public half alone is enough for what an agent signs, and without the agent the words are ssh-keygen's.
    key = read_pointer_key(f"{file}.pub")
    with pytest.raises(NixferryError, match="did not sign"):
        sign_pointer(POINTER, key)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    process.terminate()
    process.communicate(timeout=10)


@pytest.mark.usefixtures("agent")
def test_an_agent_signs_for_a_public_key(tmp_path: Path) -> None:
    file = make_key(tmp_path, "key")
    subprocess.run(["ssh-add", "-q", file], check=True)
    file.unlink()
    key = read_pointer_key(f"{file}.pub")
    assert check(sign_pointer(POINTER, key), key) == POINTER


@pytest.mark.parametrize(
    "content", ["", "secret-canary\n", f"-----BEGIN OPENSSH {SECRET} KEY-----\ncanary\n"]
)
def test_a_file_without_a_key_is_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(NixferryError) as raised:
        read_pointer_key(str(file))
    assert "canary" not in f"{raised.value}{raised.value.remedy}{raised.value.output}"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NixferryError, match="cannot be read") as raised:
        read_pointer_key(str(tmp_path / "none"))
    assert "ssh-keygen -t ed25519" in raised.value.remedy


def test_a_public_key_is_told_from_other_text() -> None:
    assert public_key("ssh-ed25519 AAAA me@here\n") == "ssh-ed25519 AAAA"
    assert public_key("sk-ssh-ed25519@openssh.com AAAA") == "sk-ssh-ed25519@openssh.com AAAA"
    for text in (
        "",
        "ssh-ed25519",
        'command="x" ssh-ed25519 AAAA',
        "ssh-rsa AAAA\nssh-rsa BBBB",
        "AAAA ssh-rsa",
    ):
        assert public_key(text) is None


def test_ssh_keygen_is_needed(
    keys: dict[str, SshKey], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(NixferryError, match="could not be started") as raised:
        sign_pointer(POINTER, keys["publisher"])
    assert "OpenSSH" in raised.value.remedy
