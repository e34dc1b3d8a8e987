# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Check the secrets that the user declares. Nothing that can be printed holds a content.

The options are those of NixOps' ``deployment.keys``, in Ansible's spelling or in NixOps' own, so that metadata of fleet
files can be passed unchanged, and in the words of Ansible's modules for files. No message repeats a value: it may stand
in the wrong place.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.READ_SECRETS
UPLOADS = ("pre-activation", "post-activation")
TMPFS, PERSISTENT, SEALED = STORAGES = ("tmpfs", "persistent", "sealed")
SOURCES = ("text", "file", "command")
DIRECTORIES: Mapping[str, str] = {
    TMPFS: "/run/keys",
    SEALED: "/run/keys",
    PERSISTENT: "/var/lib/nixferry-keys",
}
# In the order of NixOps' documentation, and then what ansible.builtin.copy and its like call these options.
SPELLINGS: Mapping[str, str] = {
    "keyFile": "file",
    "keyCommand": "command",
    "destDir": "dest_dir",
    "uploadAt": "upload_at",
    "restartUnits": "restart_units",
    "reloadUnits": "reload_units",
    "content": "text",
    "src": "file",
    "dest": "path",
    "owner": "user",
    "mode": "permissions",
}
_TEXTS = ("text", "file", "name", "dest_dir", "path", "user", "group", "permissions", "upload_at", "storage")
_LISTS = ("restart_units", "reload_units")
_KNOWN = (*_TEXTS, *_LISTS, "command", "allow_empty")
# What Ansible's modules for commands call the one that has no shell.
_OTHER_WORDS = {"cmd": "command", "argv": "command"}
# Not the collection's own directory, and no characters that are special in a shell or systemd.
_NAME = re.compile(r"[^/\x00-\x1f\x7f.][^/\x00-\x1f\x7f]{0,199}")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PERMISSIONS = re.compile(r"0?[0-7]{3}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED = ".nixferry"


@dataclass(frozen=True)
class Secret:
    """One secret of a host, and where its content comes from."""

    name: str
    path: str
    user: str
    group: str
    mode: str
    """Octal digits as ``stat`` prints them: ``600``."""
    upload_at: str
    storage: str
    restart_units: tuple[str, ...]
    reload_units: tuple[str, ...]
    source: str
    """The option that names the source of the content."""
    value: Any = field(repr=False)
    """The value of the option; with ``text`` the content itself."""
    allow_empty: bool = False
    """Whether its command may print nothing."""
    working_directory: str = ""
    """Where on the controller its command runs; empty for the directory of the playbook."""

    @property
    def directory(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def owner(self) -> str:
        return f"{self.user}:{self.group}"


def parse_secrets(declared: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> list[Secret]:
    """Read the option ``secrets``; ``defaults`` holds for all of them. Raises ``NixferryError``."""
    secrets = [_secret(str(name), entry, defaults or {}) for name, entry in declared.items()]
    names: dict[str, str] = {}
    for secret in secrets:
        if secret.path in names:
            raise _error(secret.name, f"has the same path as {names[secret.path]}: {secret.path}")
        names[secret.path] = secret.name
    return secrets


def usual_words(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``entry`` by their usual names. Raises ``NixferryError`` if one is given twice."""
    written: dict[str, str] = {}
    given: dict[str, Any] = {}
    for key, value in entry.items():
        word = SPELLINGS.get(str(key), str(key))
        # In metadata from Nix, null means not given.
        if value is not None and given.get(word) is not None:
            raise _error(name, f"has {written[word]} and {key}, which mean the same", "Give one of the two.")
        if value is not None or word not in given:
            written[word], given[word] = str(key), value
    return given


def _secret(name: str, entry: object, defaults: Mapping[str, Any]) -> Secret:
    if not isinstance(entry, Mapping):
        raise _error(
            name, "is not a dictionary", "Write it as `{text: ...}`, `{file: ...}` or `{command: ...}`."
        )
    own = usual_words(name, entry)
    given: dict[str, Any] = dict(defaults)
    if own.get("path") is not None:
        # The path overrides the common directory.
        given.pop("dest_dir", None)
    for word, value in own.items():
        if word not in _KNOWN:
            raise _error(name, f"has no option {word}", _meant(word))
        if value is not None:
            given[word] = value
    for word in _TEXTS:
        if word in given and not isinstance(given[word], str):
            shown = next((key for key in entry if SPELLINGS.get(str(key)) == word), word)
            raise _error(name, f"has a {shown} that is not a string", "Quote it.")
    for word in _LISTS:
        units = given.get(word, [])
        units = [units] if isinstance(units, str) else units
        if not isinstance(units, Sequence) or not all(isinstance(unit, str) for unit in units):
            raise _error(name, f"has {word} that are not a list of names")
        if not all(_UNIT.fullmatch(unit) for unit in units):
            raise _error(name, f"has something in {word} that is not the name of a unit")
        given[word] = tuple(unit if "." in unit else f"{unit}.service" for unit in map(str, units))
    if not isinstance(given.get("allow_empty", False), bool):
        raise _error(name, "has an allow_empty that is not true or false")
    sources = [word for word in SOURCES if word in given]
    if len(sources) != 1:
        found = " and ".join(sources) if sources else "none"
        raise _error(name, f"needs one of {', '.join(SOURCES)}, and has {found}")
    return Secret(
        name=name,
        path=_path(name, given),
        user=_owner(name, given, "user"),
        group=_owner(name, given, "group"),
        mode=_mode(name, given),
        upload_at=_choice(name, given, "upload_at", UPLOADS),
        storage=_choice(name, given, "storage", STORAGES),
        restart_units=given["restart_units"],
        reload_units=given["reload_units"],
        source=sources[0],
        value=given[sources[0]],
        allow_empty=given.get("allow_empty", False),
    )


def _meant(word: str) -> str:
    """Return the remedy for an option that does not exist."""
    close = [_OTHER_WORDS[word]] if word in _OTHER_WORDS else get_close_matches(word, _KNOWN, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"{meant}There are: {', '.join(_KNOWN)}."


def _path(name: str, given: Mapping[str, Any]) -> str:
    file_name = str(given.get("name", name))
    if _NAME.fullmatch(file_name) is None:
        raise _error(name, "has a name that is not the name of a file")
    storage = _choice(name, given, "storage", STORAGES)
    # NixOps' dest_dir may end with a slash.
    directory = str(given.get("dest_dir", DIRECTORIES[storage])).rstrip("/")
    path = str(given.get("path", f"{directory}/{file_name}"))
    if "path" in given and "dest_dir" in given and posixpath.dirname(path) != directory:
        raise _error(name, "has a path that is not in its dest_dir", "Give one of the two.")
    if (
        not path.startswith("/")
        or path.startswith("//")
        or posixpath.normpath(path) != path
        or posixpath.dirname(path) == "/"
        or path != path.strip()
        or _CONTROL.search(path)
        or _RESERVED in path.split("/")
    ):
        raise _error(name, "has a path that cannot be used", "Give an absolute path without `.` and `..`.")
    if path.startswith("/nix/store/"):
        raise _error(name, "is to lie in the Nix store, which every user can read", "Choose another place.")
    return path


def _owner(name: str, given: Mapping[str, Any], word: str) -> str:
    owner = str(given.get(word, "root"))
    if _OWNER.fullmatch(owner) is None:
        raise _error(name, f"has a {word} that is none")
    return owner


def _mode(name: str, given: Mapping[str, Any]) -> str:
    permissions = str(given.get("permissions", "0600"))
    if _PERMISSIONS.fullmatch(permissions) is None:
        raise _error(name, "has permissions that are not octal digits", 'Write them as "0640", with quotes.')
    number = int(permissions, 8)
    if number & 0o002:
        raise _error(name, "has permissions with which every user could change it")
    return f"{number:o}"


def _choice(name: str, given: Mapping[str, Any], word: str, choices: Sequence[str]) -> str:
    chosen = str(given.get(word, choices[0]))
    if chosen not in choices:
        raise _error(name, f"has a {word} that is not one of {', '.join(choices)}")
    return chosen


def _error(name: str, problem: str, remedy: str = "") -> NixferryError:
    return NixferryError(f"the secret {name} {problem}", step=STEP, remedy=remedy)
