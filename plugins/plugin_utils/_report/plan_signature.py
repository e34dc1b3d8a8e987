# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The signature of a plan: a file beside it, as ``ssh-keygen -Y sign`` makes it.

With it a deploy takes a plan only from those who may make plans, although the plan has passed through a store of
artefacts that others can write to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import (
    SIGNATURE_BYTES,
    is_signature,
    public_key,
    read_ssh_key,
    sign_bytes,
    why_not_signed,
)

from .plan import PLAN_BYTES, STEP

NAMESPACE = "nixferry-plan@v1"


def signature_file(plan: Path) -> Path:
    """Return where the signature of a plan lies."""
    return plan.with_name(f"{plan.name}.sig")


def sign_plan(text: str, key_file: str) -> str:
    """Return the signature of a plan. Raises ``NixferryError`` if the key is not usable."""
    key = read_ssh_key(key_file, comment="planner", step=Step.WRITE_PLAN)
    return sign_bytes(text.encode(), key, namespace=NAMESPACE, step=Step.WRITE_PLAN)


def read_plan_file(path: Path, keys: Sequence[str]) -> bytes:
    """Return the content of a plan. If ``keys`` are given, one of them must have signed it.

    Keys have the form of a line in ``~/.ssh/*.pub``. Raises ``NixferryError``.
    """
    content = _content(
        path, PLAN_BYTES, "Make it with the playbook nixferry.deploy.plan, or name the file it has made."
    )
    if not keys:
        return content
    public = [public_key(key) for key in keys]
    if None in public:
        raise NixferryError(
            f"{keys[public.index(None)]!r} is not a public key of OpenSSH",
            step=STEP,
            remedy="Give the line of a file ~/.ssh/*.pub: type, key and comment.",
        )
    signature = _content(
        signature_file(path), SIGNATURE_BYTES, "Sign the plan when it is made (`nixferry_plan_sign_key`)."
    ).decode("ascii", errors="replace")
    said = None
    if is_signature(signature):
        trusted = [key for key in public if key is not None]
        said = why_not_signed(content, signature, trusted, namespace=NAMESPACE, step=STEP)
        if said is None:
            return content
    raise NixferryError(
        f"the plan {path} is not signed by a trusted key",
        step=STEP,
        remedy="Find out who wrote it. If the key was replaced, trust the new one as well (`nixos_plan_keys`).",
        output=said or [],
    )


def _content(path: Path, limit: int, remedy: str) -> bytes:
    """Return the content of a file; of one that is too large one byte too much. Raises ``NixferryError``."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise NixferryError(f"{path} cannot be read: {error.strerror}", step=STEP, remedy=remedy) from None
