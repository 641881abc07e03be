"""The few counters of a server's /metrics that say whether a measurement means what it seems to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizewell.driver.client import Client
from sizewell.driver.failures import ExchangeError

LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)")
NAMES: Mapping[str, tuple[str, ...]] = {
    "queried": ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_queries", "sglang:prompt_tokens_total"),
    "hits": ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits", "sglang:cached_tokens_total"),
    "preemptions": ("vllm:num_preemptions_total", "vllm:num_preemptions"),
}
"""What each counter is called, by engine and version; the first that is there is read, summed over engines."""


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


def counters_of(text: str) -> Counters:
    """Return the counters of a /metrics page."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if found is not None:
            try:
                sums[found[1]] = sums.get(found[1], 0.0) + float(found[2])
            except ValueError:
                continue
    return Counters(**{key: next((sums[name] for name in names if name in sums), None) for key, names in NAMES.items()})


async def read_counters(client: Client, urls: Sequence[str]) -> Counters:
    """Return what servers say together; nothing where one of them does not publish metrics."""
    try:
        return counters_of("\n".join([await client.get_text(f"{url}/metrics") for url in urls]))
    except ExchangeError:
        return Counters()


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or after < before else after - before
