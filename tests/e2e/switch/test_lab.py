# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab is what other tests stand on: its hosts must boot, lose power and switch as real ones do."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from fault_systems import FAULTS
from lab import BOOT_DIRECTORY, REPOSITORY, SYSTEM_PROFILE, Lab, LabHost, nix_environment, run
from processes import wait_until
from project import Project

PLAY: list[Any] = [
    {
        "hosts": "lab",
        "gather_facts": False,
        "tasks": [{"name": "Ask for the name", "ansible.builtin.raw": "hostname", "changed_when": False}],
    }
]

JOURNAL_DEADLINE = 30  # seconds until a message of systemd is in the journal
EXPRESSION = """
derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo hi >$out" ]; }
"""


def switch_code(
    host: LabHost, project: Project, system: dict[str, Any], action: str = "test"
) -> tuple[int, str]:
    """Exit code and messages of a switch to a system that is copied first."""
    toplevel = project.build(host.name, system)
    host.copy_closure(toplevel)
    done = host.switch(toplevel, action, check=False)
    return done.returncode, done.stdout + done.stderr


def entries(host: LabHost) -> list[str]:
    """What the entries of GRUB's menu boot, from the top."""
    return host.ask(rf"sed -n 's|.* init=\(.*\)/init .*|\1|p' {BOOT_DIRECTORY}/grub.cfg").split()


def test_hosts_are_what_they_should_be(lab: Lab) -> None:
    for host in lab.hosts.values():
        host.make_anew()
        assert host.ssh("hostname").stdout.strip() == host.name
        assert host.ssh("sudo id -u", user="deploy").stdout.strip() == "0"
        assert host.ask("command -v python3 python perl5 || true") == ""
        version = {"bookworm": "2.8", "trixie": "2.26"}[host.release]
        assert f" {version}." in host.ask("nix --version")
        assert host.ask("systemctl is-system-running") == "running"


def test_unprivileged_nix_builds_through_the_daemon(each_host: LabHost) -> None:
    path = each_host.ssh(f"nix-build --no-out-link --expr '{EXPRESSION}'", user="deploy").stdout.strip()
    assert each_host.ask(f"cat {path}; stat -c %U {path}") == "hi\nroot"


def test_a_stock_host_boots_its_system(each_host: LabHost) -> None:
    system = each_host.current_system()
    assert "nixos-system-stock" in system
    assert each_host.booted_system() == each_host.boot_default() == each_host.profile() == system
    assert each_host.generations() == (f"1 {system}",)
    assert each_host.http("/version") == (200, "stock")


def test_a_fresh_host_has_no_system(fresh1: LabHost, project: Project) -> None:
    assert (fresh1.current_system(), fresh1.boot_default(), fresh1.profile()) == ("", "", "")
    # Without a running system there is no init interface to agree with.
    assert switch_code(fresh1, project, {"version": "2"})[0] == 100


def test_deploying_as_nixos_rebuild_does(each_host: LabHost, project: Project) -> None:
    stock = each_host.current_system()
    new = project.build(each_host.name, {"version": "2", "etc": {"greeting": "hello\n"}})
    each_host.install_system(new)
    assert each_host.current_system() == each_host.profile() == each_host.boot_default() == new
    assert each_host.booted_system() == stock
    assert each_host.http("/version") == (200, "2")
    assert each_host.ask("cat /etc/greeting") == "hello"

    each_host.switch(stock, "test")
    assert each_host.http("/version") == (200, "stock")
    assert each_host.ask("ls /etc/greeting 2>/dev/null || true") == ""
    assert each_host.boot_default() == new


def test_a_power_cut_brings_back_the_boot_default(each_host: LabHost, project: Project) -> None:
    stock = each_host.current_system()
    uncommitted = project.build(each_host.name, {"version": "2", "etc": {"greeting": "hello\n"}})
    each_host.copy_closure(uncommitted)
    each_host.switch(uncommitted, "test")
    assert each_host.current_system() == uncommitted
    before = each_host.boot()
    each_host.execute("touch /run/volatile /var/lib/durable")

    each_host.power_cut()
    assert each_host.http("/version")[0] == 0
    each_host.power_on()

    assert each_host.boot() != before
    assert each_host.current_system() == each_host.booted_system() == stock
    assert each_host.http("/version") == (200, "stock")
    assert each_host.ask("ls /etc/greeting 2>/dev/null || true") == ""
    assert each_host.ask("ls /run/volatile /var/lib/durable 2>/dev/null || true") == "/var/lib/durable"
    assert each_host.has_path(uncommitted)
    assert each_host.ssh("hostname").stdout.strip() == each_host.name


