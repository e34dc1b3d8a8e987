# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets come with the system that was activated with them, and go with it."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from guard_host import SHELLS, Host, wait_for
from guard_programs import SYSTEMCTL
from secrets_host import CHOWN, SecretsHost, make_secrets_host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import RECORDS, host_script

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
DISK = {"storage": "persistent", "dest_dir": "/var/keys"}


@pytest.fixture
def secrets(host: Host) -> SecretsHost:
    if host.shell == "busybox" and os.geteuid() != 0:
        pytest.skip("busybox's own stat says that files do not belong to root")
    return make_secrets_host(host)


def declared(version: int) -> dict[str, Any]:
    """One secret that changes with each version, one that does not, and one that is there in every second version."""
    found: dict[str, Any] = {
        "memory": {"text": f"memory {version}", "restart_units": ["app.service"]},
        "disk": {"text": f"disk {version}", **DISK},
        "same": {"text": "same", "restart_units": ["other.service"]},
    }
    if version % 2 == 0:
        found["even"] = {"text": f"even {version}", **DISK}
    return found


def in_place(secrets: SecretsHost) -> list[str]:
    """The contents of all secrets that are where they belong."""
    found = [*secrets.path("/run/keys").glob("*"), *secrets.path("/var/keys").glob("*")]
    return sorted(path.read_text() for path in found if path.is_file())


def of_version(version: int) -> list[str]:
    return sorted(entry["text"] for entry in declared(version).values())


def stage(secrets: SecretsHost, version: int) -> str:
    return str(secrets.place(declared(version), phase="pre-activation", stage=True)["set"])


def deploy(secrets: SecretsHost, version: int) -> str:
    """Deploy a version to the end, as the role does; returns its toplevel."""
    host = secrets.host_
    toplevel = host.toplevel(f"v{version}")
    assert host.deploy(toplevel, secrets=stage(secrets, version)).phase == "committed"
    secrets.place(declared(version), phase="post-activation", exclusive=True)
    assert in_place(secrets) == of_version(version)
    return toplevel


def begin(secrets: SecretsHost, version: int, **system: str) -> str:
    started = secrets.host_.start(
        secrets.host_.toplevel(f"v{version}", **system), secrets=stage(secrets, version)
    )
    return started.activation_id


@EVERY_SHELL
def test_secrets_come_when_the_system_is_activated(secrets: SecretsHost) -> None:
    host = secrets.host_
    assert in_place(secrets) == []
    staged = stage(secrets, 1)
    assert in_place(secrets) == []
    # The new system's own program finds them.
    toplevel = host.toplevel("v1", test='cat "$HOST/run/keys/memory" >"$HOST/seen"')
    started = host.start(toplevel, secrets=staged)
    host.awaited(started.activation_id)
    assert (host.directory / "seen").read_text() == "memory 1"
    assert host.confirm(started.activation_id).phase == "committed"
    assert in_place(secrets) == of_version(1)
    assert not secrets.place(declared(1))["changed"]
    assert stage(secrets, 1) == ""


@EVERY_SHELL
@pytest.mark.parametrize("fate", ["aborted", "fails", "killed"])
def test_the_old_secrets_come_back_with_the_old_system(secrets: SecretsHost, fate: str) -> None:
    host = secrets.host_
    host.with_service_manager()
    old = deploy(secrets, 1)
    before = secrets.leftovers()
    # What the old system's program finds when it is called back.
    (host.directory / "store/v1/bin/switch-to-configuration").write_text(
        f'#!/bin/sh\ncat "$HOST/run/keys/memory" >"$HOST/seen"\nln -sfn {old} "$HOST/run/current-system"\n'
    )
    (host.directory / "systemctl").unlink(missing_ok=True)
    identifier = begin(secrets, 2, test="exit 1" if fate == "fails" else ":")
    if fate != "fails":
        assert host.awaited(identifier).phase == "awaiting-confirmation"
        assert in_place(secrets) == of_version(2)
    if fate == "killed":
        os.kill(host.worker(identifier), signal.SIGKILL)
        wait_for(lambda: host.status(identifier).phase == "rolled-back", "the rescue")
    elif fate == "aborted":
        host.abort(identifier)
    assert host.ended(identifier).phase == "rolled-back"
    # What is not needed any more goes after that.
    wait_for(lambda: not (host.directory / "run/nixferry/lock").exists(), "the end of it")
    assert in_place(secrets) == of_version(1)
    assert (host.directory / "seen").read_text() == "memory 1"
    assert host.current == old
    assert secrets.leftovers() == before
    restarts = [
        line for line in (host.directory / "systemctl").read_text().splitlines() if "restart -- app" in line
    ]
    # With its new content, when it got so far, and with the old one; what has not changed is left in peace.
    assert len(restarts) == (1 if fate == "fails" else 2)
    assert "other.service" not in (host.directory / "systemctl").read_text()
    # Nothing is in the way of the next one.
    deploy(secrets, 4)


