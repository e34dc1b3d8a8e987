# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the guard and its rule on a host, with the real script in every shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.install import (
    GuardInstallation,
    checked_file,
    install_script,
    parse_installation,
    sudoers_rule,
)

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
PROGRAM = "#!/bin/sh\nINSTALLED_VERSION=1\nINSTALLED_KEYS='a:b c:d'\necho 'it is\\n'\n"


@pytest.fixture
def rule_file(host: Host) -> Path:
    host.program("id", '#!/bin/sh\ncase $2 in "" | root) echo 0 ;; *) exit 1 ;; esac\n')
    host.program(
        "visudo", '#!/bin/sh\n! grep -q "$(cat "$FAULTS/refused" 2>/dev/null || echo nothing)" "$3"\n'
    )
    host.program("sudo", '#!/bin/sh\necho "$*" >>"$HOST/sudo"; [ ! -e "$FAULTS/later-rule" ]\n')
    file = host.directory / "etc/sudoers.d/nixferry-guard"
    file.parent.mkdir(parents=True, mode=0o750)
    (host.directory / "etc/sudoers").write_text(f"@includedir {file.parent}\n")
    return file


def program_file(host: Host) -> Path:
    return host.directory / "usr/local/sbin/guard"


def install(
    host: Host, rule_file: Path, *users: str, wanted: str = "present", dry_run: bool = False
) -> GuardInstallation:
    path = str(program_file(host))
    script = install_script(
        wanted=wanted,
        dry_run=dry_run,
        path=path,
        program=PROGRAM.rstrip("\n"),
        profile=str(host.profile),
        rule_file=str(rule_file) if users or wanted == "absent" else "",
        rule=sudoers_rule(users, path),
        users=users,
    )
    return parse_installation(host.run(script))


@in_every_shell
def test_it_comes_and_goes(host: Host, rule_file: Path) -> None:
    program = program_file(host)
    told = install(host, rule_file, "root", dry_run=True)
    assert (told.changed, told.program_before, told.rule_before) == (True, (), ())
    assert not program.exists()
    assert not rule_file.exists()

    assert install(host, rule_file, "root").changed
    assert program.read_text() == PROGRAM
    assert program.stat().st_mode & 0o777 == 0o755
    assert rule_file.read_text().splitlines() == [
        "# Made by nixferry.deploy.nix_guard.",
        f"Defaults!{program} env_reset, !requiretty",
        f'root ALL=(root) NOPASSWD:NOSETENV: {program} ""',
    ]
    assert rule_file.stat().st_mode & 0o777 == 0o440
    assert rule_file.parent.stat().st_mode & 0o777 == 0o750
    assert (host.directory / "sudo").read_text() == f"-n -l -U root {program}\n"
    assert not install(host, rule_file, "root").changed

    # A change of it, or of who may read it, is undone.
    for spoil in (lambda: program.write_text(PROGRAM + "\n"), lambda: program.chmod(0o777)):
        spoil()
        done = install(host, rule_file, "root")
        assert (done.program_changed, done.rule_changed) == (True, False)
        assert done.program_before == ("INSTALLED_VERSION=1", "INSTALLED_KEYS='a:b c:d'")

    assert install(host, rule_file, wanted="absent").changed
    assert not program.exists()
    assert not rule_file.exists()
    assert not install(host, rule_file, wanted="absent").changed


def test_a_link_is_replaced_and_not_followed(host: Host, rule_file: Path) -> None:
    program = program_file(host)
    program.parent.mkdir(parents=True)
    other = host.directory / "other"
    other.write_text(PROGRAM)
    program.symlink_to(other)
    assert install(host, rule_file, "root").program_changed
    assert not program.is_symlink()
    assert other.read_text() == PROGRAM


def test_without_users_no_rule_is_touched(host: Host, rule_file: Path) -> None:
    rule_file.write_text("mine\n")
    assert install(host, rule_file).changed
    assert rule_file.read_text() == "mine\n"


def test_what_is_refused_changes_nothing(host: Host, rule_file: Path) -> None:
    sudoers = host.directory / "etc/sudoers"
    program = program_file(host)

    def refused(match: str) -> str:
        for dry_run in (True, False):
            with pytest.raises(NixferryError, match=match) as error:
                install(host, rule_file, "root", dry_run=dry_run)
            assert not program.exists()
            assert not rule_file.exists()
        return error.value.remedy

    (host.directory / "faults/refused").write_text("root")
    refused("visudo does not accept")
    (host.directory / "faults/refused").unlink()
    text = sudoers.read_text()
    sudoers.write_text("# nothing\n")
    assert "NixOS" in refused("does not include")
    sudoers.write_text(text)
    program.parent.mkdir(parents=True)
    program.parent.chmod(0o777)
    refused("every user can write to /usr/local/sbin")
    program.parent.chmod(0o755)
    with pytest.raises(NixferryError, match="the user nobody-here does not exist"):
        install(host, rule_file, "nobody-here")
    host.program("id", "#!/bin/sh\necho 1000\n")
    assert "become" in refused("only root")


def test_a_rule_that_another_takes_away_does_not_stay(host: Host, rule_file: Path) -> None:
    host.fault("later-rule")
    with pytest.raises(NixferryError, match="does not let root run"):
        install(host, rule_file, "root")
    assert not rule_file.exists()


@pytest.mark.parametrize("user", ["", "ALL ", "a b", "ferry,root", "%wheel", "#0", "ferry\nALL", "-x", "a=b"])
def test_names_that_sudoers_would_read_otherwise(user: str) -> None:
    with pytest.raises(NixferryError, match="not a usable user name"):
        sudoers_rule([user], "/usr/local/sbin/guard")


@pytest.mark.parametrize(
    "path", ["guard", "/", "/a b", "/a/../b", "/a/./b", "/a/*", "/a:b", "/a,b", "/a\nb", "/a/"]
)
def test_paths_that_sudoers_would_read_otherwise(path: str) -> None:
    with pytest.raises(NixferryError, match="`path` is"):
        checked_file(path, "path")
