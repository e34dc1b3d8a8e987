# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.builder_news import (
    BuilderNews,
    with_builders,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import parse_line

LOGS = Path(__file__).parents[3] / "fixtures" / "nix-logs"
# Recorded with nothing listening at the builder's port, without what is not about the builder.
SSH_2_8 = (LOGS / "2.8.0-builder-down-ssh.log").read_text()
SSH_NG_2_8 = (LOGS / "2.8.0-builder-down-ssh-ng.log").read_text()
SSH_NG_2_34 = (LOGS / "2.34.8-builder-down-ssh-ng.log").read_text()
# With a daemon, ssh's words go to the daemon's log.
DAEMON_2_34 = SSH_NG_2_34.replace("ssh: connect to host 127.0.0.1 port 3999: Connection refused\n", "")

MISMATCH_2_8 = (
    "a 'riscv64-linux' with features {} is required to build '/nix/store/fkaf3bmyg0ac22sgv761sa6x7rgk2yw4-x.drv', "
    "but I am a 'x86_64-linux' with features {benchmark, big-parallel, kvm, nixos-test}"
)
MISMATCH_2_34 = (
    "Cannot build '/nix/store/1yrfg14b1bgh50j832lv7s70f9p4nyk1-x.drv'.\nReason: platform mismatch\n"
    "Required system: 'riscv64-linux'\nCurrent system: 'x86_64-linux'"
)
NO_JOBS_2_34 = (
    "Cannot build '/nix/store/4j7qycnp5vyniggana45rv8pg7jdl440-x.drv'.\n"
    "Reason: local builds are disabled (max-jobs = 0)\nHint: set 'max-jobs' to a non-zero value to enable local "
    "builds, or configure remote builders via 'builders'"
)
NO_JOBS_2_26 = "Unable to start any build; either increase '--max-jobs' or enable remote builds."


def news_of(log: str) -> BuilderNews:
    news = BuilderNews()
    for event in filter(None, map(parse_line, log.splitlines())):
        news.event(event)
    return news


@pytest.mark.parametrize(
    "log", [SSH_2_8, SSH_NG_2_8, SSH_NG_2_34], ids=["ssh-2.8", "ssh-ng-2.8", "ssh-ng-2.34"]
)
def test_a_builder_that_is_down_is_named_with_the_cause(log: str) -> None:
    (trouble,) = news_of(log).troubles
    assert trouble.uri.endswith("://big")
    assert (trouble.failure.code, trouble.failure.stage) == ("refused", "connect")
    assert "Connection refused" in trouble.text
    (warning,) = news_of(log).warnings()
    assert trouble.failure.hint in warning


def test_where_ssh_is_not_heard_the_user_learns_how_to_hear_it() -> None:
    (trouble,) = news_of(DAEMON_2_34).troubles
    assert trouble.failure.code == "ssh_failed"
    assert "nix_builder_check" in trouble.failure.hint


def test_lines_before_the_connection_explain_nothing() -> None:
    (trouble,) = news_of("git: Could not resolve hostname example.org\n" + SSH_NG_2_34.strip()).troubles
    assert trouble.failure.code == "refused"


def test_each_builder_is_told_of_once() -> None:
    log = SSH_2_8 + SSH_2_8 + SSH_2_8.replace("://big", "://small")
    assert [each.uri for each in news_of(log).troubles] == ["ssh://big", "ssh://small"]


# Nix 2.8 counts what it says of the builder among its errors.
NO_JOBS_2_8 = (
    "cannot build on 'ssh://nobody@127.0.0.1': error: cannot connect to 'nobody@127.0.0.1': ssh: connect to host "
    "127.0.0.1 port 22: Connection refused\nunable to start any build; remote machines may not have all required "
    "system features.\nhttps://nixos.org/manual/nix/stable/advanced-topics/distributed-builds.html"
)


def test_the_users_message_says_it_once() -> None:
    error = NixferryError(NO_JOBS_2_8, step="build", remedy="The controller could not fetch something.")
    explained = with_builders(error, news_of(SSH_2_8).troubles)
    assert explained.cause.startswith("unable to start any build")
    assert explained.cause.count("Connection refused") == 1
    assert "Start the builder" in explained.remedy


@pytest.mark.parametrize("message", [MISMATCH_2_8, MISMATCH_2_34, NO_JOBS_2_26, NO_JOBS_2_34])
def test_an_error_that_follows_from_it_is_explained_by_it(message: str) -> None:
    error = NixferryError(message, step="build", remedy="Name a builder.", output=["a line"])
    explained = with_builders(error, news_of(SSH_NG_2_34).troubles)
    assert message in explained.cause
    assert "ssh-ng://big could not be used" in explained.cause
    assert "Start the builder" in explained.remedy
    assert explained.output == ["a line"]


@pytest.mark.parametrize(
    "message", ["hash mismatch in fixed-output derivation", "builder failed with exit code 1"]
)
def test_an_error_of_its_own_stays_as_it_is(message: str) -> None:
    error = NixferryError(message, step="build", remedy="Correct the hash.")
    assert with_builders(error, news_of(SSH_NG_2_34).troubles) is error


def test_without_trouble_a_mismatch_stays_as_it_is() -> None:
    error = NixferryError(MISMATCH_2_8, step="build", remedy="Name a builder.")
    assert with_builders(error, []) is error


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (
            "build of '/nix/store/1yrfg14b1bgh50j832lv7s70f9p4nyk1-x.drv' on 'ssh-ng://big' failed: error: "
            + MISMATCH_2_8,
            "extra-platforms",
        ),
        ("Nix daemon disconnected unexpectedly (maybe it crashed?)", "nix_builder_check"),
        (
            "cannot add path '/nix/store/1yrfg14b1bgh50j832lv7s70f9p4nyk1-x' because it lacks a signature by a "
            "trusted key; on 'ssh-ng://big'",
            "the builder's nix.conf",
        ),
    ],
)
def test_a_builder_that_was_reached_gets_its_own_advice(message: str, hint: str) -> None:
    explained = with_builders(NixferryError(message, step="build", remedy="Something else."), [])
    assert explained.cause == message
    assert hint in explained.remedy


def test_the_same_words_of_this_machine_are_not_a_builders() -> None:
    error = NixferryError("/nix/store/x lacks a signature by a trusted key", step="build", remedy="Trust it.")
    assert with_builders(error, []) is error
