# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run, a fleet and a plan in which something of everything happens, for tests of what is written about them."""

from __future__ import annotations

from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import PullStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet import PULL, STATUS, FleetStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import Plan, PlannedHost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run import BUILD, DEPLOY, RunReport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.steps import COLLECTION

BEGAN = 1_790_000_000.0
MOMENT = "2026-09-18T14:13:20+00:00"


def path(letter: str, host: str = "web") -> str:
    return f"/nix/store/{letter * 32}-nixos-system-{host}-25.11.20261120"


def closure_of(said: str = "") -> dict[str, Any]:
    packages = (
        ("openssl" + said, "changed", ["3.4.1"], ["3.4.2" + said], 4096),
        ("linux", "changed", ["6.12.30"], ["6.12.41"], -81920),
        ("nginx", "rebuilt", ["1.28.0"], ["1.28.0"], 0),
        ("hello", "added", [], ["2.12"], 240000),
    )
    keys = ("name", "change", "before", "after", "size_delta")
    return {
        "packages": [dict(zip(keys, package, strict=True)) for package in packages],
        "size_before": 2_000_000_000,
        "size_after": 2_000_340_000,
        "units": {
            "added": ["hello.timer" + said],
            "removed": [],
            "changed": ["nginx.service", "sshd.service"],
        },
    }


def a_run(said: str = "", *, check_mode: bool = False) -> RunReport:
    """A run of 41 seconds with every kind of end. ``said`` is added to whatever a host or a user chooses."""
    run = RunReport(playbook="/srv/fleet/deploy.yml", began=BEGAN, check_mode=check_mode)
    web1, web2, web3, mail, away, db, _never = names = [
        f"{name}{said}" for name in ("web1", "web2", "web3.example.org", "mail", "away", "db1", "never")
    ]
    run.play(names, names[:-1], deploys=True)

    def task(host: str, action: str, name: str, status: str, begin: float, end: float, **result: Any) -> None:
        run.task_begins(host, action, BEGAN + begin)
        run.task_ends(host, action, name + said, status, result, BEGAN + end)

    def switch(host: str, outcome: str, end: float, *phases: tuple[str, int], **more: Any) -> None:
        bad = outcome == "rolled-back"
        task(
            host,
            DEPLOY,
            "nixferry.deploy.nixos : Copy and activate",
            "failed" if bad else "ok",
            14.2,
            end,
            outcome=outcome,
            changed=outcome == "committed",
            failed=bad,
            kind="nixos",
            profile="/nix/var/nix/profiles/system" + said,
            old=path("a", host),
            new=path("b", host),
            revision="77d0e1b2" + "0" * 32 + "-dirty",
            deploy="20260925T091200-77d0e1b2" + said,
            activation="20260925T091212-1a2b3c4d",
            generation=12,
            phases=[{"name": name, "seconds": seconds} for name, seconds in phases],
            **more,
        )

    broken = {
        "failed": True,
        "step": "evaluate",
        "msg": f"{db}: evaluate failed: undefined variable 'pkgss'{said}\nWhat to do: Correct it.{said}",
        "output": ["error: undefined variable 'pkgss'" + said, "       at /srv/fleet/db.nix:12:5:"],
    }
    built = {name: {"failed": False} for name in names[:-2]}
    task(web1, BUILD, "Build all hosts together", "ok", 0.4, 14, hosts={**built, db: broken})
    switch(web1, "unchanged", 15)
    good = (
        ("prepared", 0),
        ("activating", 4),
        ("awaiting-confirmation", 3),
        ("committing", 2),
        ("committed", 0),
    )
    check = {"name": f"unit sshd{said}", "kind": "unit", "detail": "", "attempts": 1}
    switch(web2, "committed", 31, *good, closure=closure_of(said), health_checks=[{**check, "healthy": True}])
    reboot = {"reboot_required": True, "reboot_reasons": ["kernel", "initrd" + said]}
    switch(
        web3, "committed", 33, *good, closure=closure_of(said), notes=["took over a lock" + said], **reboot
    )
    task(web3, f"{COLLECTION}nix_secrets", "Place the secrets", "ok", 33.2, 34)
    task(web3, "ansible.builtin.uri", "Smoke test", "failed", 34, 36, failed=True, msg="hunter2")
    task(
        away,
        DEPLOY,
        "nixferry.deploy.nixos : Copy and activate",
        "unreachable",
        14.2,
        24.6,
        unreachable=True,
        msg=f"{away}: copy failed: the host does not answer: Connection timed out{said}",
    )
    switch(
        mail,
        "rolled-back",
        40.5,
        *(
            ("prepared", 0),
            ("activating", 5),
            ("awaiting-confirmation", 9),
            ("rolling-back", 6),
            ("rolled-back", 0),
        ),
        closure=closure_of(said),
        failed_units=["postfix.service" + said],
        msg=f"{mail}: health check failed: port 25: Connection refused{said}\nWhat to do: See `log`.{said}",
        log=["activating the configuration...", "warning: postfix.service failed" + said],
        health_checks=[{**check, "healthy": False, "detail": "Connection refused" + said}],
    )
    return run


