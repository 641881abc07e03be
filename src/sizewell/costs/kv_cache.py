"""The KV cache of one rank in blocks: how layers share a pool, and what a sequence takes from it.

vLLM lays layers of one kind into groups that share one pool of equal pages; a request takes blocks from every
group. Rules and checked values: docs/cost-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.cache_kinds import CacheKind, CacheRules

STATE_ALIGNMENT_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayout:
    """How one rank's cache is laid out.

    A block of the pool is `bytes_per_block`: `group_size` pages. Each entry of `groups` is a kind and how many groups
    it fills; `block_tokens` is what a page of a token-caching kind holds.
    """

    kinds: tuple[CacheKind, ...]
    groups: tuple[int, ...]
    group_size: int
    block_tokens: int
    bytes_per_block: float
    rules: CacheRules

    @property
    def bytes_per_token(self) -> float:
        """Bytes one more token costs in all layers that cache every token seen, windows not yet full included."""
        return sum(kind.layers * kind.token_bytes for kind in self.kinds)

    @property
    def state_bytes_per_sequence(self) -> float:
        """Bytes of recurrent state per sequence, whatever its length."""
        return sum(kind.layers * kind.state_bytes for kind in self.kinds)

    @property
    def is_uniform(self) -> bool:
        """Whether every layer caches every token, so that tokens alone say what fits."""
        return len(self.kinds) == 1 and self.kinds[0].kind == "full"

    def request_blocks(self, context_tokens: int) -> int:
        """Return the blocks a sequence of `context_tokens` takes over all groups."""
        if self.rules.style == "flat":
            return ceil(self.request_bytes(context_tokens) / self.bytes_per_block) if self.bytes_per_block else 0
        return sum(
            groups * self._kind_blocks(kind, context_tokens)
            for kind, groups in zip(self.kinds, self.groups, strict=True)
        )

    def decoding_blocks(self, context_tokens: int) -> int:
        """Return the blocks a sequence holds while it decodes: those behind a window were given back with its prompt.

        Where nothing is given back (`flat`) they are those it was admitted with.
        """
        if self.rules.style == "flat":
            return self.request_blocks(context_tokens)
        return sum(
            groups * self._kind_blocks(kind, context_tokens, 1 + self.rules.speculative_tokens)
            for kind, groups in zip(self.kinds, self.groups, strict=True)
        )

    def sequences(self, blocks: Floats, held_blocks: int, prefix_tokens: float = 0.0) -> Floats:
        """Return how many sequences that hold so many blocks each the pool holds at once, where they all begin with the
        same `prefix_tokens`, whose blocks are there once.
        """
        shared = min(self._shared_blocks(prefix_tokens), held_blocks - 1)
        return np.maximum(blocks - shared, 0.0) / max(held_blocks - shared, 1)

    def _shared_blocks(self, prefix_tokens: float) -> int:
        """Return the blocks of a beginning that sequences have in common: whole ones, of layers that keep every token,
        since windows move on and states are overwritten.
        """
        return sum(
            groups * int(prefix_tokens // self._tokens_in_block(kind))
            for kind, groups in zip(self.kinds, self.groups, strict=True)
            if kind.kind == "full"
        )

    def request_bytes(self, context_tokens: int) -> float:
        """Return the bytes a sequence of `context_tokens` takes in all layers, whole blocks of each."""
        return sum(kind.layers * self._kind_bytes(kind, context_tokens) for kind in self.kinds)

    def _kind_bytes(self, kind: CacheKind, context_tokens: int) -> float:
        if kind.kind == "state":
            return kind.state_bytes * self.rules.state_blocks
        return self._kind_blocks(kind, context_tokens) * self.block_tokens * kind.token_bytes

    def _kind_blocks(self, kind: CacheKind, context_tokens: int, in_flight_tokens: int | None = None) -> int:
        rules, in_block = self.rules, self._tokens_in_block(kind)
        ahead = rules.in_flight_tokens if in_flight_tokens is None else in_flight_tokens
        if kind.kind == "state":
            return rules.state_blocks
        if kind.kind == "window":
            seen = min(kind.span_tokens - 1 + ahead, context_tokens)
            return ceil(seen / in_block) + 1
        if kind.kind == "chunk":
            seen = min(kind.span_tokens + ahead, context_tokens)
            return ceil(seen / in_block)
        return ceil(context_tokens / in_block)

    def _tokens_in_block(self, kind: CacheKind) -> int:
        """Return the tokens of a kind that fill a page: rows half as wide as the widest have twice as many."""
        if self.rules.style == "flat" or not kind.token_bytes or not self.group_size:
            return self.block_tokens
        page = self.bytes_per_block / self.group_size
        return self.block_tokens * max(1, int(page // (self.block_tokens * kind.token_bytes)))

    def concurrency(self, blocks: int, context_tokens: int) -> float:
        """Return how many sequences of `context_tokens` the pool holds at once."""
        needed = self.request_blocks(context_tokens)
        return blocks / needed if needed else float("inf")

    def longest_sequence(self, blocks: int, most_tokens: int) -> int:
        """Return the longest single sequence the pool holds, at most `most_tokens`."""
        low, high = 0, most_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.concurrency(blocks, middle) >= 1 else (low, middle - 1)
        return low

    def printed_tokens(self, blocks: int) -> int:
        """Return blocks shared evenly over groups, in tokens: what vLLM 0.9–0.20 prints as its cache size."""
        return blocks // max(1, sum(self.groups)) * self.block_tokens


def cache_layout(kinds: tuple[CacheKind, ...], rules: CacheRules) -> CacheLayout:
    """Return the block layout of one rank's cached layers."""
    merged = _merge_full(kinds)
    if rules.style == "flat":
        return _flat(merged, rules)
    if len(merged) <= 1:
        return _uniform(merged, rules)
    page, block_tokens = _page(merged, rules)
    counts = [kind.layers for kind in merged]
    size = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    return CacheLayout(
        kinds=merged,
        groups=tuple(ceil(count / size) for count in counts),
        group_size=size,
        block_tokens=block_tokens,
        bytes_per_block=size * page,
        rules=rules,
    )


