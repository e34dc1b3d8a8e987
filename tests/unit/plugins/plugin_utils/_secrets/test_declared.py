# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How secrets are declared, and where their contents come from."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets import contents as _secrets_source
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.contents import read_contents
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import parse_secrets
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.wire import compare_script

WORD = "canary-of-a-secret"


def read(declared: dict[str, Any], directory: Path = Path("/")) -> dict[str, bytes]:
    return read_contents(
        parse_secrets(declared), lambda name: (directory / name).read_bytes(), directory=str(directory)
    )


def test_defaults() -> None:
    (secret,) = parse_secrets({"app": {"text": WORD}})
    assert (secret.path, secret.owner, secret.mode) == ("/run/keys/app", "root:root", "600")
    assert (secret.upload_at, secret.storage) == ("pre-activation", "tmpfs")
    assert WORD not in repr(secret)
    (persistent,) = parse_secrets({"app": {"text": WORD}}, {"storage": "persistent"})
    assert persistent.path == "/var/lib/nixferry-keys/app"
    (elsewhere,) = parse_secrets({"app": {"text": WORD, "dest_dir": "/run/mine"}}, {"dest_dir": "/run/all"})
    assert elsewhere.path == "/run/mine/app"
    (whole,) = parse_secrets({"app": {"text": WORD, "path": "/run/mine/x"}}, {"dest_dir": "/run/all"})
    assert whole.path == "/run/mine/x"


def test_nixops_own_words() -> None:
    """What `nix eval --json` prints of deployment.keys, with everything that is not given."""
    (secret,) = parse_secrets(
        {
            "app": {
                "name": "app.env",
                "text": None,
                "keyFile": None,
                "keyCommand": ["pass", "show", "app"],
                "destDir": "/run/keys/",
                "path": "/run/keys/app.env",
                "user": "app",
                "group": "keys",
                "permissions": "0640",
                "uploadAt": "post-activation",
                "restartUnits": ["app"],
            }
        }
    )
    assert (secret.path, secret.owner, secret.mode) == ("/run/keys/app.env", "app:keys", "640")
    assert (secret.source, secret.value) == ("command", ["pass", "show", "app"])
    assert (secret.upload_at, secret.restart_units) == ("post-activation", ("app.service",))


REFUSED: list[tuple[Any, str]] = [
    (WORD, "is not a dictionary"),
    ({}, "needs one of text, file, command, and has none"),
    ({"text": WORD, "file": WORD}, "has text and file"),
    ({"text": 1234}, "has a text that is not a string"),
    ({"text": {"password": WORD}}, "has a text that is not a string"),
    ({"text": WORD, "txet": WORD}, "has no option txet"),
    ({"text": WORD, "content": WORD}, "has text and content, which mean the same"),
    ({"keyFile": WORD, "src": WORD}, "has keyFile and src, which mean the same"),
    ({"text": WORD, "mode": "0600", "permissions": "0640"}, "has mode and permissions"),
    ({"content": WORD, "src": WORD}, "has text and file"),
    ({"text": WORD, "mode": 384}, "has a mode that is not a string"),
    ({"text": WORD, "allow_empty": "yes"}, "not true or false"),
    ({"text": WORD, "permissions": 384}, "has a permissions that is not a string"),
    ({"text": WORD, "permissions": "rw"}, "not octal digits"),
    ({"text": WORD, "permissions": "0666"}, "every user could change it"),
    ({"text": WORD, "permissions": "4755"}, "not octal digits"),
    ({"text": WORD, "user": "-R"}, "has a user that is none"),
    ({"text": WORD, "group": "a:b"}, "has a group that is none"),
    ({"text": WORD, "upload_at": WORD}, "not one of pre-activation, post-activation"),
    ({"text": WORD, "storage": WORD}, "not one of tmpfs, persistent, sealed"),
    ({"text": WORD, "path": "relative/app"}, "cannot be used"),
    ({"text": WORD, "path": "/run/keys/../../etc/shadow"}, "cannot be used"),
    ({"text": WORD, "path": "/app"}, "cannot be used"),
    ({"text": WORD, "path": "/run/keys/.nixferry/x"}, "cannot be used"),
    ({"text": WORD, "path": "/run/keys/a\tb"}, "cannot be used"),
    ({"text": WORD, "path": "/nix/store/app"}, "in the Nix store"),
    ({"text": WORD, "path": "/run/a/app", "dest_dir": "/run/b"}, "not in its dest_dir"),
    ({"text": WORD, "name": "../app"}, "not the name of a file"),
    ({"text": WORD, "name": ".nixferry"}, "not the name of a file"),
    ({"text": WORD, "restart_units": ["a b"]}, "not the name of a unit"),
    ({"text": WORD, "reload_units": {"a": 1}}, "not a list of names"),
]


@pytest.mark.parametrize(("entry", "problem"), REFUSED)
def test_what_is_refused_is_not_repeated(entry: object, problem: str) -> None:
    with pytest.raises(NixferryError, match=problem) as error:
        parse_secrets({"app": entry})
    assert "the secret app" in error.value.cause
    assert WORD not in error.value.text("web1")


