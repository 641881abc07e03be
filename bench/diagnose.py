"""Diagnose emulated servers that something is wrong with, and print whether it was found: condition, label, right?

Each condition is made of settings and traffic only; what the diagnosis knows beside /metrics is stated in its row.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from sizewell.advisor.diagnosis import Diagnosis, Known, diagnose
from sizewell.advisor.observation import ClientFacts
from sizewell.catalog.engine_metrics import read_engine_metrics
from sizewell.catalog.machine_code import CodeFolder
from sizewell.cli import emulate
from sizewell.cli.diagnose_advice import adviser
from sizewell.cli.main import sizewell
from sizewell.costs.ledger import ledger
from sizewell.emulator.deployment import Door, Emulation
from sizewell.emulator.server import Server
from sizewell.observer.exposition import read_page
from sizewell.observer.metrics import observe
from sizewell.specs.deployment import Deployment

WARM_S, WINDOW_S, READINGS = 2.0, 3.0, 7
"""Real seconds before the first reading and from it to the last."""
RIGHT_BAR = 0.9


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a client sends: so many in flight, or so many requests per emulated second.

    The last `shared` tokens of prompts are alike where they come first; with `stamped` something unique comes before.
    `pause_s` is the client's own work between two requests, in emulated seconds: it sends one after the other.
    """

    in_flight: int = 0
    per_s: float = 0.0
    prompt: int = 200
    shared: int = 0
    stamped: bool = False
    output: int = 200
    pause_s: float = 0.0
    session: str = ""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A deployment (flags of `sizewell emulate`), its traffic, and the label that is right.

    `stated` are the flags of the deployment the diagnosis is told, where somebody is mistaken about it; `shared` the
    share of prompts it is told they have in common.
    """

    name: str
    label: str
    flags: str
    traffic: Traffic
    speed: float = 10.0
    stated: str = ""
    shared: float | None = None
    warm_s: float = WARM_S


SMALL = "llama-3.1-8b --on h100"
CONDITIONS = (
    Condition(
        name="long prompts in a small cache", label="KV capacity", flags=f"{SMALL} --memory-fraction 0.35 --max-model-len 8192",
        traffic=Traffic(in_flight=64, prompt=3000, output=400), speed=5.0,
    ),
    Condition(
        name="long answers in a small cache", label="preemption storm",
        flags=f"{SMALL} --memory-fraction 0.28 --max-model-len 8192",
        traffic=Traffic(in_flight=128, prompt=50, output=600), speed=5.0, warm_s=3.0,
    ),
    Condition(name="long prompts, short answers", label="prefill compute", flags=SMALL, traffic=Traffic(in_flight=4, prompt=7000, output=8), speed=4.0),
    Condition(name="few short sequences on a large model", label="weights bandwidth", flags="llama-3.1-70b --on 4xh100 --tp 4", traffic=Traffic(in_flight=8, output=300), speed=8.0),
    Condition(
        name="long shared contexts", label="decode attention", flags=f"{SMALL} --max-model-len 65536",
        traffic=Traffic(in_flight=24, prompt=32_000, shared=31_900, output=800), speed=6.0, shared=0.99, warm_s=4.0,
    ),
    Condition(name="a small model, kernel by kernel", label="host/launch overhead", flags="qwen2.5-0.5b --on h100 --enforce-eager", traffic=Traffic(in_flight=4), speed=4.0),
    Condition(
        name="TP16 over a slow network", label="interconnect", flags="llama-3.1-70b --on 8xh100 --nodes 2 --node gcp-a3-highgpu-8g --tp 16 --pp 1",
        traffic=Traffic(in_flight=64, prompt=100, output=300), speed=4.0,
    ),
    Condition(name="more than sixteen seats take", label="queueing", flags=f"{SMALL} --max-num-seqs 16", traffic=Traffic(per_s=20, output=200), speed=4.0),
    Condition(name="a client busy with itself", label="client", flags=SMALL, traffic=Traffic(per_s=20, output=50, pause_s=0.4), speed=4.0),
    Condition(name="hardly any traffic", label="idle GPUs", flags=SMALL, traffic=Traffic(per_s=0.1, output=50), speed=20.0),
    Condition(
        name="one conversation, four replicas", label="idle GPUs", flags="llama-3.1-8b --on 4xh100 --tp 1 --router session",
        traffic=Traffic(in_flight=32, session="one"), speed=4.0,
    ),
    Condition(
        name="R1 in TP8, long prompts", label="replicated MLA KV", flags="r1 --on 8xh200 --tp 8 --memory-fraction 0.75 --max-model-len 16384",
        traffic=Traffic(in_flight=96, prompt=6000, output=200), speed=20.0, warm_s=3.0,
    ),
    Condition(
        name="prompts that begin with the time", label="cold prefix cache", flags=SMALL,
        traffic=Traffic(in_flight=8, prompt=4000, shared=3800, stamped=True, output=60), shared=0.95, speed=4.0,
    ),
    Condition(
        name="the same prompts, found in the cache", label="weights bandwidth", flags=SMALL,
        traffic=Traffic(in_flight=4, prompt=2000, shared=1900, output=200), shared=0.95, speed=4.0,
    ),
    Condition(
        name="slower cards than stated", label="slower than predicted", flags="llama-3.1-8b --on l40s", stated=SMALL,
        traffic=Traffic(in_flight=16), speed=4.0,
    ),
)  # fmt: skip


def emulation(flags: str) -> tuple[Emulation, Deployment]:
    """Return what a command line emulates."""
    context = sizewell.make_context("sizewell", ["-q", "emulate"], resilient_parsing=True)
    given = emulate.command.make_context("emulate", flags.split(), parent=context).params
    return emulate.emulation_of(given)


@contextmanager
def serving(emulated: Emulation) -> Iterator[str]:
    """Serve for the length of a block and give the address."""
    server = Server(emulated, Door(port=0), lambda line: None, CodeFolder.usual())
    found: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []
    listening = threading.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.run(lambda address: (found.append(address), listening.set()))

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    listening.wait(30)
    try:
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(server.stop)
        thread.join(10)


class Client:
    """Sends traffic until it is told to stop, and notes how far behind it is."""

    def __init__(self, url: str, traffic: Traffic, speed: float) -> None:
        self.url, self.traffic, self.speed = url, traffic, speed
        self.numbers = itertools.count()
        self.sent = 0

    def body(self) -> dict[str, Any]:
        """Return the next request: what is shared comes first unless something unique precedes it."""
        traffic = self.traffic
        shared, own = "them" * traffic.shared, f"{next(self.numbers):07d}_" * ((traffic.prompt - traffic.shared) // 2)
        prompt = own + shared if traffic.stamped else shared + own
        return {"prompt": prompt, "max_tokens": traffic.output, "ignore_eos": True, "user": traffic.session}

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Send one request and read its answer; the server's end comes before the last ones."""
        with suppress(aiohttp.ClientError, RuntimeError):
            async with session.post(f"{self.url}/v1/completions", json=self.body()) as answer:
                await answer.read()

    async def closed(self, session: aiohttp.ClientSession) -> None:
        """Keep one request in flight."""
        while True:
            self.sent += 1
            await self.ask(session)

    async def opened(self, session: aiohttp.ClientSession) -> None:
        """Send at a rate; a client with work of its own sends when that is done."""
        gap_s, begun = 1 / self.traffic.per_s, time.monotonic()
        tasks = set()
        for number in itertools.count():
            due = begun + number * gap_s / self.speed
            await asyncio.sleep(max(0.0, due - time.monotonic(), self.traffic.pause_s / self.speed))
            self.sent += 1
            tasks.add(asyncio.create_task(self.ask(session)))

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Send until cancelled."""
        if self.traffic.per_s:
            await self.opened(session)
        await asyncio.gather(*(self.closed(session) for _ in range(self.traffic.in_flight)))


async def watched(url: str, condition: Condition) -> tuple[list[str], ClientFacts | None]:
    """Return the readings of a server under a condition's traffic, and what its client knows of itself."""
    traffic = condition.traffic
    limits = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits) as session:
        while (await session.get(f"{url}/health")).status != 200:
            await asyncio.sleep(0.02)
        client = Client(url, traffic, condition.speed)
        sending = asyncio.create_task(client.run(session))
        await asyncio.sleep(condition.warm_s)
        before, pages = client.sent, []
        for number in range(READINGS):
            await asyncio.sleep(WINDOW_S / (READINGS - 1) if number else 0)
            async with session.get(f"{url}/metrics") as answer:
                pages.append(await answer.text())
        sending.cancel()
    if not traffic.per_s:
        return pages, ClientFacts(asked_in_flight=traffic.in_flight)
    sent_per_s = (client.sent - before) / WINDOW_S / condition.speed
    return pages, ClientFacts(asked_per_s=traffic.per_s, achieved_per_s=sent_per_s)