def invocations(secrets: SecretsHost, **services: str) -> str:
    """Shell code of a system's program that lets the service manager start ``services``."""
    place = secrets.directory / "services/InvocationID"
    place.mkdir(parents=True, exist_ok=True)
    return "; ".join(f'echo {number} >"{place}/{name}.service"' for name, number in services.items())


# busybox's own chown is not the one that gives files to `ghost`.
@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
def test_a_service_that_the_activation_has_started_is_not_started_again(secrets: SecretsHost) -> None:
    host = secrets.host_
    host.with_service_manager()
    names = ("app", "new", "late", "old")
    units = {name: {"text": "1", "restart_units": [name]} for name in names}
    units["late"] |= {"user": "ghost"}
    begins = invocations(secrets, app="a2", new="n1", late="l1")
    subprocess.run(["/bin/sh", "-c", invocations(secrets, app="a1", old="o1")], check=True)
    staged = secrets.place(units, phase="pre-activation", stage=True)["set"]
    host.program("chown", CHOWN.replace("ghost", "no-such-user"))
    assert host.deploy(host.toplevel("v1", test=begins), secrets=staged).phase == "committed"
    told = [line for line in (host.directory / "systemctl").read_text().splitlines() if "restart" in line]
    # Those that ran before, and what started before its secret had its owner.
    assert [line for line in told if "list-units" not in line] == [
        "restart -- old.service",
        "restart -- late.service",
    ]

    # On the way back, the old system's program starts one of them.
    (host.directory / "systemctl").unlink()
    program = host.directory / "store/v1/bin/switch-to-configuration"
    program.write_text(
        program.read_text().replace("#!/bin/sh", f"#!/bin/sh\n{invocations(secrets, app='a4')}")
    )
    changed = {name: {**units[name], "text": "2"} for name in ("app", "old")}
    staged = secrets.place(changed, phase="pre-activation", stage=True)["set"]
    started = host.start(host.toplevel("v2", test=invocations(secrets, app="a3")), secrets=staged)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert host.abort(started.activation_id).phase == "rolled-back"
    told = [line for line in (host.directory / "systemctl").read_text().splitlines() if "restart" in line]
    assert [line for line in told if "list-units" not in line] == ["restart -- old.service"] * 2


@EVERY_SHELL
def test_power_is_cut_while_the_new_secrets_are_in_place(secrets: SecretsHost) -> None:
    host = secrets.host_
    host.with_service_manager()

    sealed = {"sealed": {"text": "sealed 1", "storage": "sealed"}}
    deploy(secrets, 1)
    secrets.place(sealed)
    identifier = begin(secrets, 2)
    assert host.awaited(identifier).phase == "awaiting-confirmation"
    host.power_cut()
    # Long before the next deploy: the old system boots, and finds its own.
    secrets.boot()
    assert in_place(secrets) == ["disk 1", "sealed 1"]
    recovered = host.recover(identifier)
    assert recovered.phase == "rolled-back"
    assert in_place(secrets) == ["disk 1", "sealed 1"]
    assert any("/run/keys/memory" in note for note in recovered.notes)
    assert secrets.place(declared(1), exclusive=True)["secrets"].keys() == {"memory", "same"}
    assert in_place(secrets) == of_version(1)