def test_a_reboot_comes_back_by_itself(web2: LabHost, project: Project) -> None:
    new = project.build("web2", {"version": "2", **FAULTS["new_kernel"]})
    web2.copy_closure(new)
    web2.execute(f"nix-env --profile /nix/var/nix/profiles/system --set {new}")
    web2.switch(new, "boot")
    assert web2.current_system() != new
    started = web2.boot()
    web2.execute("systemctl reboot", check=False)

    wait_until(lambda: web2.boot() not in (started, ""), deadline=30, what="the container starts again")
    web2.wait_ready()
    assert web2.current_system() == web2.booted_system() == new


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("activation_fails", 2, "Activation script snippet 'broken' failed (1)"),
        ("activation_aborts", 2, "Failed to run activate script"),
        ("unit_fails", 4, "warning: the following units failed: broken.service"),
        ("needs_reboot_to_switch", 100, "until you reboot the system"),
        ("check_fails", 1, "Pre-switch check 'refuses' failed"),
    ],
)
def test_exit_codes(each_host: LabHost, project: Project, fault: str, code: int, message: str) -> None:
    stock = each_host.current_system()
    got, output = switch_code(each_host, project, {"version": "2", **FAULTS[fault]})
    assert got == code
    assert message in output
    # An activation script that fails has moved on; one that ends early, or never ran, has not.
    moved = each_host.current_system() != stock
    assert moved == (fault in ("activation_fails", "unit_fails"))


def test_any_failed_unit_counts(web2: LabHost, project: Project) -> None:
    web2.execute(
        "systemd-run --unit=unrelated --property=Restart=always --property=RestartSec=100 /bin/false"
    )
    code, output = switch_code(web2, project, {"version": "2"})
    assert code == 4
    assert "unrelated.service" in output


def test_systemd_executes_itself_again_for_new_settings(web2: LabHost, project: Project) -> None:
    settings = {"systemd/system.conf": "[Manager]\nDefaultTimeoutStartSec=77\n"}
    code, output = switch_code(web2, project, {"version": "2", "etc": settings})
    assert (code, "restarting systemd..." in output) == (0, True), output
    assert "1min 17s" in web2.execute("systemctl show --property=DefaultTimeoutStartUSec").stdout
    wait_until(
        lambda: "eexecuting" in web2.execute("journalctl --boot _PID=1 --grep=eexecut --quiet || :").stdout,
        deadline=JOURNAL_DEADLINE,
        what="systemd says in the journal that it was executed again",
    )
    code, output = switch_code(web2, project, {"version": "3", "etc": settings})
    assert (code, "restarting systemd" in output) == (0, False), output
    code, output = switch_code(web2, project, {"version": "4"}, "dry-activate")
    assert "would restart systemd" in output


# What could make a command behave otherwise: namespaces, rights, the groups that systemd looks at, the directory.
SELF = """
for space in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$space; done
grep -E '^(Cap|Groups|NoNewPrivs|Seccomp|Uid)' /proc/self/status
grep -E '^(0|[0-9]+:name=systemd):' /proc/self/cgroup
pwd
"""


def test_commands_run_on_a_host_as_the_engine_runs_them(lab: Lab) -> None:
    for host in lab.hosts.values():
        by_the_engine = run(["docker", "exec", "--interactive", host.container, "/bin/sh"], input=SELF)
        assert host.execute(SELF).stdout == by_the_engine.stdout


def test_the_service_manager_of_a_user_is_told(web2: LabHost, project: Project) -> None:
    web2.execute("loginctl enable-linger deploy")
    code, output = switch_code(web2, project, {"version": "2", "userUnits": True})
    assert code == 0
    users = [line.split()[1] for line in web2.execute("loginctl list-users --no-legend").stdout.splitlines()]
    assert "deploy" in users
    for user in users:
        assert f"reloading user units for {user}..." in output


def test_the_lock_is_not_waited_for(web2: LabHost) -> None:
    lock = "/run/nixos/switch-to-configuration.lock"
    web2.execute(f"mkdir -p /run/nixos; systemd-run --unit=holder flock {lock} sleep 60")
    web2.execute(f"for i in 1 2 3 4 5 6 7 8 9 10; do flock -n {lock} true || exit 0; sleep 0.2; done; exit 1")
    done = web2.switch(web2.current_system(), "test", check=False)
    assert done.returncode == 11
    assert "Could not acquire lock" in done.stderr


def test_a_dry_run_says_what_would_happen_and_does_nothing(each_host: LabHost, project: Project) -> None:
    before = each_host.snapshot()
    code, output = switch_code(
        each_host,
        project,
        {
            "version": "2",
            "etc": {"greeting": "hi"},
            "dryActivationScripts": {"users": "echo would add a user"},
        },
        "dry-activate",
    )
    assert code == 0
    assert "would stop the following units: web.service" in output
    assert "would start the following units: web.service" in output
    assert "would add a user" in output
    assert each_host.snapshot() == before


