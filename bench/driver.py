"""What the driver itself costs: chunks a second on one client core, and how late it sees them.

    python bench/driver.py [--seconds 5]

A raw asyncio server in another process writes chunks that carry the time they were written; both processes read the
same monotonic clock. `spread`: streams take turns; `steps`: all streams write at one moment, as an engine's step does.
Latency is from just before the server writes to when the chunk is recorded, so it holds the server's and the kernel's
part too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

from sizewell.driver import load as driver_load
from sizewell.driver.client import opened
from sizewell.driver.endpoints import Secret
from sizewell.driver.wording import Wording
from sizewell.traffic.requests import Requests

CHUNKS_PER_S = 50.0
LOADS = ((100, 1), (200, 1), (300, 1), (400, 1), (200, 0), (400, 0))
"""Streams, and whether they take turns."""
BAR_CHUNKS_PER_S, BAR_P99_S = 10_000, 0.005
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"double","t":%.7f,"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)
PHASES = 20


class Server:
    """Writes to all open streams on one clock, a phase of them at a time."""

    def __init__(self, spread: bool) -> None:
        self.phases: list[list[tuple[asyncio.StreamWriter, list[int], asyncio.Event]]] = [[] for _ in range(PHASES)]
        self.spread = spread
        self.streams = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, each with as many chunks as it asks for."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                asked = int((await reader.readexactly(length)).partition(b'"max_tokens": ')[2].split(b",")[0])
                writer.write(HEAD)
                done = asyncio.Event()
                self.streams += 1
                self.phases[self.streams % PHASES if self.spread else 0].append((writer, [asked], done))
                await done.wait()
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    async def tick(self) -> None:
        """Write the chunks of each phase when it is its turn."""
        begun, number = time.perf_counter(), 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, begun + number / (CHUNKS_PER_S * PHASES) - time.perf_counter()))
            phase = self.phases[number % PHASES]
            for writer, left, done in phase:
                data = CHUNK % time.perf_counter()
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                left[0] -= 1
                if not left[0]:
                    done.set()
            phase[:] = [one for one in phase if one[1][0]]


async def serve(spread: bool) -> None:
    """Serve until killed."""
    one = Server(spread)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await one.tick()


async def drive(url: str, streams: int, seconds: float) -> tuple[int, float, float]:
    """Return chunks received, wall seconds, CPU seconds; lateness is appended by the caller's hook."""
    requests = Requests.of(0.0, 8, np.full(streams, round(seconds * CHUNKS_PER_S)), concurrency=streams)
    async with opened(Secret(), 600) as client:
        wording = Wording(model="double", salt=1, api="chat")
        one = driver_load.Load(client=client, url=url, wording=wording, requests=requests)
        begun, cpu = time.perf_counter(), time.process_time()
        found = await one.play()
        return sum(len(each.token_s) for each in found), time.perf_counter() - begun, time.process_time() - cpu


def measured(streams: int, spread: bool, seconds: float) -> tuple[float, float, float, np.ndarray[Any, Any]]:
    """Return chunks a second of wall and of CPU time, and each chunk's lateness in seconds."""
    late: list[float] = []
    plain = driver_load.chunk_of

    def hooked(data: bytes) -> dict[str, Any] | None:
        chunk = plain(data)
        if chunk is not None:
            late.append(time.perf_counter() - chunk["t"])
        return chunk

    command = [sys.executable, __file__, "--serve", "spread" if spread else "steps"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        driver_load.chunk_of = hooked
        try:
            chunks, wall, cpu = asyncio.run(drive(url, streams, seconds))
        finally:
            driver_load.chunk_of = plain
            server.kill()
    settled = np.array(late[len(late) // 10 :])
    return chunks / wall, chunks / cpu, cpu / wall, settled


def main() -> int:
    """Print the table; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", choices=["spread", "steps"])
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve == "spread"))
    print(
        f"{'streams':>8} {'writes':>7} {'chunks/s':>9} {'per CPU s':>10} {'µs each':>8} {'core':>6} {'p50 ms':>7} {'p99 ms':>7}"
    )
    held = False
    for streams, spread in LOADS:
        rate, per_cpu, core, late = measured(streams, bool(spread), given.seconds)
        p50, p99 = np.percentile(late, (50, 99)) * 1e3
        held |= per_cpu >= BAR_CHUNKS_PER_S and rate >= 0.9 * BAR_CHUNKS_PER_S and p99 <= BAR_P99_S * 1e3
        print(
            f"{streams:>8} {'spread' if spread else 'steps':>7} {rate:>9,.0f} {per_cpu:>10,.0f} {1e6 / per_cpu:>8.1f} "
            f"{core:>6.0%} {p50:>7.2f} {p99:>7.2f}"
        )
    print(
        f"bar: {BAR_CHUNKS_PER_S:,} chunks/s of one core with p99 at most {BAR_P99_S * 1e3:g} ms: {'held' if held else 'MISSED'}"
    )
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
