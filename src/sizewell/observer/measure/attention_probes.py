"""Probes of attention: prefill and decode, with grouped queries and over latents."""

from __future__ import annotations

from typing import Any

from sizewell.observer.measure.attention import FastestAttention
from sizewell.observer.measure.bench import Bench
from sizewell.observer.measure.prepared import Prepared
from sizewell.specs.machine_figure import Probe

ROPE_ELEMENTS = 64


def prepare_attention(bench: Bench, probe: Probe) -> Prepared:
    """Return an attention probe ready to run; RuntimeError where the device lacks the memory."""
    return {
        "prefill": _prefill, "decode": _decode, "latent-prefill": _latent_prefill, "latent-decode": _latent_decode,
    }[probe.op](bench, probe)  # fmt: skip


def _prefill(bench: Bench, probe: Probe) -> Prepared:
    """Not every kernel shares keys between heads: those that do not get them repeated beforehand, untimed.

    A prompt of hundreds of tokens waits for arithmetic, not for the keys.
    """
    shape = probe.shape
    each = (shape["tokens"], shape["head_dim"])
    query = bench.filled(shape["sequences"], shape["heads"], *each, dtype=probe.dtype)
    key, value = (bench.filled(shape["sequences"], shape["kv_heads"], *each, dtype=probe.dtype) for _ in range(2))
    shared = FastestAttention(bench, causal=True, grouped=True)
    if bench.device.backend != "cuda":
        shared(query, key, value)
        return Prepared(run=lambda: shared(query, key, value), kernel=shared.name)
    own = FastestAttention(bench, causal=True)
    wide = [part.repeat_interleave(shape["heads"] // shape["kv_heads"], dim=1) for part in (key, value)]
    if shared.seconds(query, key, value) <= own.seconds(query, *wide):
        return Prepared(run=lambda: shared(query, key, value), kernel=shared.name)
    return Prepared(run=lambda: own(query, *wide), kernel=f"{own.name}, keys repeated")


def _decode(bench: Bench, probe: Probe) -> Prepared:
    """Queries that share a key head are laid side by side: no key is copied for each of them."""
    shape = probe.shape
    ends = (shape["sequences"], shape["kv_heads"])
    query = bench.filled(*ends, shape["heads"] // shape["kv_heads"], shape["head_dim"], dtype=probe.dtype)
    cached = (*ends, shape["context_tokens"], shape["head_dim"])
    key, value = (bench.filled(*cached, dtype=probe.dtype) for _ in range(2))
    attend = FastestAttention(bench)
    attend(query, key, value)
    return Prepared(run=lambda: attend(query, key, value), kernel=f"{attend.name}, heads side by side")


def _latent_prefill(bench: Bench, probe: Probe) -> Prepared:
    """Keys and values as expanded from the latent: every head has its own."""
    shape = probe.shape
    outer, width = (shape["sequences"], shape["heads"], shape["tokens"]), shape["head_dim"]
    query, key = (bench.filled(*outer, width + ROPE_ELEMENTS, dtype=probe.dtype) for _ in range(2))
    value = bench.filled(*outer, width, dtype=probe.dtype)
    attend = FastestAttention(bench, causal=True)
    attend(query, key, value)
    return Prepared(run=lambda: attend(query, key, value), kernel=attend.name)


def _latent_decode(bench: Bench, probe: Probe) -> Prepared:
    """All heads read one cached latent; PyTorch has no fused kernel for it, so scores are written and read back."""
    shape = probe.shape
    wide = shape["latent"] + ROPE_ELEMENTS
    query = bench.filled(shape["sequences"], shape["heads"], wide, dtype=probe.dtype)
    cache = bench.filled(shape["sequences"], shape["context_tokens"], wide, dtype=probe.dtype)
    return Prepared(run=lambda: latent_attention(bench, query, cache, shape["latent"]), kernel="bmm, softmax, bmm")


def latent_attention(bench: Bench, query: Any, cache: Any, latent: int) -> Any:
    """Return attention of [sequences, heads, wide] queries over [sequences, context, wide] latents."""
    torch = bench.torch
    shares = torch.softmax(torch.bmm(query, cache.transpose(1, 2)), dim=-1)
    return torch.bmm(shares, cache[..., :latent])
