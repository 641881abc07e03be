"""SGLang's token pool: the default share of memory by release, the tables beside the pool, and its size.

Sources: sglang 0.4.6.post5, 0.4.8, 0.5.2, 0.5.3 and 0.5.10 `server_args.py`, 0.5.19, 0.5.20 and 0.5.23
`arg_groups/memory_hook.py`, 0.5.23 `mem_cache/kv_cache_configurator.py`.
"""

from __future__ import annotations

from math import floor
from typing import Literal

from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.model import ModelSpec

MIB, GIB = 2**20, 2**30
FractionRule = Literal["fixed", "by-ranks", "by-reserve", "by-batch", "by-batch-and-prefill", "by-larger-batch"]
WINDOW_POOL_FRACTION = 0.8
"""Windowed layers get a pool of this many tokens for each token of the full pool."""
STATE_TO_TOKEN_RATIO = 0.9
"""Bytes given to recurrent state for each byte given to tokens."""
ENCODER_SHARE = 0.95
_VIT_L = 24 * 1024**2
_BY_RANKS = {1: 0.88, 2: 0.87, 4: 0.85, 8: 0.81, 16: 0.79}


def usual_fraction(engine: EngineSpec, model: ModelSpec, gpu_bytes: float, cut: Parallelism) -> float:
    """Return the share of memory an engine takes unasked on accelerators of `gpu_bytes`."""
    rule = engine.fraction_rule
    if rule == "fixed":
        return engine.memory_fraction
    share = default_fraction(rule, gpu_bytes, cut, latent=model.is_latent)
    return share if rule == "by-ranks" else share * encoder_share(model)


def default_fraction(rule: FractionRule, gpu_bytes: float, cut: Parallelism, *, latent: bool = False) -> float:
    """Return the share of free memory SGLang takes by default on accelerators of `gpu_bytes`.

    Its own tensor-parallel size counts the attention data-parallel ranks as well.
    """
    ranks = cut.tp * cut.dp * cut.pp
    if rule == "by-ranks":
        return _by_ranks(gpu_bytes, ranks)
    by_reserve = rule == "by-reserve"
    reserved = _reserve_mib(gpu_bytes, cut) if by_reserve else _batch_mib(rule, gpu_bytes, cut, latent=latent)
    total = gpu_bytes / MIB
    return round((total - reserved) / total, 3)


def encoder_share(model: ModelSpec) -> float:
    """Return by how much SGLang shrinks its default share for an encoder: by its size beside a ViT-L (24 × 1024²)."""
    stack = next((t for t in model.vision if t.name.endswith(".qkv")), None)
    if stack is None:
        return 1.0
    size = stack.matrices * stack.rank_columns(1) ** 2 / _VIT_L
    return ENCODER_SHARE * max(0.8, min(1.05, 1.0 - 0.1 * (size - 1.0)))


def _by_ranks(gpu_bytes: float, ranks: int) -> float:
    known = max(size for size in _BY_RANKS if size <= max(ranks, 1))
    fraction, size = _BY_RANKS[known], gpu_bytes / GIB
    if size <= 80:
        return fraction
    return min(fraction + 48 * (1 - fraction) / size, (size - 18) / size)


def _reserve_mib(gpu_bytes: float, cut: Parallelism) -> float:
    ranks, size = cut.tp * cut.dp * cut.pp, gpu_bytes / GIB
    if size < 35:
        reserved = 2.8 + ranks / 10
    elif size < 90:
        reserved = 9.5 + ranks / 2
    else:
        reserved = 12 + ranks / 2 if size < 160 else 32.0
    return (reserved + (4 if cut.dp > 1 else 0)) * 1024


def _batch_mib(rule: FractionRule, gpu_bytes: float, cut: Parallelism, *, latent: bool) -> float:
    size = gpu_bytes / GIB
    chunk, batch = decode_batch_defaults(rule, gpu_bytes, cut.tp * cut.dp)
    recorded = 1536 if latent else 8 * prefill_sizes(chunk)
    prefill_graphs = 0 if rule == "by-batch" else recorded
    reserved = 512 + 1.5 * max(chunk, 2048) + cut.tp * cut.dp * cut.pp * 128 + batch * 2 + prefill_graphs
    if cut.dp > 1:
        reserved += batch * cut.dp * 3 * (1.5 if batch > 300 else 1)
    return max(reserved, 10240) if size > 60 else reserved


def decode_batch_defaults(rule: FractionRule, gpu_bytes: float, tp: int) -> tuple[int, int]:
    """Return (chunked prefill tokens, largest captured decode batch) that releases under `rule` pick."""
    size, wide = gpu_bytes / GIB, tp >= 4
    middle = (35, 4096, 48, 160) if rule == "by-larger-batch" else (35, 2048, 24, 80)
    tiers = ((20, 2048, 8, 8), middle, (60, 4096, 32, 160), (160, 8192, 256, 512))
    for limit, chunk, narrow_batch, wide_batch in tiers:
        if size < limit:
            return chunk, wide_batch if wide else narrow_batch
    return 16384, 512


def prefill_sizes(most_tokens: int) -> int:
    """Return how many prefill sizes up to `most_tokens` are recorded: steps that double with the size."""
    steps = (
        (4, 33, 4),
        (48, 257, 16),
        (288, 513, 32),
        (576, 1025, 64),
        (1280, 4097, 256),
        (4608, most_tokens + 1, 512),
    )
    return sum(size <= most_tokens for step in steps for size in range(*step))


def request_table_bytes(max_running: int, context_tokens: int) -> float:
    """Return the bytes of the table that maps each running request's positions to cache slots."""
    return float(max_running) * (context_tokens + 4) * 4


def pool_tokens(free_before_bytes: float, free_after_bytes: float, fraction: float, cell_bytes: float) -> int:
    """Return the tokens the pool holds, from memory free before and after the weights were loaded."""
    rest = free_after_bytes - free_before_bytes * (1 - fraction)
    return max(0, floor(rest / cell_bytes))