def _merge_full(kinds: tuple[CacheKind, ...]) -> tuple[CacheKind, ...]:
    """Fold full-attention kinds of different row sizes into one of the mean row: their pages are just added."""
    full = [kind for kind in kinds if kind.kind == "full"]
    if len(full) < 2:
        return kinds
    layers = sum(kind.layers for kind in full)
    row = sum(kind.layers * kind.token_bytes for kind in full) / layers
    rest = tuple(kind for kind in kinds if kind.kind != "full")
    return (CacheKind(kind="full", layers=layers, token_bytes=row), *rest)


def _flat(kinds: tuple[CacheKind, ...], rules: CacheRules) -> CacheLayout:
    """Layers hold their own rows; a block is what the layers that cache every token take for `block_tokens`."""
    full = next((kind for kind in kinds if kind.kind == "full"), None)
    if full is None:
        per_sequence = sum(kind.layers * (kind.state_bytes + kind.token_bytes * kind.span_tokens) for kind in kinds)
        block_bytes, layers = per_sequence, 1
    else:
        block_bytes, layers = full.layers * full.token_bytes * rules.block_tokens, full.layers
    return CacheLayout(
        kinds=kinds, groups=(1,) * len(kinds), group_size=layers,
        block_tokens=rules.block_tokens, bytes_per_block=block_bytes, rules=rules,
    )  # fmt: skip


def _uniform(kinds: tuple[CacheKind, ...], rules: CacheRules) -> CacheLayout:
    layers = kinds[0].layers if kinds else 0
    page = (kinds[0].token_bytes * rules.block_tokens or kinds[0].state_bytes) if kinds else 0.0
    return CacheLayout(
        kinds=kinds, groups=(1,) * len(kinds), group_size=layers,
        block_tokens=rules.block_tokens, bytes_per_block=layers * page, rules=rules,
    )  # fmt: skip


def _page(kinds: tuple[CacheKind, ...], rules: CacheRules) -> tuple[float, int]:
    """Return (page bytes, tokens of a block) such that every kind's page fits one size."""
    row = max(kind.token_bytes for kind in kinds)
    state = max(kind.state_bytes for kind in kinds)
    if not row:
        return state, rules.block_tokens
    aligned = max(STATE_ALIGNMENT_TOKENS, rules.block_tokens)
    needed = ceil(state / (aligned * row)) * aligned
    block_tokens = max(rules.block_tokens, needed)
    return block_tokens * row, block_tokens
