"""The few counters of a server's /metrics that say whether a measurement means what it seems to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sizewell.driver.client import Client
from sizewell.driver.failures import ExchangeError
from sizewell.specs.engine_metrics import Meaning, Metric, plain_name

LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)")
MEANT: Mapping[str, tuple[Meaning, ...]] = {
    "queried": ("prefix_queries", "prompt_tokens"),
    "hits": ("prefix_hits",),
    "preemptions": ("preemptions",),
}
"""What each counter is; a meaning nobody tells is left to the next: SGLang looks for whole prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Prompt tokens looked up in the prefix cache, those found there, and preemptions; None where nobody says."""

    queried: float | None = None
    hits: float | None = None
    preemptions: float | None = None

    def since(self, before: Counters) -> Counters:
        """Return what happened between two readings; None where a counter is missing or was reset."""
        return Counters(
            queried=_grown(before.queried, self.queried),
            hits=_grown(before.hits, self.hits),
            preemptions=_grown(before.preemptions, self.preemptions),
        )


def counters_of(text: str, metrics: Sequence[Metric]) -> Counters:
    """Return the counters of a /metrics page by the names engines give them, summed over engines."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if found is not None:
            with suppress(ValueError):
                name = plain_name(found[1])
                sums[name] = sums.get(name, 0.0) + float(found[2])
    return Counters(**{key: _told(sums, meant, metrics) for key, meant in MEANT.items()})


def _told(sums: Mapping[str, float], meant: Sequence[Meaning], metrics: Sequence[Metric]) -> float | None:
    """Return the counter of the first meaning that is told, by the newest of its names that is there."""
    for meaning in meant:
        names = [each.names & sums.keys() for each in metrics if each.meaning == meaning and each.kind == "counter"]
        there = [name for some in names for name in sorted(some)]
        if there:
            return sums[there[-1]]
    return None


async def read_counters(client: Client, urls: Sequence[str], metrics: Sequence[Metric]) -> Counters:
    """Return what servers say together; nothing where one of them does not publish metrics."""
    try:
        return counters_of("\n".join([await client.get_text(f"{url}/metrics") for url in urls]), metrics)
    except ExchangeError:
        return Counters()


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or after < before else after - before
