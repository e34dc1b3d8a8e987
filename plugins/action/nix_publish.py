# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish systems to a binary cache, and signed pointers to them. Documented in plugins/modules/nix_publish.py."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_revision,
    built_toplevel,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    read_pointer_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    HOW_TO_MAKE_A_KEY,
    checked_public_keys,
    read_signing_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import (
    COMPRESSIONS,
    Cache,
    public_address,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.place import open_place
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.pointers import Channel
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.task import (
    PREVIOUS,
    STEP,
    PublishRequest,
    publish,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.waves import (
    reverts_of,
    split_waves,
)

DAY_SECONDS = 86400
_SERIAL = re.compile(r"[1-9][0-9]{0,14}")


class ActionModule(NixferryAction):
    """``nix_publish``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "build": BUILD_OPTION,
            "toplevels": {"type": "dict"},
            "hosts": {"type": "list", "elements": "str"},
            "to": {"type": "str"},
            "revert": {"type": "dict"},
            "waves": {"type": "list", "elements": "list", "default": []},
            "wave": {"type": "int"},
            "cache": {"type": "str", "required": True},
            "cache_key": {"type": "path"},
            "public_url": {"type": "str"},
            "public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "zstd"},
            "netrc_file": {"type": "path"},
            "pointers": {"type": "str", "required": True},
            "channel": {"type": "str", "default": "stable"},
            "pointer_key": {"type": "path", "required": True},
            "trusted_pointer_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "valid_days": {"type": "int", "default": 14},
            "keep": {"type": "int", "default": 10},
            "renew": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 7200},
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("build", "toplevels", "to", "revert")],
        "mutually_exclusive": [("build", "toplevels", "to", "revert")],
        "required_by": {"to": ("hosts",)},
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Publish, or report which pointers would change; do not contact the host."""
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
        reverts, left = reverts_of(options["revert"] or {})
        toplevels = dict.fromkeys(reverts, "") if options["revert"] is not None else self._toplevels(options)
        only, later = self._wave(options, list(toplevels))
        cache = self._cache(options)
        request = PublishRequest(
            toplevels=toplevels,
            reverts=reverts,
            only=only,
            later=later,
            cache=cache,
            channel=self._channel(options),
            to=to,
            renew=options["renew"],
            verify=options["verify"],
            timeout=options["timeout"],
            dry_run=bool(self._task.check_mode),
            about=self._about(options, toplevels, cache),
        )
        nix = Nix(on_event=progress.event, on_tick=progress.tick)
        published = publish(request, nix=nix, progress=progress)
        result = {"failed": False, **published.facts(), "not_reverted": left}
        if self._task.diff and published.written:
            result["diff"] = published.diff()
        return result

    def _wave(
        self, options: dict[str, Any], hosts: list[str]
    ) -> tuple[frozenset[str] | None, frozenset[str]]:
        """Return the hosts of the wave that is published, None for all hosts, and those of later waves."""
        number = options["wave"]
        if number is None:
            return None, frozenset()
        waves = split_waves(options["waves"], hosts, self.variables.get("groups") or {})
        if not 0 <= number < len(waves):
            raise NixferryError(f"`wave` must be from 0 to {len(waves) - 1}, not {number}", step=STEP)
        return frozenset(waves[number]), frozenset(host for wave in waves[number + 1 :] for host in wave)

    def _toplevels(self, options: dict[str, Any]) -> dict[str, str]:
        """Return the store path for each host. A host whose build failed stops all: a publish is for all or none."""
        build = options["build"]
        if options["to"]:
            found = dict.fromkeys(options["hosts"], "")
        elif build is not None:
            names = options["hosts"] or list(build.get("hosts") or [self.subject])
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

    def _cache(self, options: dict[str, Any]) -> Cache:
        key = None
        if options["cache_key"]:
            key = read_signing_key(self.controller_file(options["cache_key"]))
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
            netrc_file=self.controller_file(options["netrc_file"]) if options["netrc_file"] else None,
        )

    def _channel(self, options: dict[str, Any]) -> Channel:
        key = read_pointer_key(self.controller_file(options["pointer_key"]))
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
        netrc_file = self.controller_file(options["netrc_file"]) if options["netrc_file"] else None
        return Channel(
            place=open_place(options["pointers"], netrc_file=netrc_file),
            name=options["channel"],
            key=key,
            keys=tuple(dict.fromkeys(trusted)),
            lifetime=options["valid_days"] * DAY_SECONDS,
            keep=options["keep"],
        )

    def _about(self, options: dict[str, Any], hosts: Iterable[str], cache: Cache) -> dict[str, Any]:
        """Return what the index says besides the hosts: where the closures are, and what they were built from."""
        about: dict[str, Any] = {"cache": {"url": cache.public}}
        if options["build"] is not None:
            revisions = {built_revision(host, options["build"])[0] for host in hosts}
            about["revisions"] = sorted(filter(None, revisions))
        return about
