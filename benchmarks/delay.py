# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long way to the hosts: what the lab's ports say on the loopback address of the lab, later, on another one.

Every byte takes half of the round trip each way, and a connection opens after one whole round trip, as TCP's does.
What is sent meanwhile is not held up: the delay adds latency, and takes no bandwidth. It works where the kernel cannot
delay packets.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen

NEAR = "127.0.0.1"  # where the lab publishes its hosts
FAR = "127.0.0.2"  # the same ports behind the delay
CHUNK = 256 * 1024  # bytes of one read; more than fits into a socket's buffer
START_DEADLINE = 10  # seconds until all ports are open
STOP_DEADLINE = 10  # seconds to close them


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, way: float) -> None:
    """Write what ``source`` says to ``target``, ``way`` seconds after it came, until it ends."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        data = b"-"
        while data:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            target.write(data)
            await target.drain()
        with suppress(OSError):
            target.write_eof()

    arriving = asyncio.create_task(arrive())
    with suppress(OSError):
        while data := await source.read(CHUNK):
            under_way.put_nowait((loop.time() + way, data))
    under_way.put_nowait((loop.time() + way, b""))
    with suppress(OSError):
        await arriving


async def serve(ports: Sequence[int], round_trip: float) -> None:
    """Listen on all ``ports`` of FAR until standard input ends."""
    # asyncio forgets a connection that the client has closed, with what is still under way to the host.
    open_connections: set[asyncio.Task[None] | None] = set()

    def connection(port: int) -> object:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            open_connections.add(task)
            try:
                await asyncio.sleep(round_trip)
                there_reader, there_writer = await asyncio.open_connection(NEAR, port)
                await asyncio.gather(
                    carry(reader, there_writer, round_trip / 2), carry(there_reader, writer, round_trip / 2)
                )
                there_writer.close()
            finally:
                writer.close()
                open_connections.discard(task)

        return connected

    servers = [await asyncio.start_server(connection(port), FAR, port) for port in ports]  # type: ignore[arg-type]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


@contextmanager
def delayed(ports: Sequence[int], milliseconds: float) -> Iterator[str]:
    """The address at which ``ports`` answer with a round trip of so many milliseconds; NEAR where there are none."""
    if not milliseconds:
        yield NEAR
        return
    argv = [sys.executable, "-m", "benchmarks.delay", str(milliseconds), *map(str, ports)]
    with Popen(argv, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise OSError(f"the ports of the hosts cannot be opened on {FAR}")
        try:
            yield FAR
        finally:
            process.terminate()
            process.wait(STOP_DEADLINE)


if __name__ == "__main__":
    asyncio.run(serve([int(port) for port in sys.argv[2:]], float(sys.argv[1]) / 1000))
