# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.shared_results import (
    add_findings,
    new_memory,
)

FORK = multiprocessing.get_context("fork")
BATCH = ("web1", "web2", "web3")


class Worker:
    """A process that adds what it has found when told to, and ends when told to, as Ansible's do."""

    def __init__(self, memory: int, own: dict[str, Any], *, key: str = "build") -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=self._main, args=(theirs, memory, own, key), daemon=True)
        self.process.start()

    @staticmethod
    def _main(pipe: Connection, memory: int, own: dict[str, Any], key: str) -> None:
        pipe.recv()
        pipe.send(add_findings(key, own, of=BATCH, memory=memory, timeout=20))
        pipe.recv()

    def go(self) -> Worker:
        self.pipe.send("go")
        return self

    def found(self, *, within: float = 20) -> Any:
        return self.pipe.recv() if self.pipe.poll(within) else None

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join(20)


@pytest.fixture
def memory() -> int:
    return new_memory()


@pytest.fixture
def two(memory: int) -> Iterator[tuple[Worker, Worker]]:
    """The process for web1 began when it knew of web1 only, the one for web2 later, when it knew of both."""
    workers = (
        Worker(memory, {"web1": "early"}),
        Worker(memory, {"web1": "late", "web2": "late"}),
    )
    yield workers
    for worker in workers:
        worker.process.kill()


def test_the_last_result_holds_what_all_have_found(two: tuple[Worker, Worker]) -> None:
    first, second = two
    assert second.go().found() == {"web1": "late", "web2": "late"}
    second.end()
    assert first.go().found() == {"web1": "early", "web2": "late"}


def test_no_worker_is_in_between_until_the_process_has_ended(two: tuple[Worker, Worker]) -> None:
    first, second = two
    assert second.go().found()
    first.go()
    # Its result is still to be handed over.
    assert first.found(within=0.3) is None
    second.end()
    assert first.found() == {"web1": "early", "web2": "late"}


def test_a_killed_process_holds_up_nobody(two: tuple[Worker, Worker]) -> None:
    first, second = two
    assert second.go().found()
    second.process.kill()
    assert first.go().found()


def test_other_tasks_and_other_batches_do_not_mix(memory: int) -> None:
    for own, key in (({"web1": 1}, "system"), ({"web3": 3, "db1": 4}, "home")):
        worker = Worker(memory, own, key=key)
        assert worker.go().found() == own
        worker.end()
    assert add_findings("home", {"web2": 2}, of=BATCH, memory=memory) == {"web2": 2, "web3": 3}


def test_the_same_process_may_come_again(memory: int) -> None:
    add_findings("build", {"web1": "failed"}, of=BATCH, memory=memory)
    assert add_findings("build", {"web1": "built"}, of=BATCH, memory=memory) == {"web1": "built"}


def test_much_is_remembered_and_less_overwrites_it(memory: int) -> None:
    log = "x" * 3_000_000
    add_findings("build", {"web1": log}, of=BATCH, memory=memory)
    assert add_findings("build", {"web2": 2}, of=BATCH, memory=memory) == {"web1": log, "web2": 2}
    assert add_findings("build", {"web1": 1}, of=BATCH, memory=memory) == {"web1": 1, "web2": 2}


def test_the_wait_has_a_deadline(two: tuple[Worker, Worker], memory: int) -> None:
    two[0].go().found()
    with pytest.raises(NixferryError, match="the result lock timeout expired"):
        add_findings("build", {}, of=BATCH, memory=memory, timeout=0.1)
