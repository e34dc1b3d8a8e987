# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kind home-manager for two users of a Debian host, by the real program's contract: tests/fixtures/mini-home-manager.

Ann logs in herself and has a service manager only while she is logged in. Ben is become by another user, and his
service manager lingers. The tests of this file share the host and go from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kinds import (
    PHASE_DEADLINE,
    add_hosts,
    await_end_of_guard,
    build,
    controller_at_work,
    materialise,
    outcomes,
    switch_play,
)
from lab import Lab, LabHost
from plays import SWITCH, task_play
from processes import wait_until
from project import Project

USERS = ("ann", "ben")
# Names as home-manager's own program looks them up in a flake.
NAMES = {user: f"{user}@fresh1" for user in USERS}
CURRENT = ".local/state/home-manager/gcroots/current-home"
PROFILE = ".local/state/nix/profiles/home-manager"
UNIT = "[Service]\nExecStart=/bin/sleep 100000\n"

HOMES: dict[str, dict[str, Any]] = {
    "v1": {"files": {".config/greeting": "hello from 1\n"}, "units": {"web.service": UNIT}},
    "v2": {
        "version": "2",
        "files": {".config/greeting": "hello from 2\n", ".config/new/only-in-2": "2\n"},
        "units": {"web.service": f"# 2\n{UNIT}"},
        "specialisation": {"dark": {"files": {".config/greeting": "hello from the dark\n"}}},
    },
    "legacy": {"version": "3", "legacy": True, "files": {".config/greeting": "hello from the past\n"}},
    # Fails after it has linked everything.
    "fails": {
        "version": "4",
        "files": {".config/greeting": "hello from 4\n", ".config/new/only-in-4": "4\n"},
        "activation": {"broken": "echo 'cannot make it so' >&2; exit 3"},
    },
    "legacy_fails": {
        "version": "5",
        "legacy": True,
        "files": {".config/only-in-5": "5\n"},
        "activation": {"broken": "exit 3"},
    },
    "hangs": {
        "version": "6",
        "files": {".config/greeting": "hello from 6\n", ".config/only-in-6": "6\n"},
        "activation": {"slow": "sleep 600"},
    },
    "unit_fails": {
        "version": "7",
        "files": {".config/only-in-7": "7\n"},
        "units": {
            "web.service": f"# 7\n{UNIT}",
            "broken.service": "[Service]\nExecStart=/bin/sh -c 'sleep 0.4; exit 1'\nRestart=always\n",
        },
    },
    "collides": {"version": "8", "files": {".profile": "mine\n", ".config/only-in-8": "8\n"}},
}


@dataclass(frozen=True)
class Site:
    """The host, and what can be deployed to each user: a store path by ``user-home``."""

    host: LabHost
    paths: dict[str, str]
    source: Path

    def options(self, home: str, **more: Any) -> dict[str, Any]:
        toplevel = "{{ homes[inventory_hostname.split('@')[0] ~ '-" + home + "'] }}"
        return {"kind": "home-manager", "toplevel": toplevel, "timeout_confirm": 10, **more}

    def play(self, hosts: str, *homes: dict[str, Any], **play: Any) -> list[Any]:
        return switch_play(hosts, *homes, vars={"homes": self.paths}, **play)

    def ask(self, user: str, script: str) -> str:
        return self.host.execute(
            f"cd; export XDG_RUNTIME_DIR=/run/user/$(id -u)\n{script}", user=user
        ).stdout.strip()

    def shown(self, user: str) -> tuple[str, ...]:
        """All that a deploy may change in a home."""
        others = f"-e '^./{Path(PROFILE).parent}' -e /nixferry/ -e .cache -e '^./.nix-'"
        files = f"find . -type l -o -type f | grep -v {others} | sort"
        return (
            self.ask(user, f"{files} | xargs -d '\\n' stat -c '%N'"),
            self.ask(user, f"readlink -e {CURRENT} || true"),
            self.ask(user, f"readlink {PROFILE} || true; readlink -e {PROFILE}-*-link || true"),
            self.ask(user, ".nix-profile/bin/home-version 2>/dev/null || true"),
            self.ask(
                user,
                "systemctl --user list-units --plain --no-legend --all web.service broken.service 2>/dev/null || true",
            ),
            self.ask(user, "ls .local/state/nixferry/activations/*/root-* 2>/dev/null || true"),
        )

    def settled(self, user: str) -> str:
        """The last phase of the user's deploys, once the guard has ended."""
        return await_end_of_guard(self.host, f"/home/{user}/.local/state/nixferry")


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    described = {
        f"{user}-{name}": {
            **home,
            "username": user,
            "homeDirectory": f"/home/{user}",
            "specialisation": {
                child: {**changes, "username": user}
                for child, changes in home.get("specialisation", {}).items()
            },
        }
        for user in USERS
        for name, home in HOMES.items()
    }
    for user, name in NAMES.items():
        described[name] = described[f"{user}-v1"]
    source = materialise("mini-home-manager", tmp_path_factory.mktemp("homes") / "source", described)
    paths = build(
        source,
        {name: f"homeConfigurations.{name}.activationPackage" for name in described if "@" not in name},
    )
    host = lab.hosts["fresh1"]
    host.make_anew()
    for user in USERS:
        host.execute(f"useradd --create-home --shell /bin/bash --groups nix-users --password '*' {user}")
    host.execute("loginctl enable-linger ben")
    host.copy_closure(*paths.values())
    return Site(host, paths, source)


