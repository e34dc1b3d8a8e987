# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes ``ansible_collections.nixferry.deploy`` importable from a plain checkout.

Ansible imports collections through a finder of its own, which wants the tree
``<root>/ansible_collections/<namespace>/<name>``. A checkout may lie anywhere under any name, so a symbolic
link under ``.build/collections`` supplies that tree, and the finder is installed before a test is collected.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COLLECTIONS_ROOT = REPOSITORY / ".build" / "collections"


def _link_collection() -> None:
    """Point ``.build/collections/ansible_collections/nixferry/deploy`` at this checkout.

    The link is made under another name and renamed into place, since several test runs may start at once.
    """
    link = COLLECTIONS_ROOT / "ansible_collections" / "nixferry" / "deploy"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and link.resolve() == REPOSITORY:
        return
    fresh = link.with_name(f".deploy.{os.getpid()}")
    fresh.symlink_to(os.path.relpath(REPOSITORY, link.parent.resolve()))
    fresh.replace(link)


def _install_collection_finder() -> None:
    """Install Ansible's import hook with this checkout in front of every other collection path."""
    # Read when ansible.constants is imported: keep the temporary directory it makes out of the user's home.
    os.environ.setdefault("ANSIBLE_LOCAL_TEMP", tempfile.gettempdir())
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(COLLECTIONS_ROOT)])


_link_collection()
_install_collection_finder()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Top directory of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def collections_root() -> Path:
    """Directory for ``ANSIBLE_COLLECTIONS_PATH`` that holds this checkout as nixferry.deploy."""
    return COLLECTIONS_ROOT
