# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploys by a user who is not root and whom the Nix daemon does not trust."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import textwrap
from typing import Any

from copies import copy, make_pair, make_path, refusal
from lab import REPOSITORY, SYSTEM_PROFILE, LabHost, run
from plays import SWITCH, deploy_play, task_play
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import installed_request
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import (
    StartRequest,
    request_fields,
)

NIX = ["nix", "--extra-experimental-features", "nix-command"]
# A user who may log in and use Nix, and nothing else.
MAKE_USER = """
id ferry >/dev/null 2>&1 || useradd --create-home --shell /bin/sh --groups nix-users ferry
usermod --password '*' ferry
mkdir -p /home/ferry/.ssh
cp /root/.ssh/authorized_keys /home/ferry/.ssh/
chown -R ferry /home/ferry/.ssh
chmod 700 /home/ferry/.ssh
"""
# More than what travels in one piece.
LARGE = 33 * 1024 * 1024
USER = {"ansible_user": "ferry"}
DOCKER_USER = {
    "ansible_connection": "community.docker.docker",
    "ansible_host": "{{ lab_container }}",
    "ansible_user": "ferry",
}
LOGIN_AND_SUDO = {"ansible_user": "deploy", "ansible_become": True}
PASSWORD_AND_SUDO = {
    "ansible_user": "admin",
    "ansible_password": "lab-password",
    "ansible_become": True,
    "ansible_become_password": "lab-password",
    "ansible_ssh_private_key_file": None,
}


def make_key(project: Project, name: str = "deploy.key") -> str:
    """A secret key beside the playbook, made as the documentation says; returns its public half."""
    made = run([*NIX, "key", "generate-secret", "--key-name", f"lab-{secrets.token_hex(4)}"]).stdout
    file = project.write(name, made)
    file.chmod(0o600)
    return run([*NIX, "key", "convert-secret-to-public"], input=made).stdout.strip()


