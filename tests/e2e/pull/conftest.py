# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that pulls. What is marked to take turns takes a minute of a host: a commit runs every other one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import LabHost
from project import Project
from pulling import Pulling, pulling


@pytest.fixture
def puller(web2: LabHost, project: Project, tmp_path: Path) -> Iterator[Pulling]:
    """A host with an agent that has pulled once."""
    with pulling(web2, project, tmp_path) as made:
        made.first()
        yield made
        print(made.story())  # noqa: T201 - pytest shows it when a test fails
