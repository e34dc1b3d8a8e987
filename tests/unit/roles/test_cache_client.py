# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role `cache_client` tells Nix, and what it does where the configuration of a system makes nix.conf."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Performance, Stage

KEY = f"cache-1:{'A' * 43}="
CANARY = "canary-4711"
CACHES = [
    {"url": "https://one.example.org", "public_keys": [KEY], "priority": 10},
    {"url": "https://two.example.org?compression=none", "public_keys": [KEY], "priority": 20},
    {"url": "https://three.example.org"},
]
FILES = {"managed_by": "files", "in_effect": True, "daemon_restart_needed": False, "snippet": ""}
NIXOS = {**FILES, "managed_by": "nixos", "snippet": "{\n  nix.settings.connect-timeout = 5;\n}\n"}
LOGIN = {"machine": "one.example.org", "login": "host", "password": CANARY}
SETTINGS = "Manage the settings"


def client(conf: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    named = {f"cache_client_{name}": value for name, value in {"caches": CACHES, **variables}.items()}
    return {**named, "answers": {"nix_conf": conf or FILES, "stat": {"stat": {"exists": False}}}}


@pytest.fixture(scope="module")
def done(stage: Stage) -> Performance:
    hosts = {
        "added": client(logins=[LOGIN]),
        "exclusive": client(exclusive=True, negative_ttl=30, download_speed=100, fallback=True),
        "gone": client(state="absent"),
        "stale": client({**FILES, "daemon_restart_needed": True}),
        "nixos": client({**NIXOS, "in_effect": False}),
        "nixos_done": client(NIXOS),
        "password": client(caches=[{"url": f"https://ann:{CANARY}@one.example.org"}]),
        "key": client(caches=[{"url": "https://one.example.org", "public_keys": ["cache-1"]}]),
        "quote": client(logins=[{**LOGIN, "password": f'{CANARY}" x'}]),
        "backslash": client(logins=[{**LOGIN, "password": f"{CANARY}\\"}]),
    }
    return stage.run([{"hosts": "all", "roles": ["nixferry.deploy.cache_client"]}], hosts)


def test_the_settings(done: Performance) -> None:
    assert done.options["added"][SETTINGS]["settings"] == {
        "extra-substituters": [
            "https://one.example.org?priority=10",
            "https://two.example.org?compression=none&priority=20",
            "https://three.example.org",
        ],
        "extra-trusted-public-keys": [KEY],
        "netrc-file": "/etc/nix/nixferry-caches.netrc",
        "narinfo-cache-negative-ttl": 0,
        "narinfo-cache-positive-ttl": 3600,
        "connect-timeout": 5,
        "download-speed": None,
        "fallback": None,
    }
    exclusive = done.options["exclusive"][SETTINGS]["settings"]
    assert len(exclusive["substituters"]) == 3
    assert exclusive["trusted-public-keys"] == [KEY]
    assert not any(name.startswith("extra-") for name in exclusive)
    assert [
        exclusive[name] for name in ("narinfo-cache-negative-ttl", "download-speed", "fallback", "netrc-file")
    ] == [
        30,
        100,
        True,
        None,
    ]
    gone = done.options["gone"][SETTINGS]
    assert (gone["state"], gone["settings"], gone["purge"]) == ("absent", {}, False)


def test_the_passwords_come_before_the_setting_that_names_their_file(done: Performance) -> None:
    steps = [step.rpartition(" : ")[2] for step in done.steps["added"]]
    assert steps.index("Write the passwords") < steps.index(SETTINGS)
    written = done.options["added"]["Write the passwords"]
    assert written["content"] == f"machine one.example.org login host password {CANARY}\n"
    assert written["mode"] == "0600"
    assert "Remove the passwords" in " ".join(done.steps["gone"])
    assert "Restart the daemon" in " ".join(done.steps["stale"])
    assert "Restart the daemon" not in " ".join(done.steps["added"])


def test_what_is_not_in_effect_is_a_failure(done: Performance) -> None:
    assert done.failed == {"nixos", "password", "key", "quote", "backslash"}, done.output
    assert "nix.settings.connect-timeout = 5" in done.output
    for name in ("password", "key", "quote", "backslash"):
        assert SETTINGS not in done.options[name]
    assert CANARY not in done.output
