"""Gemma 4: wide global layers whose keys serve as values, and experts beside a dense MLP."""

from __future__ import annotations

from dataclasses import replace

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import (
    Ends,
    MixerBlock,
    MlpBlock,
    Outline,
    layer,
    norms,
    outline,
    small,
    stack,
)
from sizewell.catalog.architectures.windows import every_nth_full, listed
from sizewell.catalog.config_fields import Fields
from sizewell.specs.errors import UnknownArchitectureError
from sizewell.specs.tensor import whole


def gemma4(text: Fields) -> Outline:
    """Gemma 4 26B-A4B and 31B; the small ones with per-layer embeddings are refused."""
    if text.count("hidden_size_per_layer_input", 0) or text.count("num_kv_shared_layers", 0):
        raise UnknownArchitectureError(
            f"{text.source}: Gemma 4 with per-layer embeddings or shared caches is not understood; "
            "--assume hidden_size_per_layer_input=0 and num_kv_shared_layers=0 leave them out"
        )
    hidden = text.size("hidden_size")
    local = listed(text) or every_nth_full(text, 6)
    near, far = _local(text, hidden), _global(text, hidden)
    mlp, extra_norms = _mlp(text, hidden)
    around = norms(hidden, 4 + extra_norms)
    return outline(text, stack(local, lambda is_local: layer(near if is_local else far, mlp, around)), Ends(tied=True))


def _local(text: Fields, hidden: int) -> MixerBlock:
    window = Reach(window=text.count("sliding_window", 512) or None)
    return attention(hidden, read_heads(text, kv_heads=4, head_dim=256), AttentionTraits(qk_norm="head"), window)


def _global(text: Fields, hidden: int) -> MixerBlock:
    shared = text.flag("attention_k_eq_v", False)
    dim = text.size("global_head_dim", text.size("head_dim", 256))
    kv = text.size("num_key_value_heads", 4)
    shape = HeadShape(
        count=text.size("num_attention_heads"), kv=text.size("num_global_key_value_heads", kv) if shared else kv,
        dim=dim, value_dim=dim,
    )  # fmt: skip
    return attention(hidden, shape, AttentionTraits(qk_norm="head", value_is_key=shared))


def _mlp(text: Fields, hidden: int) -> tuple[MlpBlock, int]:
    plain = dense(hidden, text.size("intermediate_size"))
    if not text.flag("enable_moe_block", False):
        return plain, 0
    shape = read_experts(text, top_k="top_k_experts")
    routed = experts(hidden, shape)
    # The checkpoint keeps experts and router beside `mlp`, which is the dense one.
    renamed = [replace(t, name=t.name.replace("mlp.gate", "router").replace("mlp.", "")) for t in routed.tensors]
    scales = small("router.scales", whole(hidden), whole(shape.experts))
    return MlpBlock(with_shared(shape, text.size("intermediate_size")), (*plain.tensors, *renamed, scales)), 3
