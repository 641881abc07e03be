"""How late tokens are: thousands of streams from one emulator on one core, read by another process.

    python bench/emulator.py            # 2,000 streams of R1 on four nodes of eight H200, 40 s
    python bench/emulator.py 500 1000   # other numbers of streams
    python bench/emulator.py --own-core # at real-time priority, as on a machine of its own; needs the right to it
Lateness of a token is when its bytes were handed to the system, after the moment the simulation gives it. The reader
counts what arrives and when, so that nothing is lost on the way; gaps are what one stream sees between its chunks.
`core` is the share of its core the emulator used, `waited` the share of time other processes had it. `sends` is what
handing one chunk of each stream to the system takes alone: when the replicas' steps end together, which is a matter of
chance and lasts for a run, the last of their tokens are no less late. The bar is a p99 of 10 ms for 2,000 streams.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import selectors
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from sizewell.emulator.deployment import Emulation

STREAMS, RAMP_S, STEADY_S = 2000, 10.0, 20.0
BAR_S = 0.010
MODEL, MACHINE, REPLICAS = "deepseek-r1", "32xh200", 4
ASKED_TOKENS, CHUNK_BYTES = 4000, 230


def emulation() -> Emulation:
    """Return four replicas of R1, each on a node of its own: 500 streams a replica."""
    from sizewell.cli import emulate, main

    context = main.sizewell.make_context("sizewell", ["-q", "emulate"], resilient_parsing=True)
    words = [MODEL, "--on", MACHINE, "--tp", "8", "--replicas", str(REPLICAS), "--max-model-len", "16384"]
    given = emulate.command.make_context("emulate", words, parent=context).params
    return emulate.emulation_of(given)[0]


def serve(pipe: Connection, own_core: bool) -> None:
    """Serve on one core and tell how late tokens were sent."""
    if own_core:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.emulator.deployment import Door
    from sizewell.emulator.server import Server

    server = Server(emulation(), Door(port=0), lambda line: None, CodeFolder.usual())
    late: list[float] = []

    async def watch() -> None:
        while server.service is None:
            await asyncio.sleep(0.01)
        while not pipe.poll():
            await asyncio.sleep(0.05)
        pipe.recv()
        begun, cpu_s, waited_s = time.monotonic(), _cpu_s(), _waited_s()
        server.service.late = late.extend
        while not pipe.poll():
            await asyncio.sleep(0.05)
        pipe.recv()
        passed_s = time.monotonic() - begun
        pipe.send((late, (_cpu_s() - cpu_s) / passed_s, (_waited_s() - waited_s) / passed_s))
        server.stop()

    watching = asyncio.create_task(watch())
    await server.run(pipe.send)
    await watching


def _waited_s() -> float:
    """Return how long this process has been ready to run and something else had the core."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def read(address: str, streams: int, pipe: Connection) -> dict[str, Any]:
    """Open the streams over a while, then read them all and count the chunks of the steady state."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    selector, gaps, last = selectors.DefaultSelector(), [], np.zeros(streams)
    begun, opened, chunks, started = time.monotonic(), 0, 0, 0.0
    while not started or time.monotonic() < started + STEADY_S:
        while opened < streams and time.monotonic() >= begun + RAMP_S * opened / streams:
            selector.register(_asked(host, int(port), opened), selectors.EVENT_READ, opened)
            opened += 1
        for key, _ in selector.select(0.005):
            found, now = key.fileobj.recv(65_536).count(b"data: "), time.monotonic()  # type: ignore[union-attr]
            if started:
                chunks += found
                gaps.append(now - last[key.data])
            last[key.data] = now
        if not started and opened == streams and time.monotonic() > begun + RAMP_S + 3:
            started = time.monotonic()
            pipe.send("measure")
    pipe.send("stop")
    late, share, waited = pipe.recv()
    return {
        "late": np.array(late),
        "share": share,
        "waited": waited,
        "chunks_per_s": chunks / STEADY_S,
        "gaps": np.array(gaps),
    }


def _asked(host: str, port: int, number: int) -> socket.socket:
    body = json.dumps({
        "messages": [{"role": "user", "content": f"{number} " * 200}],
        "stream": True, "max_tokens": ASKED_TOKENS, "ignore_eos": True,
    }).encode()  # fmt: skip
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    made = socket.create_connection((host, port))
    made.sendall(head.encode() + body)
    made.setblocking(False)
    return made


def sends_s(count: int) -> float:
    """Return how long the system takes for one chunk on each of so many connections, by what it does for 200 of them."""
    door, pairs = socket.create_server(("127.0.0.1", 0), backlog=200), []
    for _ in range(200):
        pairs.append((socket.create_connection(door.getsockname()), door.accept()[0]))
    event, taken = b"x" * CHUNK_BYTES, []
    for _ in range(20):
        begun = time.perf_counter()
        for _, there in pairs:
            there.send(event)
        taken.append(time.perf_counter() - begun)
        for here, _ in pairs:
            here.recv(65_536)
    for here, there in pairs:
        here.close()
        there.close()
    door.close()
    return float(np.median(taken)) / 200 * count


def measure(streams: int, own_core: bool) -> None:
    """Print one row."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, own_core))
    server.start()
    found = read(here.recv(), streams, here)
    server.join()
    late_ms = 1e3 * np.percentile(found["late"], [50, 99, 99.9])
    gap_ms = 1e3 * np.percentile(found["gaps"], [50, 99])
    verdict = "holds" if late_ms[1] <= 1e3 * BAR_S else "MISSED"
    print(
        f"{streams:7,} {found['chunks_per_s']:9,.0f} {found['share']:8.0%} {found['waited']:7.0%} "
        f"{late_ms[0]:8.2f} {late_ms[1]:8.2f} {late_ms[2]:8.2f} {gap_ms[0]:9.1f} {gap_ms[1]:9.1f} "
        f"{1e3 * sends_s(streams):6.1f}  {verdict}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", type=int, nargs="*", default=[STREAMS])
    parser.add_argument("--own-core", action="store_true", help="real-time priority")
    given = parser.parse_args()
    print(f"{MODEL} on {MACHINE}, {REPLICAS} replicas; lateness and gaps in ms")
    print("streams  chunks/s     core  waited  late p50      p99    p99.9   gap p50   gap p99  sends  bar")
    for streams in given.streams:
        measure(streams, given.own_core)


if __name__ == "__main__":
    main()
