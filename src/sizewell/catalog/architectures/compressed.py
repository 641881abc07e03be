"""DeepSeek V4: a window of raw latents beside compressed ones, hyper-connections, grouped low-rank output."""

from __future__ import annotations

from sizewell.catalog.architectures.latent import deepseek_experts, read_indexer
from sizewell.catalog.architectures.mlp import dense, experts
from sizewell.catalog.architectures.outline import (
    Ends,
    MixerBlock,
    Outline,
    layer,
    next_token_layers,
    norms,
    outline,
    small,
    stack,
)
from sizewell.catalog.config_fields import Fields
from sizewell.specs.encoding import FP32
from sizewell.specs.layers import CompressedAttention, Indexer, Layer
from sizewell.specs.tensor import Part, Tensor, column_parallel, heads, replicated, row_parallel, whole

FINE_RATIO = 4
"""Layers compressed this little select what they read with an indexer and overlap two rows."""


def deepseek_v4(text: Fields) -> Outline:
    """DeepSeek V4 Flash and Pro: `compress_ratios` gives each layer's compression, 0 for a window alone."""
    hidden, shape = text.size("hidden_size"), deepseek_experts(text)
    mlp = experts(hidden, shape) if shape else dense(hidden, text.size("intermediate_size"))
    streams = text.size("hc_mult", 4)
    mixing = [_mixing(hidden, streams, name) for name in ("attn_hc", "ffn_hc")]
    around = (norms(hidden, 2), *(tensor for pair in mixing for tensor in pair))
    ratios = _ratios(text)

    def build(ratio: int) -> Layer:
        return layer(_compressed(text, hidden, ratio), mlp, *around)

    layers = stack(list(ratios), build)
    collected = (
        _single(replicated("hc_head.fn", "router", streams * hidden, streams)),
        small("hc_head.base", whole(streams + 1)),
    )
    return outline(text, layers, Ends(extra=collected), next_token_layers(text, build(0)))


def _ratios(text: Fields) -> tuple[int, ...]:
    """Return each layer's compression: `compress_ratios`, or the kinds and rates that transformers 5 writes."""
    ratios, rates = text.counts("compress_ratios", text.layers()), text.section("compress_rates")
    if ratios is not None:
        return ratios
    kinds = text.kinds("layer_types", (*(rates.values if rates else ()), "sliding_attention"), text.layers())
    if kinds is None or rates is None:
        raise text.wrong("compress_ratios", None, f"a list of {text.layers()} ratios")
    return tuple(0 if kind == "sliding_attention" else rates.size(kind) for kind in kinds)


def _mixing(hidden: int, streams: int, name: str) -> tuple[Tensor, Tensor]:
    rows = streams * (2 + streams)
    return _single(replicated(f"{name}.fn", "router", streams * hidden, rows)), small(f"{name}.base", whole(rows + 3))


def _single(tensor: Tensor) -> Tensor:
    return Tensor(name=tensor.name, role=tensor.role, rows=tensor.rows, columns=tensor.columns, stored=FP32)


def _compressed(text: Fields, hidden: int, ratio: int) -> MixerBlock:
    count, dim = text.size("num_attention_heads"), text.size("head_dim", 512)
    indexer = read_indexer(text) if ratio == FINE_RATIO else None
    kind = CompressedAttention(
        heads=count, head_dim=dim, rope_head_dim=text.size("qk_rope_head_dim"),
        window_tokens=text.size("sliding_window", 128), compress_ratio=ratio, indexer=indexer,
    )  # fmt: skip
    rank, groups, out_rank = text.size("q_lora_rank"), text.size("o_groups"), text.size("o_lora_rank")
    low = heads(groups, out_rank)
    down = (whole(rank), whole(dim))
    tensors = [
        small("self_attn.sinks", heads(count, 1)),
        Tensor(name="self_attn.fused_wqa_wkv", role="attention", rows=down, columns=Part(units=hidden)),
        small("self_attn.latent_norms", whole(rank), whole(dim)),
        column_parallel("self_attn.q_b_proj", "attention", rank, heads(count, dim)),
        column_parallel("self_attn.o_a_proj", "attention", count * dim // groups, low),
        row_parallel("self_attn.o_b_proj", "attention", low, hidden),
    ]
    if ratio:
        tensors += _compressor(hidden, dim, ratio, "self_attn.compressor")
    if indexer:
        tensors += _selector(hidden, rank, indexer)
    return MixerBlock(kind, tuple(tensors))


def _compressor(hidden: int, dim: int, ratio: int, name: str) -> list[Tensor]:
    width = 2 * dim if ratio == FINE_RATIO else dim
    return [
        Tensor(
            name=f"{name}.fused_wkv_wgate", role="attention", rows=(whole(width), whole(width)),
            columns=Part(units=hidden),
        ),
        small(f"{name}.bias_and_norm", whole(ratio * width), whole(dim)),
    ]  # fmt: skip


def _selector(hidden: int, rank: int, indexer: Indexer) -> list[Tensor]:
    name = "self_attn.indexer"
    return [
        *_compressor(hidden, indexer.head_dim, FINE_RATIO, f"{name}.compressor"),
        replicated(f"{name}.wq_b", "indexer", rank, indexer.heads * indexer.head_dim),
        replicated(f"{name}.weights_proj", "indexer", hidden, indexer.heads),
    ]