# As agenix and sops-nix do in their activation: a directory for each generation, and a link to the one that counts.
DECRYPTED = """
for place in agenix secrets; do
    mkdir -p "$HOST/run/$place.d/@version@"
    echo "@version@ of the system" >"$HOST/run/$place.d/@version@/app"
    chmod 400 "$HOST/run/$place.d/@version@/app"
    ln -sfn "$HOST/run/$place.d/@version@" "$HOST/run/$place"
done
"""


def test_what_a_system_decrypts_itself_is_left_alone(secrets: SecretsHost) -> None:
    host = secrets.host_
    places = [host.directory / "run/agenix", host.directory / "run/secrets"]

    def found() -> list[tuple[str, int, int, int]]:
        files = [path for place in places for path in (place, *place.parent.glob(f"{place.name}.d/*/app"))]
        return [
            (str(path), state.st_ino, state.st_mode, state.st_mtime_ns)
            for path in files
            for state in (path.lstat(),)
        ]

    systems = [
        host.toplevel(f"v{number}", test=DECRYPTED.replace("@version@", str(number))) for number in (1, 2)
    ]
    assert host.deploy(systems[0], secrets=stage(secrets, 1)).phase == "committed"
    before = found()
    assert len(before) == 4
    secrets.place(declared(2), exclusive=True)
    secrets.place({}, exclusive=True)
    assert found() == before
    # Its own program alone goes back to the older ones.
    started = host.start(systems[1], secrets=stage(secrets, 2))
    host.awaited(started.activation_id)
    assert [(place / "app").read_text() for place in places] == ["2 of the system\n"] * 2
    assert host.abort(started.activation_id).phase == "rolled-back"
    assert [(place / "app").read_text() for place in places] == ["1 of the system\n"] * 2
    assert len(found()) == 6


def test_secrets_that_were_placed_after_a_power_cut_stay(secrets: SecretsHost) -> None:
    host = secrets.host_
    deploy(secrets, 1)
    identifier = begin(secrets, 2)
    assert host.awaited(identifier).phase == "awaiting-confirmation"
    host.power_cut()
    secrets.place(declared(3), exclusive=True)
    recovered = host.recover(identifier)
    assert recovered.phase == "rolled-back"
    assert any("they were kept" in note for note in recovered.notes)
    assert in_place(secrets) == of_version(3)


@EVERY_SHELL
def test_an_older_generation_runs_with_the_secrets_that_it_had(secrets: SecretsHost) -> None:
    host = secrets.host_
    first = deploy(secrets, 1)
    second = deploy(secrets, 2)
    deploy(secrets, 3)
    for toplevel, version in ((first, 1), (second, 2)):
        assert host.deploy(toplevel, is_rollback=True).phase == "committed"
        assert in_place(secrets) == of_version(version)
    # Going back can fail as well.
    started = host.start(first, is_rollback=True)
    host.awaited(started.activation_id)
    assert in_place(secrets) == of_version(1)
    assert host.abort(started.activation_id).phase == "rolled-back"
    assert in_place(secrets) == of_version(2)


@EVERY_SHELL
def test_what_is_changed_between_deploys_belongs_to_the_system_that_runs(secrets: SecretsHost) -> None:
    host = secrets.host_
    first = deploy(secrets, 1)
    changed = {**declared(1), "memory": {"text": "rotated"}}
    secrets.place(changed, exclusive=True)
    deploy(secrets, 2)
    host.deploy(first, is_rollback=True)
    assert in_place(secrets) == ["disk 1", "rotated", "same"]