@pytest.fixture
def homes(site: Site, project: Project) -> Project:
    """A project whose inventory has a name for each user."""
    become = {"ansible_become": True, "ansible_become_user": "ben"}
    users = {NAMES["ann"]: {"ansible_user": "ann"}, NAMES["ben"]: {"ansible_user": "deploy", **become}}
    add_hosts(project, site.host, users)
    return project


def test_first_home_that_fails_is_removed_again(site: Site, homes: Project) -> None:
    before = {user: site.shown(user) for user in USERS}
    ran = homes.run_playbook(site.play(",".join(NAMES.values()), site.options("fails")))
    for user, name in NAMES.items():
        assert outcomes(ran, name) == ["rolled-back"], str(ran)
        site.settled(user)
        assert site.shown(user) == before[user]


def test_two_users_in_one_play_and_the_second_run(site: Site, homes: Project) -> None:
    """Built, copied and switched by the names that the homes have in the flake."""
    tasks = [
        {
            "nixferry.deploy.nix_build": {"flake": f"path:{site.source}", "kind": "home-manager"},
            "register": "built",
        },
        {"nixferry.deploy.nix_copy": {"build": "{{ built }}", "become_user": "root"}},
        {"nixferry.deploy.nix_switch": {"build": "{{ built }}", "kind": "home-manager"}},
    ]
    del tasks[1]  # The closures are there; an unprivileged user could not import them.
    play = [{"hosts": ",".join(NAMES.values()), "gather_facts": False, "tasks": tasks}]
    for outcome in ("committed", "unchanged"):
        ran = homes.run_playbook(play).assert_ok()
        for user, name in NAMES.items():
            assert outcomes(ran, name) == [outcome], str(ran)
            site.settled(user)
    for user in USERS:
        assert site.ask(user, "cat .config/greeting; ls .config/new 2>/dev/null || true") == "hello from 1"
        assert site.ask(user, f"readlink -e {PROFILE} {CURRENT}").split() == [site.paths[f"{user}-v1"]] * 2
        assert site.ask(user, ".nix-profile/bin/home-version") == "1"
        assert site.ask(user, "ls .local/state/nixferry/activations") != ""
    assert site.ask("ben", "systemctl --user is-active web.service") == "active"
    assert site.host.ask("ls /var/lib/nixferry 2>/dev/null || true") == "", "each user has a state of his own"


def test_update_specialisation_and_what_the_dry_activation_says(site: Site, homes: Project) -> None:
    both = ",".join(NAMES.values())
    before = site.shown("ann")
    checked = homes.run_playbook(site.play(both, site.options("v2")), "--check", "--diff").assert_ok()
    assert "This is a dry run" in checked.stdout
    assert ".config/new/only-in-2" in checked.stdout
    assert site.shown("ann") == before
    ran = homes.run_playbook(
        site.play(both, site.options("v2", specialisation="dark"), site.options("v2"), site.options("v2"))
    )
    for user, name in NAMES.items():
        assert outcomes(ran, name) == ["committed", "committed", "unchanged"], str(ran)
        site.settled(user)
        assert site.ask(user, "cat .config/greeting .config/new/only-in-2") == "hello from 2\n2"
        assert site.ask(user, f"readlink -e {PROFILE}") == site.paths[f"{user}-v2"]
        assert site.ask(user, f"ls -d {PROFILE}-*-link | wc -l") == "2", (
            "the specialisation is not a generation"
        )


