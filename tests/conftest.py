# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes ``ansible_collections.nixferry.deploy`` importable from a plain checkout.

Ansible imports collections through a finder of its own, which wants the tree
``<root>/ansible_collections/<namespace>/<name>``. A checkout may lie anywhere under any name, so a symbolic
link under ``.build/collections`` supplies that tree, and the finder is installed before a test is collected.

Tells too which part of the test matrix this commit runs, and records tests for the report of ``run-steps.sh``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import choose
import pytest
import turns

REPOSITORY = Path(__file__).resolve().parent.parent
COLLECTIONS_ROOT = REPOSITORY / ".build" / "collections"

# pytest calls the hooks that it finds here.
pytest_collection_modifyitems = turns.pytest_collection_modifyitems


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


def pytest_report_header() -> str:
    """Say what chooses the part of the matrix that runs."""
    if choose.everything():
        return "matrix: all of it"
    return f"matrix: the part of commit {choose.commit()[:12]} (make test-full runs all of it)"


class _Recorder:
    """Adds every test of this run to the file $NIXFERRY_TEST_RESULTS: outcome, seconds, step and name.

    With pytest-xdist the process that the workers report to does it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        # The worst of set-up, call and clean-up: a failure stays one.
        known = self._outcomes.get(name, "passed")
        self._outcomes[name] = report.outcome if known == "passed" else known

    def pytest_sessionfinish(self) -> None:
        step = os.environ.get("NIXFERRY_TEST_STEP", "")
        lines = [
            f"{outcome}\t{self._seconds[name]:.2f}\t{step}\t{name.encode('unicode_escape').decode()}\n"
            for name, outcome in self._outcomes.items()
        ]
        # In one piece: other steps write to the same file.
        with self._path.open("ab", buffering=0) as file:
            file.write("".join(lines).encode())


def pytest_configure(config: pytest.Config) -> None:
    """Record tests when a step asks for it."""
    path = os.environ.get("NIXFERRY_TEST_RESULTS")
    if path and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(_Recorder(Path(path)), "nixferry-recorder")
