"""What the driver itself costs: chunks a second on one client core, and how late it sees them.

    python bench/driver.py [--seconds 5]

A raw asyncio server in another process writes chunks that carry the time they were written; both processes read the
same monotonic clock. `spread`: streams take turns; `steps`: all streams write at one moment, as an engine's step does.
Latency is from just before the server writes to when the chunk is recorded, so it holds the server's part, the kernel's,
and that of whoever shares the cores. `bare` is a loop that only reads lines from sockets, under the same load right
after: what our p99 exceeds it by is what the driver adds.
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
from sizewell.driver.wording import Wording
from sizewell.specs.address import Secret
from sizewell.traffic.requests import Requests

CHUNKS_PER_S = 50.0
LOADS = ((100, 1), (220, 1), (300, 1), (400, 1), (220, 0), (400, 0))
"""Streams, and whether they take turns."""
BAR_CHUNKS_PER_S, BAR_P99_S = 10_000, 0.005
UNDECIDED = "undecided, the bare loop was late too: others use the cores"
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
        one = driver_load.Load(client=client, urls=[url], wording=wording, requests=requests)
        begun, cpu = time.perf_counter(), time.process_time()
        found = await one.play()
        return sum(len(each.token_s) for each in found), time.perf_counter() - begun, time.process_time() - cpu


async def bare(url: str, streams: int, seconds: float) -> list[float]:
    """Return the lateness of every chunk to a loop that does nothing but read."""
    late: list[float] = []
    host, _, port = url.removeprefix("http://").partition(":")

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        body = b'{"max_tokens": %d, "x": 1}' % round(seconds * CHUNKS_PER_S)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        async for line in reader:
            if line.startswith(b"data: {"):
                late.append(time.perf_counter() - float(line.partition(b'"t":')[2].split(b",", 1)[0]))
            elif line.startswith(b"data: ["):
                break
        writer.close()

    await asyncio.gather(*(one() for _ in range(streams)))
    return late


def measured(streams: int, spread: bool, seconds: float) -> tuple[float, float, float, list[float], list[float]]:
    """Return chunks a second of wall and of CPU time, the share of a core, and lateness in s: ours, the bare loop's."""
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
            plainly = asyncio.run(bare(url, streams, seconds))
        finally:
            driver_load.chunk_of = plain
            server.kill()
    return chunks / wall, chunks / cpu, cpu / wall, late[len(late) // 10 :], plainly[len(plainly) // 10 :]


def main() -> int:
    """Print the table; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", choices=["spread", "steps"])
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve == "spread"))
    heads = ("streams", "writes", "chunks/s", "per CPU s", "µs each", "core", "p50 ms", "p99 ms", "bare p99", "added")
    print(" ".join(f"{head:>9}" for head in heads))
    verdicts: list[str] = []
    for streams, spread in LOADS:
        rate, per_cpu, core, late, plainly = measured(streams, bool(spread), given.seconds)
        (p50, p99), bare_p99 = np.percentile(late, (50, 99)), float(np.percentile(plainly, 99))
        if spread and min(rate, per_cpu) >= BAR_CHUNKS_PER_S:
            verdicts.append("held" if p99 <= BAR_P99_S else "MISSED" if bare_p99 <= BAR_P99_S else UNDECIDED)
        times = (f"{1e3 * value:.2f}" for value in (p50, p99, bare_p99, p99 - bare_p99))
        how = "spread" if spread else "steps"
        cells = (streams, how, f"{rate:,.0f}", f"{per_cpu:,.0f}", f"{1e6 / per_cpu:.1f}", f"{core:.0%}", *times)
        print(" ".join(f"{cell:>9}" for cell in cells), flush=True)
    verdict = next((word for word in ("held", "MISSED") if word in verdicts), UNDECIDED)
    print(f"bar: {BAR_CHUNKS_PER_S:,} chunks/s of one core, spread, with p99 at most {BAR_P99_S * 1e3:g} ms: {verdict}")
    return int(verdict != "held")


if __name__ == "__main__":
    sys.exit(main())
