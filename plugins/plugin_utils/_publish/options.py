# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The options of a publish as a request: for which hosts of which wave, from where, into which cache and channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    built_revision,
    built_toplevel,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import read_pointer_key
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    HOW_TO_MAKE_A_KEY,
    checked_public_keys,
    read_signing_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

from .cache import Cache, public_address
from .place import open_place
from .pointers import Channel
from .task import PREVIOUS, STEP, PublishRequest
from .waves import reverts_of, wave_of
from .web import Certificate, refuse_password

DAY_SECONDS = 86400
_SERIAL = re.compile(r"[1-9][0-9]{0,14}")


@dataclass(frozen=True)
class Surroundings:
    """What a task knows besides its options."""

    subject: str
    """The host of the task."""
    groups: Mapping[str, Sequence[str]]
    """The groups of the inventory."""
    controller_file: Callable[[str], str]
    """Return a path on the controller; a relative one is relative to the playbook."""
    dry_run: bool
    temporary: str | None = None
    """The directory for temporary files on the controller."""


def read_request(options: Mapping[str, Any], around: Surroundings) -> tuple[PublishRequest, dict[str, str]]:
    """Return the request, and why hosts of a publish that is taken back stay as they are.

    Raises ``NixferryError`` for values that contradict each other, files that cannot be read, and failed builds.
    """
    _check(options)
    reverts, left = reverts_of(options["revert"] or {})
    toplevels = dict.fromkeys(reverts, "") if options["revert"] is not None else _toplevels(options, around)
    only, later = wave_of(options["wave"], options["waves"], list(toplevels), around.groups)
    cache = _cache(options, around)
    request = PublishRequest(
        toplevels=toplevels,
        reverts=reverts,
        only=only,
        later=later,
        cache=cache,
        channel=_channel(options, around),
        to=options["to"] or "",
        renew=options["renew"],
        verify=options["verify"],
        timeout=options["timeout"],
        dry_run=around.dry_run,
        about=_about(options, toplevels, cache),
    )
    return request, left


def _check(options: Mapping[str, Any]) -> None:
    for name in ("valid_days", "keep", "timeout"):
        if options[name] < 1:
            raise NixferryError(f"`{name}` must be positive", step=STEP)
    for name in ("cache", "pointers", "pointer_key"):
        if not options[name].strip():
            raise NixferryError(
                f"`{name}` is empty",
                step=STEP,
                remedy=f"In the role publish it is the variable publish_{name}. For the playbook publish without "
                f"an inventory it is NIXFERRY_{name.upper()} in the environment.",
            )
    to = options["to"] or ""
    if to not in ("", PREVIOUS) and _SERIAL.fullmatch(to) is None:
        raise NixferryError(f"`to` must be {PREVIOUS} or a serial, not {to!r}", step=STEP)


def _toplevels(options: Mapping[str, Any], around: Surroundings) -> dict[str, str]:
    """Return the store path for each host. A host whose build failed stops all: a publish is for all or none."""
    build = options["build"]
    if options["to"]:
        found = dict.fromkeys(options["hosts"], "")
    elif build is not None:
        names = options["hosts"] or list(build.get("hosts") or [around.subject])
        found = {str(name): built_toplevel(str(name), build) for name in names}
    else:
        given = {str(name): str(path) for name, path in options["toplevels"].items()}
        found = {name: given.get(name, "") for name in options["hosts"] or given}
    if not options["to"]:
        found = {name: parse_store_path(path, step=STEP).path for name, path in found.items()}
    if not found:
        raise NixferryError(
            "there is no host to publish for", step=STEP, remedy="Name hosts in `toplevels` or `hosts`."
        )
    return found


def _cache(options: Mapping[str, Any], around: Surroundings) -> Cache:
    # Before the first of them is shown, or an argument of Nix.
    for name in ("cache", "public_url", "pointers"):
        refuse_password(options[name] or "", step=STEP)
    key = None
    if options["cache_key"]:
        key = read_signing_key(around.controller_file(options["cache_key"]))
    own = [key.public_key] if key else []
    keys = checked_public_keys([*options["public_keys"], *own], step=STEP)
    if not keys:
        raise NixferryError(
            "no key is given whose signatures hosts trust: neither `cache_key` nor `public_keys`",
            step=STEP,
            remedy=HOW_TO_MAKE_A_KEY,
        )
    return Cache(
        address=options["cache"],
        public=options["public_url"] or public_address(options["cache"]),
        key=key,
        keys=tuple(keys),
        compression=options["compression"],
        netrc_file=around.controller_file(options["netrc_file"]) if options["netrc_file"] else None,
        certificate=certificate_of(options, around.controller_file),
        temporary=around.temporary,
    )


def certificate_of(options: Mapping[str, Any], controller_file: Callable[[str], str]) -> Certificate | None:
    """Return the certificate that the options name, or None."""
    if not options["certificate"]:
        return None
    return Certificate(
        controller_file(options["certificate"]), controller_file(options["certificate_key"] or "")
    )


def _channel(options: Mapping[str, Any], around: Surroundings) -> Channel:
    key = read_pointer_key(around.controller_file(options["pointer_key"]))
    trusted = [key.public]
    for text in options["trusted_pointer_keys"]:
        public = public_key(text)
        if public is None:
            raise NixferryError(
                f"{text[:20]!r} in `trusted_pointer_keys` is not a valid public key of OpenSSH",
                step=STEP,
                remedy="Give the line of a file such as pointer.pub.",
            )
        trusted.append(public)
    netrc_file = around.controller_file(options["netrc_file"]) if options["netrc_file"] else None
    certificate = certificate_of(options, around.controller_file)
    return Channel(
        place=open_place(options["pointers"], netrc_file=netrc_file, certificate=certificate),
        name=options["channel"],
        key=key,
        keys=tuple(dict.fromkeys(trusted)),
        lifetime=options["valid_days"] * DAY_SECONDS,
        keep=options["keep"],
    )


def _about(options: Mapping[str, Any], hosts: Iterable[str], cache: Cache) -> dict[str, Any]:
    """Return what the index says besides the hosts: where the closures are, and what they were built from."""
    about: dict[str, Any] = {"cache": {"url": cache.shown}}
    if options["build"] is not None:
        revisions = {built_revision(host, options["build"])[0] for host in hosts}
        about["revisions"] = sorted(filter(None, revisions))
    return about
