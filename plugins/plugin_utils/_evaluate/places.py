# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find a mistake in the user's own files if Nix names a place in a library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest

# Errors that Nix finds far from the mistake.
_PLACELESS = re.compile(r"infinite recursion encountered|stack overflow|max-call-depth exceeded")
_POSITION = re.compile(r"^\s*(?:… .*)?at (?P<place>/\S+:\d+:\d+)(?::|$)", re.MULTILINE)
# The library and the module system of nixpkgs, anywhere, and its evaluation of a NixOS system.
_LIBRARY = re.compile(r"/lib/[a-z-]+\.nix:|/nixos/(?:lib|modules)/")
PLACES = 3


def with_places(nix: Nix, request: NixRequest, error: NixferryError, *, step: Step) -> NixferryError:
    """Return ``error`` of ``request``, with the user's own places in its message if Nix named none."""
    if not _PLACELESS.search(error.cause):
        return error
    traced = replace(request, arguments=(*request.arguments, "--show-trace"))
    result = nix.run_many([traced], step=step, parallel=1)[0]
    places = own_places("\n".join(result.errors))
    if places:
        return error.with_(cause=f"{error.cause}; on the way through {', '.join(places)}")
    return error


def own_places(trace: str) -> Sequence[str]:
    """Return the places in a trace outside of libraries, the nearest to the error first."""
    found = list(_POSITION.finditer(trace))
    # Up to Nix 2.8 the error comes first, later it comes last.
    if found and trace.rfind("error:") > found[0].start():
        found.reverse()
    return list(dict.fromkeys(match["place"] for match in found if not _LIBRARY.search(match["place"])))[
        :PLACES
    ]