def test_a_system_without_who_a_secret_is_for(secrets: SecretsHost) -> None:
    host = secrets.host_
    deploy(secrets, 1)
    late = {**declared(2), "late": {"text": "late", "user": "ghost", "permissions": "0640"}}
    staged = secrets.place(late, phase="pre-activation", stage=True)["set"]
    started = host.start(host.toplevel("v2"), secrets=staged)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "secrets")
    assert "ghost:root" in ended.message
    assert in_place(secrets) == of_version(1)
    # The next system has them.
    secrets.host_.program("chown", CHOWN.replace("ghost", "nobody-at-all"))
    staged = secrets.place(late, phase="pre-activation", stage=True)["set"]
    assert host.deploy(host.toplevel("v3"), secrets=staged).phase == "committed"
    assert secrets.mode("/run/keys/late") == 0o640
    assert "ghost:root" in secrets.chowns()[-1]


def test_a_unit_that_does_not_take_its_secret(secrets: SecretsHost) -> None:
    host = secrets.host_
    host.with_service_manager()
    deploy(secrets, 1)
    ill = SYSTEMCTL.replace(
        "#!/bin/sh",
        '#!/bin/sh\ncase $* in "restart -- app"*) grep -q 1 "$HOST/run/keys/memory" || exit 1 ;; esac',
    )
    host.program("systemctl", ill.replace("@before@", "").replace("@after@", ""))
    identifier = begin(secrets, 2)
    ended = host.ended(identifier)
    assert (ended.phase, ended.reason) == ("rolled-back", "secrets")
    assert ended.message == "units failed with their new secrets: app.service"
    assert in_place(secrets) == of_version(1)
    assert not any("with their old secrets" in note for note in ended.notes)


def test_secrets_that_cannot_be_put_into_place(secrets: SecretsHost) -> None:
    host = secrets.host_
    old = deploy(secrets, 1)
    staged = stage(secrets, 2)
    # Meanwhile a directory was put there.
    secrets.path("/var/keys/disk").unlink()
    secrets.path("/var/keys/disk/in-the-way").mkdir(parents=True)
    started = host.start(host.toplevel("v2"), secrets=staged)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "secrets")
    assert "test v2" not in host.actions
    assert host.current == old
    assert secrets.content("/run/keys/memory") == b"memory 1"


def test_what_was_staged_is_gone(secrets: SecretsHost) -> None:
    host = secrets.host_
    first = stage(secrets, 1)
    second = stage(secrets, 2)
    new = host.toplevel("v1")
    with pytest.raises(NixferryError, match="not there any more"):
        host.start(new, secrets=first)
    assert host.deploy(new, secrets=second).phase == "committed"
    assert in_place(secrets) == of_version(2)


def test_sets_that_nothing_can_ask_for_go_away(secrets: SecretsHost) -> None:
    host = secrets.host_
    for version in range(1, 16):
        deploy(secrets, version)
    sets = secrets.path("/var/lib/nixferry/secrets/sets")
    assert 2 <= len(list(sets.iterdir())) <= 12
    kept = {path.name for path in sets.iterdir()}
    assert {path.name for path in secrets.path("/run/keys/.nixferry").iterdir()} == kept
    assert host.deploy(str(host.directory / "store/v12"), is_rollback=True).phase == "committed"
    assert in_place(secrets) == of_version(12)
    # A generation whose secrets are not kept any more runs with those that are in place.
    assert host.deploy(str(host.directory / "store/v1"), is_rollback=True).phase == "committed"
    assert in_place(secrets) == of_version(12)


@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
def test_an_activation_that_ends_meanwhile_takes_nothing_away(secrets: SecretsHost) -> None:
    """It clears sets away after others may place secrets again."""
    deploy(secrets, 1)
    parts = (*RECORDS, "secrets/sets.sh")
    clearing = secrets.directory / "clearing.sh"
    clearing.write_text(host_script({}, parts) + '\nuse_state "$(state_directory)"\nprune_sets\n')
    meanwhile = '"$NIXFERRY_SH" "$HOST/clearing.sh"; echo cleared >>"$HOST/cleared"'
    secrets.host_.program("chown", f"{CHOWN}{meanwhile}\n")
    secrets.place(declared(2), phase="all", exclusive=True)
    assert (secrets.directory / "cleared").exists()
    assert in_place(secrets) == of_version(2)