def test_the_boot_loader_boots_what_it_is_given_by_default_and_shows_generations(
    web2: LabHost, project: Project
) -> None:
    stock = web2.boot_default()
    new = project.build("web2", {"version": "2"})
    web2.copy_closure(new)
    web2.switch(new, "boot")
    assert web2.boot_default() == new
    assert entries(web2) == [new, stock]
    web2.execute(f"nix-env --profile {SYSTEM_PROFILE} --set {new}")
    web2.switch(stock, "boot")
    assert web2.boot_default() == web2.current_system() == stock
    assert entries(web2) == [stock, new, stock]


def test_an_entry_is_booted_once(web2: LabHost, project: Project) -> None:
    stock = web2.boot_default()
    parent = project.build("web2", {"version": "2", "specialisation": {"debug": {"version": "2-debug"}}})
    web2.copy_closure(parent)
    web2.execute(f"nix-env --profile {SYSTEM_PROFILE} --set {parent}")
    web2.switch(stock, "boot")
    web2.execute(f"grub-editenv {BOOT_DIRECTORY}/grubenv set 'next_entry=1>0>1'")
    web2.power_cut()
    web2.power_on()
    assert web2.booted_system().endswith("-nixos-system-web2-debug-2-debug")
    assert web2.ask(f"grub-editenv {BOOT_DIRECTORY}/grubenv list") == "next_entry="
    web2.power_cut()
    web2.power_on()
    assert web2.booted_system() == web2.boot_default() == stock


def test_specialisations_are_systems(web2: LabHost, project: Project) -> None:
    parent = project.build("web2", {"version": "2", "specialisation": {"debug": {"version": "2-debug"}}})
    web2.install_system(parent)
    web2.switch(f"{parent}/specialisation/debug", "test")
    assert web2.current_system().endswith("-nixos-system-web2-debug-2-debug")
    assert web2.http("/version") == (200, "2-debug")


@pytest.mark.parametrize("fault", ["stops_sshd", "cuts_network"])
def test_lockouts_lock_out_and_can_be_undone(each_host: LabHost, project: Project, fault: str) -> None:
    stock = each_host.current_system()
    switch_code(each_host, project, {"version": "2", **FAULTS[fault]})
    try:
        refused = each_host.ssh("true", check=False, timeout=15).returncode == 255
    except subprocess.TimeoutExpired:
        refused = True
    assert refused
    each_host.switch(stock, "test")
    assert each_host.ssh("hostname").stdout.strip() == each_host.name


def test_all_nix_versions_build_the_same_system(each_controller: Project) -> None:
    expected = each_controller.build("web1", {"version": "2"})
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"name": "With a flake", "ansible.builtin.command": {"argv": [
                    "nix", "--extra-experimental-features", "nix-command flakes", "eval", "--raw",
                    "path:/project/systems#nixosConfigurations.web1.config.system.build.toplevel"]}},
                {"name": "Without", "ansible.builtin.command": {"argv": [
                    "nix-build", "--no-out-link", "/project/systems", "-A", "web1.config.system.build.toplevel"]}},
            ],
        }
    ]  # fmt: skip
    done = each_controller.run_playbook(play).assert_ok()
    assert done.result("With a flake")["stdout"] == done.result("Without")["stdout"] == expected


def test_playbooks_reach_all_hosts_from_here(project: Project) -> None:
    done = project.run_playbook(PLAY).assert_ok()
    for name in project.lab.hosts:
        assert done.result("Ask for the name", name)["stdout"].strip() == name
        assert done.changed(name) == []


def test_playbooks_reach_all_hosts_from_controllers(each_controller: Project) -> None:
    done = each_controller.run_playbook(PLAY).assert_ok()
    assert {entry.host for entry in done.find("Ask for the name")} == set(each_controller.lab.hosts)


def test_the_web_service_fixture(project: Project, each_host: LabHost) -> None:
    source = project.directory / "web-service"
    run([str(REPOSITORY / "tests/fixtures/web-service/materialise"), str(source)])
    pages = {"v1": ("1", 200), "v2": ("2", 200), "v3": ("3", 404)}
    each_host.execute("systemctl stop web")
    for attribute, (version, health) in pages.items():
        argv = ["nix-build", "--no-out-link", str(source), "--attr", attribute]
        path = run(argv, environment=nix_environment()).stdout.strip()
        each_host.copy_closure(path)
        each_host.ssh(f"SERVICE_LISTEN=0.0.0.0:8080 {path}/bin/service start", user="deploy")
        assert each_host.http("/version") == (200, version)
        assert each_host.http("/health")[0] == health
    each_host.ssh(f"{path}/bin/service stop", user="deploy")
    assert each_host.http("/version")[0] == 0
