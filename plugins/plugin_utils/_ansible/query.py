# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Queries in JMESPath, which needs a library that the user installs."""

from __future__ import annotations

from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.QUERY

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
except ImportError:
    jmespath = None


def search(query: str, data: Any) -> Any:
    """Return the result of ``query`` on ``data``. Raises ``NixferryError`` without the library or for a bad query."""
    if jmespath is None:
        raise NixferryError(
            "the Python library jmespath is not installed",
            step=STEP,
            remedy="Install it for the Python that runs Ansible, or do without `query`.",
        )
    try:
        return jmespath.search(query, data)
    except JMESPathError as error:
        raise NixferryError(f"{query!r}: {error}", step=STEP, remedy="See https://jmespath.org.") from error