def test_the_words_of_ansible_s_copy_are_understood() -> None:
    words = {"content": WORD, "dest": "/run/keys/app.env", "owner": "app", "group": "keys", "mode": "0640"}
    assert parse_secrets({"app": words}, {"dest_dir": "/run/other"}) == parse_secrets(
        {
            "app": {
                "text": WORD,
                "path": "/run/keys/app.env",
                "user": "app",
                "group": "keys",
                "permissions": "0640",
            }
        }
    )
    assert parse_secrets({"app": {"src": "key"}}) == parse_secrets({"app": {"file": "key"}})
    # Metadata from Nix has all options.
    assert parse_secrets({"app": {"src": "key", "keyFile": None}})[0].value == "key"
    assert parse_secrets({"app": {"keyFile": None, "src": "key"}})[0].value == "key"


WORDS_OF_OTHERS = {
    "cmd": "command",
    "argv": "command",
    "permission": "permissions",
    "restart_unit": "restart_units",
}


@pytest.mark.parametrize(("word", "meant"), WORDS_OF_OTHERS.items())
def test_other_words_lead_to_the_option_that_was_meant(word: str, meant: str) -> None:
    with pytest.raises(NixferryError, match=f"has no option {word}") as error:
        parse_secrets({"app": {word: WORD}})
    assert error.value.remedy.startswith(f"Did you mean {meant}?")
    assert WORD not in error.value.text("web1")


def test_two_secrets_with_one_path() -> None:
    with pytest.raises(NixferryError, match="the secret b has the same path as a"):
        parse_secrets({"a": {"text": "1", "name": "x"}, "b": {"text": "2", "name": "x"}})


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\0\r\n")
    declared = {
        "text": {"text": "é"},
        "file": {"file": "key"},
        "words": {"command": ["printf", "%s", "$HOME a"]},
        "line": {"command": "printf '%s' 'a b'"},
        "place": {"command": "pwd"},
    }
    assert read(declared, tmp_path) == {
        "text": "é".encode(),
        "file": b"\0\r\n",
        "words": b"$HOME a",
        "line": b"a b",
        "place": f"{tmp_path}\n".encode(),
    }


def test_a_command_that_fails_shows_what_it_complained_of_only() -> None:
    failing = f"echo {WORD}; echo no such entry >&2; exit 4"
    with pytest.raises(NixferryError, match="secret app failed with exit code 4") as error:
        read({"app": {"command": ["sh", "-c", failing]}})
    assert error.value.output == ["no such entry"]
    assert WORD not in error.value.text("web1")
    with pytest.raises(NixferryError, match="cannot be started: No such file"):
        read({"app": {"command": f"/nonexistent/{WORD}"}})
    for command in ("", [], "unbalanced '", 5):
        with pytest.raises(NixferryError, match="neither a list of words nor a line"):
            read({"app": {"command": command}})


def test_a_command_that_prints_nothing() -> None:
    silent = {"command": ["sh", "-c", "echo no such entry >&2"]}
    with pytest.raises(NixferryError, match="secret app printed nothing") as error:
        read({"app": silent})
    assert error.value.output == ["no such entry"]
    assert "allow_empty" in error.value.remedy
    assert read({"app": {**silent, "allow_empty": True}, "text": {"text": ""}}) == {"app": b"", "text": b""}


def test_a_command_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_secrets_source, "COMMAND_DEADLINE", 0.2)
    with pytest.raises(NixferryError, match=r"did not end within 0\.2 s"):
        read({"app": {"command": ["sh", "-c", f"echo {WORD}; sleep 1000 & sleep 1000"]}})


def test_a_content_in_the_place_of_its_file_is_not_repeated(tmp_path: Path) -> None:
    def refuse(name: str) -> bytes:
        raise OSError(errno.EIO, "no vault password of this run decrypts it", name)

    declared = {"app": {"file": WORD}}
    with pytest.raises(NixferryError, match="file of the secret app cannot be read: no vault") as error:
        read_contents(parse_secrets(declared), refuse, directory="/")
    assert WORD not in error.value.text("web1")
    with pytest.raises(NixferryError, match="cannot be read: No such file or directory") as error:
        read(declared, tmp_path)
    assert WORD not in error.value.text("web1")


def test_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_secrets_source, "LARGEST_TOTAL", 2**20)
    with pytest.raises(NixferryError, match="larger than 1 MiB"):
        read({"a": {"text": "x" * 2**19}, "b": {"text": "x" * (2**19 + 1)}})


@given(st.text(min_size=5), st.text(min_size=1))
def test_the_question_holds_neither_a_content_nor_its_hash(content: str, name: str) -> None:
    """And it is another one each time."""
    try:
        secrets = parse_secrets({name: {"text": content, "path": "/run/keys/app"}})
    except NixferryError:
        return
    contents = read_contents(secrets, lambda _name: b"", directory="/")
    first, second = (compare_script(secrets, contents, owners_may_come=False) for _time in range(2))
    entries = [line for line in first.splitlines() if line.startswith("ENTRIES=")]
    assert entries != [line for line in second.splitlines() if line.startswith("ENTRIES=")]
    digest = hashlib.sha256(content.encode()).hexdigest()
    assert digest not in first
