# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publisher and a client for each test that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_server import serving
from publishing import Client, Publisher


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    with serving(tmp_path / "served") as server:
        yield Publisher(tmp_path, server)


@pytest.fixture
def client(publisher: Publisher, tmp_path: Path) -> Client:
    return Client(publisher, tmp_path / "client")