def diagnosed(condition: Condition) -> Diagnosis:
    """Return the diagnosis of an emulated server under a condition."""
    emulated, deployment = emulation(f"{condition.flags} --speed {condition.speed:g}")
    with serving(emulated) as url:
        texts, client = asyncio.run(watched(url, condition))
    if condition.stated:
        _, deployment = emulation(condition.stated)
    seen = observe([read_page(text) for text in texts], read_engine_metrics(deployment.engine.name), client)
    known = Known(deployment=deployment, memory=ledger(deployment), expected_cached_fraction=condition.shared)
    return diagnose(seen, known, adviser())


def main(words: Sequence[str]) -> int:
    """Print the table of the conditions whose names or labels contain a word; return 1 below the bar."""
    chosen = [c for c in CONDITIONS if not words or any(word in f"{c.name} {c.label}" for word in words)]
    right = 0
    print("| Condition | Label | Said | Right | First evidence | Change |\n|---|---|---|---|---|---|", flush=True)
    for condition in chosen:
        found = diagnosed(condition)
        right += found.label == condition.label
        mark = "yes" if found.label == condition.label else "NO"
        change = f"{found.changes[0].name} ({found.changes[0].gain_fraction:+.0%})" if found.changes else "–"
        print(
            f"| {condition.name} | {condition.label} | {found.label} | {mark} | {found.findings[0].evidence[0]} "
            f"| {change} |", flush=True,
        )  # fmt: skip
        if found.label != condition.label:
            print(found.seen, *found.findings, found.pace, sep="\n", file=sys.stderr)
    print(f"\n{right} of {len(chosen)} right")
    return 0 if right >= RIGHT_BAR * len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
