# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The guard as an installed program, for deployers who may become root for it alone.

Usually a request comes with a script that looks for the guard on the host. A user who may run it as root may run
anything. The installed program contains the guard, its kind and its profile, and only reads requests. It judges them
more strictly (``target/guard/installed.sh``), and activates only signed systems.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind

from .program import guard_program, target_text
from .requests import encode_value

STEP = Step.ASK_INSTALLED_GUARD
# The program's environment, instead of its caller's.
ENVIRONMENT: Mapping[str, str] = {"HOME": "/root"}


@dataclass(frozen=True)
class GuardPolicy:
    """The limits of one installed guard."""

    kind: Kind
    profile: str
    public_keys: tuple[str, ...]
    """One of these keys must have signed a system. In the form of ``trusted-public-keys``."""
    caller_decides: bool = False
    """No signature is wanted: the guard is installed for root alone, which has judged the system itself."""


def guard_policy(
    kind: Kind, profile: str, public_keys: Sequence[str], *, caller_decides: bool = False
) -> GuardPolicy:
    """Return what a guard for ``kind`` may do. Raises ``NixferryError`` if root has no use for the kind or profile."""
    chosen = profile or kind.profile
    if not chosen.startswith("/"):
        raise NixferryError(
            f"kind {kind.name} is activated by an ordinary user, who needs no guard to become root",
            step=STEP,
            remedy="Deploy it as that user, without `guard`.",
        )
    if not all("!" <= character <= "~" and character not in "'\"" for character in chosen):
        raise NixferryError(f"{chosen!r} is not a usable profile", step=STEP)
    if not public_keys and not caller_decides:
        raise NixferryError(
            "without a key the guard would have to refuse everything",
            step=STEP,
            remedy="Give the public key that deploys are signed with.",
        )
    return GuardPolicy(kind, chosen, tuple(public_keys), caller_decides=caller_decides)


def installed_program(policy: GuardPolicy, environment: Mapping[str, str] | None = None) -> str:
    """Return the program for the host, which sets ``environment`` (else ``ENVIRONMENT``) for itself."""
    settings = {
        "INSTALLED_VERSION": guard_version(),
        "INSTALLED_KIND": policy.kind.name,
        "INSTALLED_PROFILE": policy.profile,
        "INSTALLED_COMMAND": encode_value(policy.kind.activate_command),
        "INSTALLED_KEYS": " ".join(policy.public_keys),
        "INSTALLED_CALLER_DECIDES": "1" if policy.caller_decides else "",
    }
    variables = ENVIRONMENT if environment is None else environment
    return "\n".join(
        [
            target_text(BEGIN),
            "INSTALLED_CALLER=$1",
            *(f"{name}={shlex.quote(value)}; export {name}" for name, value in variables.items()),
            *(f"{name}={shlex.quote(value)}" for name, value in settings.items()),
            guard_program().assignments,
            "set -- answer",
            'eval "$NIXFERRY_PROGRAM"',
            "",
        ]
    )


BEGIN = "guard/installed_begin.sh"


@functools.cache
def guard_version() -> str:
    """Return the version of the program's text, which does not depend on the policy."""
    return hashlib.sha256(f"{target_text(BEGIN)}{guard_program().text}".encode()).hexdigest()[:16]
