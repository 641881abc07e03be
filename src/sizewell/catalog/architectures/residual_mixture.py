"""Mixtures whose experts stand beside a dense MLP of their own: Grok-1 and 2, Snowflake Arctic."""

from __future__ import annotations

from sizewell.catalog.architectures.attention import attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import Ends, MlpBlock, Outline, layer, norms, outline, stack
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import MoeMlp


def grok(text: Fields) -> Outline:
    """Grok-1 and Grok-2: four norms a layer; Grok-2 adds a dense MLP to the experts and keeps its head apart."""
    hidden, residual = text.size("hidden_size"), text.flag("residual_moe", False)
    width = "moe_intermediate_size" if "moe_intermediate_size" in text else "intermediate_size"
    shape = read_experts(text, width=width)
    mlp = _beside(hidden, shape, text.size("intermediate_size")) if residual else experts(hidden, shape)
    mixer = attention(hidden, read_heads(text, kv_heads=8))
    built = layer(mixer, mlp, norms(hidden, 4))
    return outline(text, (built,) * text.layers(), Ends(tied=not residual))


def arctic(text: Fields) -> Outline:
    """Arctic: a dense transformer with, beside the MLP of every `moe_layer_frequency`-th layer, many experts."""
    hidden, every = text.size("hidden_size"), text.size("moe_layer_frequency", 2)
    shape, mixer = (
        read_experts(text, count="num_local_experts", width="intermediate_size"),
        attention(hidden, read_heads(text)),
    )
    plain = layer(mixer, dense(hidden, text.size("intermediate_size")), norms(hidden, 2))
    if text.flag("use_residual", False):
        mixed = layer(mixer, _beside(hidden, shape, hidden), norms(hidden, 3))
    else:
        mixed = layer(mixer, experts(hidden, shape), norms(hidden, 2))
    places = [(i + 1) % every == 0 for i in range(text.layers())]
    return outline(text, stack(places, lambda routes: mixed if routes else plain))


def _beside(hidden: int, shape: MoeMlp, intermediate: int) -> MlpBlock:
    """Return experts and a dense MLP that every token passes through, priced as a shared expert."""
    tensors = (*dense(hidden, intermediate).tensors, *experts(hidden, shape).tensors)
    return MlpBlock(with_shared(shape, intermediate), tensors)
