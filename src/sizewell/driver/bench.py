"""A measurement of a live server: warm it up, offer one load after another, record, and judge what was recorded."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

from sizewell.driver.client import Client, opened
from sizewell.driver.counters import Counters, read_counters
from sizewell.driver.gates import Gate, gates
from sizewell.driver.load import Load
from sizewell.driver.recording import Recording, as_run
from sizewell.driver.servers import served_models, the_model
from sizewell.driver.wording import Api, Wording
from sizewell.specs.address import Secret
from sizewell.specs.engine_metrics import Metric
from sizewell.specs.errors import UnreachableError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, Run

PROBE_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offer:
    """One load to offer: its label, its requests, and when to give up."""

    label: str
    requests: Requests
    until_s: float = inf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One load as it went: `run` for scoring, `recordings` with every token's time, `gates` that say if it counts.

    `begun_unix_s` is None for what another tool measured.
    """

    offer: Offer
    run: Run
    recordings: tuple[Recording, ...]
    gates: tuple[Gate, ...]
    counters: Counters
    cpu_fraction: float
    begun_unix_s: float | None

    @property
    def cached_fraction(self) -> float:
        """Share of prompt tokens that a prefix cache knew, by the server's counters, else as far as prompts share."""
        if self.counters.queried and self.counters.hits is not None:
            return self.counters.hits / self.counters.queried
        return float(self.offer.requests.shared_tokens.sum() / self.offer.requests.input_tokens.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJob:
    """Everything a measurement is told. `warmup`: requests sent and forgotten before each load.

    Several `urls` are measured as one server that serves one model. `metrics` name the counters of engines.
    """

    urls: tuple[str, ...]
    secret: Secret
    salt: int
    model: str | None = None
    api: Api = "completions"
    vocabulary: int = 32_000
    ignore_eos: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict)
    warmup: int | None = None
    timeout_s: float = 3600.0
    metrics: tuple[Metric, ...] = ()


NextOffer = Callable[[Sequence[Measured]], Offer | None]
Watch = Callable[[Offer, int], None]


def run_bench(job: BenchJob, next_offer: NextOffer, watch: Watch) -> tuple[str, tuple[Measured, ...]]:
    """Return the model that was asked for, and what was measured.

    `next_offer` sees what has been measured so far and says what to offer next, None to end; `watch` hears how many
    requests of an offer have ended. Raises UnreachableError where a server does not answer one request.
    """
    return asyncio.run(_run(job, next_offer, watch))


async def _run(job: BenchJob, next_offer: NextOffer, watch: Watch) -> tuple[str, tuple[Measured, ...]]:
    async with opened(job.secret, job.timeout_s) as client:
        model = job.model or the_model(await served_models(client, job.urls[0]), None, job.urls[0])
        wording = Wording(
            model=model, salt=job.salt, api=job.api, vocabulary=job.vocabulary, ignore_eos=job.ignore_eos,
            fields=job.fields,
        )  # fmt: skip
        templates = [await _template_tokens(client, url, wording) for url in job.urls]
        wording = replace(wording, template_tokens=templates[0])
        found: list[Measured] = []
        while (offer := next_offer(found)) is not None:
            await _warm_up(client, job, wording, offer)
            # The salt moves with each load: what one of them sent must not lie in the cache of the next.
            own = replace(wording, salt=job.salt + 1 + len(found))
            found.append(await _measured(client, job, own, offer, watch))
    return model, tuple(found)


async def _measured(
    client: Client, job: BenchJob, wording: Wording, offer: Offer, watch: Watch
) -> Measured:  # fmt: skip
    before, begun_unix_s = await read_counters(client, job.urls, job.metrics), time.time()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    load = Load(
        client=client, urls=job.urls, wording=wording, requests=offer.requests, until_s=offer.until_s,
        watch=lambda ended: watch(offer, ended),
    )  # fmt: skip
    with _short_pauses():
        recordings = tuple(await load.play())
    cpu_fraction = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    counted = (await read_counters(client, job.urls, job.metrics)).since(before)
    return Measured(
        offer=offer, run=_recorded(offer.requests, recordings), recordings=recordings, counters=counted,
        cpu_fraction=cpu_fraction,
        gates=gates(offer.requests, recordings, cpu_fraction, counted, exact=job.ignore_eos), begun_unix_s=begun_unix_s,
    )  # fmt: skip


def _recorded(requests: Requests, recordings: Sequence[Recording]) -> Run:
    sent_s = np.full(len(requests), np.nan)
    sent_s[[one.row for one in recordings]] = [one.sent_s for one in recordings]
    return replace(as_run(recordings), whole_until_s=requests.whole_until_s(sent_s))


@contextmanager
def _short_pauses() -> Iterator[None]:
    """Leave what exists already out of garbage collection: a full round over it takes 20 ms, in which tokens wait."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _template_tokens(client: Client, url: str, wording: Wording) -> int:
    """Return how many tokens the server counts beyond those sent, by one small request; it must answer that one."""
    probe = Requests.of(0.0, PROBE_TOKENS, 1)
    (one,) = await Load(client=client, urls=[url], wording=wording, requests=probe).play()
    if one.status != OK:
        ids = "" if wording.api == "chat" else f" (token ids below {wording.vocabulary:,}: --vocabulary, or --api chat)"
        raise UnreachableError(f"{url} does not answer a small request: {one.error or 'rejected'}{ids}")
    return max(0, one.usage.input_tokens - PROBE_TOKENS) if wording.api == "chat" else 0


async def _warm_up(client: Client, job: BenchJob, wording: Wording, offer: Offer) -> None:
    usual = offer.requests.concurrency or 4
    count = min(usual if job.warmup is None else job.warmup, len(offer.requests))
    if count:
        some = replace(offer.requests.first(count), concurrency=count)
        fresh = replace(wording, salt=time.time_ns())
        await Load(client=client, urls=job.urls, wording=fresh, requests=some).play()