def run_report(said: str = "", **options: Any) -> dict[str, Any]:
    names = [f"{name}{said}" for name in ("db1", "mail", "web3.example.org")]
    return a_run(said, **options).report(BEGAN + 41, names)


def a_status(said: str = "") -> dict[str, Any]:
    """The status of five hosts of which four need attention."""
    fleet = FleetStatus()
    web1, web2, away, cache, kiosk = names = [
        f"{name}{said}" for name in ("web1", "web2", "away", "cache1", "kiosk7")
    ]
    fleet.play(names)
    deployed = {
        "time": MOMENT,
        "deployer": "ann@laptop" + said,
        "revision": "1f0a8c34" + "0" * 32,
        "deploy": "20260918T141300-1f0a8c34" + said,
        "action": "switch",
    }
    answer = {
        **dict.fromkeys(("current", "booted", "boot_default"), path("b")),
        "generation": 12,
        "generation_time": MOMENT,
        "deployed": deployed,
        "history": [deployed, {**deployed, "deploy": "20260919", "action": "rollback"}],
        "drift": [],
        "reboot_required": False,
        "reboot_reasons": [],
        "failed_units": [],
        "nix_version": "2.28.3" + said,
        "lock": "",
        "notes": [],
    }
    fleet.task_ends(web1, STATUS, "ok", answer)
    odd = {
        "current": path("9"),
        "drift": ["running", "build"],
        "failed_units": ["nginx.service" + said],
        "notes": ["it runs what it does not boot" + said],
        "lock": "bob@desk" + said,
    }
    fleet.task_ends(web2, STATUS, "ok", {**answer, **odd})
    fleet.task_ends(away, STATUS, "unreachable", {"msg": "ssh: Connection timed out" + said})
    due = {"reboot_required": True, "reboot_reasons": ["kernel" + said]}
    fleet.task_ends(cache, STATUS, "ok", {**answer, **due})
    fleet.task_ends(kiosk, STATUS, "ok", answer)
    pull = PullStatus(
        now=int(BEGAN),
        installed=True,
        timer="active",
        under_way=False,
        outcome="rolled-back",
        message="kiosk.service failed" + said,
        time=int(BEGAN) - 60,
        good_time=int(BEGAN) - 90000,
        serial=41,
        issued=int(BEGAN) - 10000,
        expires=int(BEGAN) + 90000,
        channel="stable" + said,
        host="kiosk7",
        wanted=path("c"),
        current=path("b"),
        activation="",
        needs_reboot=False,
        held="",
        quarantined=(path("c"),),
        version="1",
        branch="main",
        commit="77d0e1b2" + "0" * 32,
    ).result()
    fleet.task_ends(kiosk, PULL, "ok", {"pull": pull})
    return fleet.report(BEGAN)


def a_plan(said: str = "") -> Plan:
    """Two hosts that change, one that does not, and one that is left out."""
    made = int(BEGAN)
    return Plan(
        made,
        made + 86400,
        {
            "web1" + said: PlannedHost(
                *(path("b"), path("a"), path("a"), True, "77d0e1b2" + said, True, ("kernel" + said,)),
                closure=closure_of(said),
                secrets=("tls-key" + said, "/run/keys/old (removed)"),
            ),
            "web2" + said: PlannedHost(
                path("b"), path("a"), path("a"), True, reboot_reasons=("kernel",), closure=closure_of(said)
            ),
            "db1" + said: PlannedHost(path("d"), path("d"), path("d"), False),
        },
        {"mail" + said: "it could not be reached: Connection timed out" + said},
    )
