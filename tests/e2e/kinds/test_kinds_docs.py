# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/docsite/rst/kinds.rst tells users to write works as it stands there: the role `profile` for each kind."""

from __future__ import annotations

import platform
import re
import shutil
import textwrap
from pathlib import Path

import pytest
import yaml
from kinds import await_end_of_guard, build, materialise, outcomes
from lab import REPOSITORY, Lab, LabHost, run
from project import Project

PAGE = REPOSITORY / "docs/docsite/rst/kinds.rst"
USERS = ("ann", "ben")
PLATFORM = f"{platform.machine()}-linux"
# All that the examples take from their flake, in one.
FLAKE = """
{
  outputs = { self }:
    import ./system-manager { platform = "@platform@"; }
    // import ./home-manager { platform = "@platform@"; }
    // { packages."@platform@".web = (import ./web-service { platform = "@platform@"; }).v1; };
}
"""
# As an administrator writes it once: it starts whatever the profile points to.
WEB_UNIT = """[Service]
Type=oneshot
RemainAfterExit=yes
Environment=SERVICE_LISTEN=0.0.0.0:8080 SERVICE_STATE=/run/web-service
ExecStart=/nix/var/nix/profiles/web/bin/service start
ExecStop=/nix/var/nix/profiles/web/bin/service stop
"""


def blocks() -> list[str]:
    """The examples: system-manager, profile, the inventory of homes, and their play."""
    found = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    return [textwrap.dedent(block).replace("x86_64-linux", PLATFORM) for block in found]


@pytest.fixture(scope="module")
def flake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flake")
    materialise(
        "mini-system-manager", directory / "system-manager", {"fresh1": {"version": "by system-manager"}}
    )
    homes = {
        f"{user}@fresh1": {
            "username": user,
            "homeDirectory": f"/home/{user}",
            "files": {".config/greeting": "hello\n"},
        }
        for user in USERS
    }
    materialise("mini-home-manager", directory / "home-manager", homes)
    run([str(REPOSITORY / "tests/fixtures/web-service/materialise"), str(directory / "web-service")])
    (directory / "flake.nix").write_text(FLAKE.replace("@platform@", PLATFORM))
    return directory


def test_examples(lab: Lab, project: Project, flake: Path) -> None:
    system_manager, profile, inventory, homes = blocks()
    host: LabHost = lab.hosts["fresh1"]
    host.make_anew()
    shutil.copytree(flake, project.directory, dirs_exist_ok=True)

    host.execute(f"cat >/etc/systemd/system/web.service <<'END'\n{WEB_UNIT}END\nsystemctl daemon-reload")
    for outcome in ("committed", "unchanged"):
        ran = project.run_playbook(profile).assert_ok()
        assert outcomes(ran, "fresh1") == [outcome], str(ran)
    assert host.http("/version") == (200, "1")
    await_end_of_guard(host)
    host.execute("systemctl stop web.service; rm /etc/systemd/system/web.service; systemctl daemon-reload")

    for outcome in ("committed", "unchanged"):
        ran = project.run_playbook(system_manager).assert_ok()
        assert outcomes(ran, "fresh1") == [outcome], str(ran)
    assert host.http("/version") == (200, "by system-manager")
    await_end_of_guard(host)

    for user in USERS:
        host.execute(f"useradd --create-home --shell /bin/bash --groups nix-users --password '*' {user}")
    # No user here is trusted with what is not signed.
    attributes = {user: f'homeConfigurations."{user}@fresh1".activationPackage' for user in USERS}
    host.copy_closure(*build(flake / "home-manager", attributes).values())
    described = yaml.safe_load(inventory)
    hosts = yaml.safe_load((lab.directory / "inventory.yml").read_text())["lab"]
    address = {**hosts["vars"], **hosts["hosts"]["fresh1"]}
    del address["ansible_user"]
    described["homes"]["vars"] = address
    project.write("inventory.yml", yaml.safe_dump(described))
    for outcome in ("committed", "unchanged"):
        ran = project.run_playbook(homes).assert_ok()
        for user in USERS:
            assert outcomes(ran, f"{user}@fresh1") == [outcome], str(ran)
    for user in USERS:
        assert host.ask(f"cat /home/{user}/.config/greeting") == "hello"
