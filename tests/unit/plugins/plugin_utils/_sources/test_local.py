# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FlakeFleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet_words import fleet_from
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.local import local_reference


@pytest.mark.parametrize(
    "name", ["fleet", "a fleet", "50%", "flotte-é", "a+b", "a~b", "a!b", "a & b", "@ home"]
)
def test_a_path_stays_as_it_is(tmp_path: Path, name: str) -> None:
    assert local_reference(name, str(tmp_path)) == f"{tmp_path}/{name}"
    assert local_reference(f"{name}/flake.nix", str(tmp_path)) == f"{tmp_path}/{name}"


@pytest.mark.parametrize("name", ["ann@example", "a:b"])
def test_what_an_old_nix_reads_in_a_url_only_becomes_one(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    (directory / "web").mkdir(parents=True)
    assert local_reference(name, str(tmp_path)) == f"path:{directory}"
    assert local_reference(f"{name}?dir=web", str(tmp_path)) == f"path:{directory}?dir=web"
    # Nix takes the tracked files of a repository: a path in one has to stay so.
    (directory / ".git").mkdir()
    assert local_reference(".", str(directory)) == f"git+file://{directory}"
    assert local_reference("web", str(directory)) == f"git+file://{directory}?dir=web"
    (directory / ".git/shallow").touch()
    assert local_reference("web", str(directory)) == f"git+file://{directory}?dir=web&shallow=1"


def test_its_own_words_mean_the_same(tmp_path: Path) -> None:
    fleet = fleet_from([f"{tmp_path}/ann@example#colmena"], directory="/")
    assert isinstance(fleet, FlakeFleet)
    assert fleet.reference == f"path:{tmp_path}/ann@example"
    assert fleet_from(fleet.words, directory="/srv") == fleet


@pytest.mark.parametrize("name", ["a?b", "a#b", "a^b"])
def test_what_no_nix_reads_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NixferryError, match=r"with [?#^] in its path") as caught:
        local_reference("fleet", str(tmp_path / name))
    assert caught.value.remedy == "Rename the directory."
