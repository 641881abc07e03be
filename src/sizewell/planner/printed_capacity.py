"""What an engine prints of a cache of so many blocks: tokens, whose meaning changed twice, and concurrency."""

from __future__ import annotations

from sizewell.costs.kv_cache import CacheLayout
from sizewell.specs.engine import EngineSpec


def printed_concurrency(layout: CacheLayout, blocks: int, length_tokens: int) -> float:
    """Return the sequences of the longest context an engine says it holds at once."""
    if layout.is_uniform:
        return blocks * layout.block_tokens / length_tokens
    return layout.concurrency(blocks, length_tokens)


def printed_tokens(layout: CacheLayout, blocks: int, length_tokens: int, engine: EngineSpec) -> int:
    """Return the tokens an engine release says its cache holds; rules: `printed_tokens` of the engine."""
    if engine.printed_tokens == "groups":
        return layout.printed_tokens(blocks)
    if engine.printed_tokens == "concurrency" and not layout.is_uniform:
        return int(layout.concurrency(blocks, length_tokens) * length_tokens)
    return blocks * layout.block_tokens
