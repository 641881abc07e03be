"""Beginnings that prompts share: system prompts, few-shot examples, documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.traffic.bounds import require
from sizewell.traffic.draws import allotted, even
from sizewell.traffic.lengths import Lengths
from sizewell.traffic.requests import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """One layer of shared beginnings: `copies` different contents, of which a session begins with one.

    The copy of popularity rank r is drawn in proportion to r^−zipf (0 = all alike). `fraction` of the sessions have
    this layer at all. A system prompt is one copy; documents are many, with a zipf near 1.
    """

    tokens: Lengths
    copies: int = 1
    zipf: float = 0.0
    fraction: float = 1.0

    def __post_init__(self) -> None:
        require("copies of a shared prefix", self.copies, low=1)
        require("the zipf exponent of a shared prefix", self.zipf, low=0, high=10)
        require("the fraction with a shared prefix", self.fraction, low=0, high=1)


def draw_prefixes(layers: tuple[SharedPrefix, ...], sessions: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return ids and tokens [sessions, layers] of each session's shared beginnings; 0 tokens where it has none."""
    ids = np.zeros((sessions, len(layers)), dtype=np.int64)
    tokens = np.zeros_like(ids)
    used = 0
    for layer, prefix in enumerate(layers):
        copies = _copies(prefix, sessions, rng)
        has = allotted(np.array([1 - prefix.fraction, prefix.fraction]), sessions, rng)
        ids[:, layer] = used + copies
        tokens[:, layer] = prefix.tokens.draw(prefix.copies, rng)[copies] * has
        used += prefix.copies
    return ids, tokens


def _copies(prefix: SharedPrefix, sessions: int, rng: np.random.Generator) -> Ints:
    if prefix.copies == 1:
        return np.zeros(sessions, dtype=np.int64)
    weights = np.arange(1, prefix.copies + 1) ** -prefix.zipf
    share_up_to = np.cumsum(weights) / weights.sum()
    found: Ints = np.searchsorted(share_up_to, even(sessions, rng), side="right").astype(np.int64)
    return np.minimum(found, prefix.copies - 1)
