# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each Nix that reads fleet files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fleets import nix
from trees import programs_of

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix


@pytest.fixture(scope="module", params=["here", "trixie", "forky"], ids=["here", "nix-2.26", "nix-2.34"])
def by(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    """The Nix of this machine, and that of a controller of the lab."""
    if request.param == "here":
        yield nix()
        return
    base, directory = tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp(request.param)
    with programs_of(request.getfixturevalue("lab"), request.param, base, directory) as programs:
        yield nix(programs)