def act(project: Project, host: LabHost, action: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The result of one task as root."""
    run = project.run_playbook(task_play(host.name, action, options), *arguments)
    return run.result(action)


def test_a_key_signs_and_is_trusted(each_host: LabHost, project: Project) -> None:
    """The whole way of a deploy key: made, installed once, and then copies without any privilege."""
    host = each_host
    host.execute(MAKE_USER)
    below, above = make_pair()
    public = make_key(project)
    key = f"{project.root}/deploy.key"

    told = act(project, host, "nix_trusted_key", "--check", "--diff", key_file=key)
    assert told["changed"]
    assert told["diff"]["after"] == f"{public}\n"
    assert public not in host.ask("cat /etc/nix/nix.conf")
    assert act(project, host, "nix_trusted_key", public_key=public)["changed"]
    assert not act(project, host, "nix_trusted_key", public_key=public)["changed"]

    # Not signed yet: no road is open, and each says why.
    for variables, check in ((USER, True), (DOCKER_USER, True), (DOCKER_USER, False)):
        refused = copy(project, host.name, above, variables=variables, check_sigs=check, retries=0)
        assert "signature" in refusal(refused, host.name)["msg"]
        assert not host.has_path(below)

    told = act(project, host, "nix_sign", "--check", "--diff", paths=[above], key_file=key)
    assert (told["changed"], told["signatures_added"]) == (True, 2)
    assert below in told["diff"]["prepared"]
    signed = act(project, host, "nix_sign", paths=[above], key_file="deploy.key")
    assert (signed["changed"], signed["signatures_added"], signed["public_key"]) == (True, 2, public)
    assert not act(project, host, "nix_sign", paths=[above], key_file=key)["changed"]
    assert not act(project, host, "nix_sign", "--check", paths=[above], key_file=key)["changed"]

    done = copy(project, host.name, above, variables=USER, check_sigs=True).assert_ok().result("Copy")
    assert (done["transport"], done["copied"]) == ("ssh", [below, above])
    # Over any other connection the paths travel with their signatures; root can ask for them as well.
    for variables, size in ((DOCKER_USER, 100), (PASSWORD_AND_SUDO, LARGE)):
        lower = make_path("lower", size=size)
        upper = make_path("upper", dependency=lower)
        act(project, host, "nix_sign", paths=[upper], key_file=key)
        done = (
            copy(project, host.name, upper, variables=variables, check_sigs=True).assert_ok().result("Copy")
        )
        assert (done["transport"], done["copied"]) == ("stream", [lower, upper])
        assert host.has_path(upper)
        refused = copy(project, host.name, make_path("unsigned"), variables=variables, check_sigs=True)
        assert "signature" in refusal(refused, host.name)["msg"]

    assert act(project, host, "nix_trusted_key", public_key=public, state="absent")["changed"]
    assert not act(project, host, "nix_trusted_key", public_key=public, state="absent")["changed"]
    assert "nixferry" not in host.ask("cat /etc/nix/nix.conf")


PAGE = REPOSITORY / "docs/docsite/rst/privileges.rst"
GUARD = "/usr/local/sbin/nixferry-guard"
RULE_FILE = "/etc/sudoers.d/nixferry-guard"
BROKEN = {"units": {"broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n"}}
# A system that a user builds on the host: valid in the store, and never signed by anybody.
BUILD_HERE = """
cat >evil.nix <<'END'
derivation {
  name = "evil"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" ''
    PATH=/usr/bin:/bin; mkdir -p $out/bin; echo evil >$out/nixos-version
    printf '#!/bin/sh\\ntouch /root/hacked\\n' >$out/bin/switch-to-configuration; chmod +x $out/bin/*
  '' ];
}
END
nix-build --no-out-link evil.nix
"""


def documented(host: LabHost, name: str) -> str:
    """A playbook of the documentation, for ``host`` instead of a group."""
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    playbooks = [textwrap.dedent(block).strip() + "\n" for block in blocks]
    found = next(text for text in playbooks if text.startswith(f"# {name}\n"))
    return re.sub(r"hosts: nixos(\[0\])?\n", f"hosts: {host.name}\n", found)


def prepare(host: LabHost, project: Project) -> tuple[str, dict[str, Any]]:
    """A user, a key and a guard on the host; returns the public key and the options of every deploy."""
    host.execute(MAKE_USER)
    public = make_key(project)
    trust, install = documented(host, "trust.yml"), documented(host, "guard.yml")
    assert project.run_playbook(trust).assert_ok().changed(host.name)
    told = project.run_playbook(install, "--check", "--diff").assert_ok().result("nix_guard")
    assert public in told["diff"][0]["after"]
    assert f'ferry ALL=(root) NOPASSWD:NOSETENV: {GUARD} ""' in told["diff"][1]["after"]
    assert host.execute(f"ls {GUARD} {RULE_FILE}", check=False).stdout == ""
    assert project.run_playbook(install).assert_ok().changed(host.name)
    assert project.run_playbook(install).assert_ok().changed(host.name) == []
    assert host.ask(f"stat -c '%U %a' {GUARD} {RULE_FILE}") == "root 755\nroot 440"
    return public, {
        "play": {"vars": USER},
        "file": "systems/default.nix",
        "attr": "{host}",
        "sign_key": "deploy.key",
        "guard": GUARD,
        "timeout_confirm": 20,
    }


def as_user(host: LabHost, request: bytes | str, command: str = f"sudo -n {GUARD}") -> str:
    """What the user gets to read who sends ``request`` to the guard by hand."""
    data = request.encode() if isinstance(request, str) else request
    done = subprocess.run(
        [*host.ssh_command("ferry"), command], input=data, capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0, done.stdout
    return (done.stdout + done.stderr).decode(errors="replace")


def test_a_user_with_one_rule_deploys_and_nothing_else(web1: LabHost, project: Project) -> None:
    host = web1
    old = host.current_system()
    _public, options = prepare(host, project)

    def deploy(version: dict[str, Any], *arguments: str) -> tuple[str, PlaybookRun]:
        path = project.build(host.name, version)
        return path, project.run_playbook(deploy_play(host.name, **options), *arguments)

    # Look, deploy, deploy again.
    _new, run = deploy({"version": "2"}, "--check", "--diff")
    assert run.assert_ok().result(SWITCH)["changed"]
    assert host.current_system() == old
    new, run = deploy({"version": "2"})
    result = run.assert_ok().result(SWITCH)
    assert result["outcome"] == "committed"
    assert host.current_system() == host.boot_default() == host.profile() == new
    assert deploy({"version": "2"})[1].assert_ok().changed(host.name) == []

    # A deploy that fails is rolled back by the same means.
    _bad, run = deploy({"version": "3", **BROKEN})
    assert run.return_code != 0
    assert run.result(SWITCH)["outcome"] == "rolled-back"
    assert host.current_system() == host.boot_default() == new

    # Status, and back to a generation without a signature.
    told = project.run_playbook(
        task_play(host.name, "nix_generations", {"guard": GUARD, "pull": True}, vars=USER)
    ).assert_ok()
    assert told.result("nix_generations")["current"] == new
    assert told.result("nix_generations")["pull"]["installed"] is False
    back = task_play(host.name, "nix_rollback", {"guard": GUARD, "timeout_confirm": 20}, vars=USER)
    assert project.run_playbook(back).assert_ok().result("nix_rollback")["outcome"] == "committed"
    assert host.current_system() == host.boot_default() == old

    attack(host, new)
    assert host.current_system() == host.boot_default() == old
    assert host.execute("ls /root/hacked", check=False).returncode != 0

    # Without the rule the error says what is missing.
    assert act(project, host, "nix_guard", state="absent")["changed"]
    assert not act(project, host, "nix_guard", state="absent")["changed"]
    assert host.execute(f"ls {GUARD} {RULE_FILE}", check=False).stdout == ""
    _path, run = deploy({"version": "2"})
    assert run.return_code != 0
    assert "nix_guard" in run.result(SWITCH)["msg"]
    assert host.current_system() == old


def test_another_nix_judges_signatures_alike(web2: LabHost, project: Project) -> None:
    host = web2
    old = host.current_system()
    _public, options = prepare(host, project)
    project.build(host.name, {"version": "2"})
    unsigned = {**options, "play": {"vars": LOGIN_AND_SUDO}, "sign_key": "", "guard": ""}
    copied = project.run_playbook(deploy_play(host.name, **unsigned), "--tags", "copy").assert_ok()
    assert copied.result("nix_copy")["changed"]
    # It is there, from a user who was trusted, and the guard still wants to see who made it.
    run = project.run_playbook(deploy_play(host.name, **options))
    assert "neither signed" in run.result(SWITCH)["msg"]
    assert host.current_system() == old

    # As the documentation has it, flake and all.
    new = project.build(host.name, {"version": "3"})
    shutil.copytree(project.systems, project.directory, dirs_exist_ok=True)
    done = project.run_playbook(documented(host, "deploy.yml")).assert_ok()
    assert done.result(SWITCH)["outcome"] == "committed"
    forge(host, good_request(new), new)
    assert host.current_system() == host.boot_default() == new

    project.run_playbook(documented(host, "write-guard.yml")).assert_ok()
    assert project.directory.joinpath("nixferry-guard").read_text().startswith("#!/bin/sh\n")
    assert host.execute("ls /etc/nixferry", check=False).returncode != 0


def good_request(signed: str) -> str:
    """A request that the guard would follow."""
    request = StartRequest("attack", KINDS["nixos"], signed, profile=SYSTEM_PROFILE, force=True)
    good = installed_request("start", list(request_fields(request))).decode()
    assert f"toplevel={signed}\n" in good
    return good


def forge(host: LabHost, good: str, signed: str) -> str:
    """Ask for systems that the user has built or added on the host; returns one of them."""
    built = host.execute(
        f"cd /tmp && mkdir -p ferry && cd ferry && {BUILD_HERE}", user="ferry"
    ).stdout.strip()
    assert host.has_path(built)
    add = f"cp -r {built} /tmp/ferry/copy; nix-store --add /tmp/ferry/copy"
    added = host.execute(add, user="ferry").stdout.strip()
    for path in (built, added):
        assert "error=not_signed" in as_user(host, good.replace(signed, path))
    return built


def attack(host: LabHost, signed: str) -> None:
    """Whatever the user tries beyond deploying is refused."""
    before = host.snapshot()
    good = good_request(signed)
    built = forge(host, good, signed)
    host.execute(f"ln -s {signed} /tmp/ferry/link", user="ferry")
    # What was safe when the guard was installed: with this directory the user could replace the program.
    host.execute("chown ferry /usr/local")
    assert "/usr/local belongs to another user" in as_user(host, good)
    host.execute("chown root /usr/local; chmod g+w /nix/var/nix/db")
    assert "lets others write to /nix/var/nix/db" in as_user(host, good)
    host.execute("chmod g-w /nix/var/nix/db")
    assert "error=refused" in as_user(host, re.sub(r"timeout_confirm=\d+", "timeout_confirm=08", good))

    assert "password" in as_user(host, "", "sudo -n /bin/sh -c 'touch /root/hacked'")
    assert "password" in as_user(host, good, f"sudo -n {GUARD} start")
    assert "password" in as_user(host, good, f"sudo -n -u nobody {GUARD}")
    assert "not allowed to set" in as_user(host, good, f"sudo -n NIXFERRY_SH=/tmp/ferry/sh {GUARD}")
    assert "not allowed to preserve" in as_user(host, good, f"sudo -n -E {GUARD}")
    for path in (
        "/tmp/ferry/link",
        "/tmp/ferry",
        f"{signed}/bin",
        f"{signed}/../../../tmp/ferry",
        SYSTEM_PROFILE,
    ):
        assert "error=refused" in as_user(host, good.replace(f"toplevel={signed}", f"toplevel={path}"))
    for line in (
        "activate=touch /root/hacked",
        "activate_command=touch /root/hacked",
        "variable=PATH=/tmp/ferry",
        "reboot_command=touch /root/hacked",
        f"toplevel={built}",
        "reason=$(touch /root/hacked)%0aactivate=touch /root/hacked",
        "reason=$(touch /root/hacked)\nactivate=touch /root/hacked",
        "reason=\0activate=touch /root/hacked",
        "specialisation=../../../tmp/ferry",
        "reason=" + "x" * 200_000,
    ):
        told = good.removesuffix("end=start\n")
        assert "error=refused" in as_user(host, f"{told}{line}\nend=start\n"), line
    assert "error=refused" in as_user(host, good.removesuffix("end=start\n"))
    profile = good.replace(f"profile={SYSTEM_PROFILE}", "profile=/etc/cron.d/ferry")
    assert "error=refused" in as_user(host, profile)
    assert "error=refused" in as_user(host, "touch /root/hacked\n")
    assert host.snapshot() == before