def test_whatever_fails_is_rolled_back_to_exactly_the_old_home(site: Site, homes: Project) -> None:
    """Running only the old generation's program leaves what the new one has linked."""
    before = {user: site.shown(user) for user in USERS}
    for user in USERS:
        site.ask(user, "rm -f .profile; echo precious >.profile")
    before = {user: site.shown(user) for user in USERS}
    failing = {
        "fails": ("rolled-back", {}),
        "legacy_fails": ("rolled-back", {}),
        "hangs": ("rolled-back", {"timeout_activation": 5}),
        "collides": ("rolled-back", {}),
        "v1": ("rolled-back", {"health_checks": [{"command": "false", "retries": 0}]}),
    }
    options = [site.options(home, **more) for home, (_outcome, more) in failing.items()]
    ran = homes.run_playbook(site.play(",".join(NAMES.values()), *options))
    for user, name in NAMES.items():
        assert outcomes(ran, name) == [outcome for outcome, _more in failing.values()], str(ran)
        site.settled(user)
        assert site.shown(user) == before[user]
        assert site.ask(user, "cat .profile") == "precious"


def test_backup_setting_reaches_the_activation(site: Site, homes: Project) -> None:
    play = site.play(
        NAMES["ann"], site.options("collides"), environment={"HOME_MANAGER_BACKUP_EXT": "before"}
    )
    ran = homes.run_playbook(play)
    assert outcomes(ran, NAMES["ann"]) == ["committed"], str(ran)
    site.settled("ann")
    assert site.ask("ann", "cat .profile .profile.before") == "mine\nprecious"


def test_user_unit_that_dies_a_moment_later_is_found(site: Site, homes: Project) -> None:
    before = site.shown("ben")
    ran = homes.run_playbook(site.play(NAMES["ben"], site.options("unit_fails")))
    assert ran.result(SWITCH)["failed_units"] == ["broken.service"], str(ran)
    site.settled("ben")
    assert site.shown("ben") == before
    assert site.ask("ben", "systemctl --user is-active web.service") == "active"


def test_power_cut_is_undone_by_the_boot_or_by_the_next_deploy(site: Site, homes: Project) -> None:
    """Ben's service manager starts with the host; nothing acts for Ann until the next deploy to her."""
    host = site.host
    before = {user: site.shown(user) for user in USERS}
    with controller_at_work(homes, site.play(",".join(NAMES.values()), site.options("hangs"))):
        wait_until(
            lambda: all(site.ask(user, "cat .config/only-in-6 2>/dev/null || true") == "6" for user in USERS),
            deadline=PHASE_DEADLINE,
            what="the new files",
        )
        host.power_cut()
    host.power_on()
    assert site.settled("ben") == "rolled-back"
    assert site.shown("ben") == before["ben"]
    assert site.ask("ann", "cat .config/only-in-6") == "6"
    ran = homes.run_playbook(site.play(NAMES["ann"], site.options("v1")))
    assert outcomes(ran, NAMES["ann"]) == ["committed"], str(ran)
    assert any("was interrupted" in note for note in ran.result(SWITCH)["notes"])
    site.settled("ann")
    assert site.ask("ann", "cat .config/greeting; ls .config/only-in-6 2>/dev/null || true") == "hello from 1"


def test_old_release_sets_the_profile_itself_and_rollback(site: Site, homes: Project) -> None:
    name, options = NAMES["ben"], {"kind": "home-manager", "timeout_confirm": 10}
    ran = homes.run_playbook(site.play(name, site.options("legacy"), site.options("v1")))
    assert outcomes(ran, name) == ["committed", "committed"], str(ran)
    ran = homes.run_playbook(task_play(name, "nix_rollback", options)).assert_ok()
    assert site.ask("ben", f"readlink -e {PROFILE}") == site.paths["ben-legacy"]
    assert site.ask("ben", "cat .config/greeting") == "hello from the past"
    ran = homes.run_playbook(task_play(name, "nix_generations", {"kind": "home-manager"})).assert_ok()
    current = [
        generation["path"]
        for generation in ran.result("nix_generations")["generations"]
        if generation["current"]
    ]
    assert current == [site.paths["ben-legacy"]]
