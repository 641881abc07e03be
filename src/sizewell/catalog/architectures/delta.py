"""Hybrids of linear and softmax attention: Qwen3-Next, Qwen3.5, Kimi-Linear, Kimi-K3, MiniMax-01 and M1."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, attention, read_heads
from sizewell.catalog.architectures.latent import latent_attention, read_latent
from sizewell.catalog.architectures.mixture import qwen_experts, qwen_routed
from sizewell.catalog.architectures.mlp import ExpertTraits, dense, experts, read_experts, with_shared
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
from sizewell.catalog.architectures.recurrent import delta_net, kimi_delta, lightning, read_delta_net
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import KimiDelta, Layer
from sizewell.specs.tensor import column_parallel, heads, replicated, whole


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    attends: bool
    routed: bool


def qwen_next(text: Fields) -> Outline:
    """Qwen3-Next and Qwen3.5: three gated delta nets to one gated attention, dense or with experts."""
    hidden = text.size("hidden_size")
    gated = AttentionTraits(
        qk_norm="head", gate="query", qkv_bias=text.flag("attention_bias", False),
        out_bias=text.flag("attention_bias", False),
    )  # fmt: skip
    attends = attention(hidden, read_heads(text, kv_heads=2, head_dim=256), gated)
    recurrent = delta_net(hidden, read_delta_net(text))
    around = norms(hidden, 2)

    def build(place: Place) -> Layer:
        mlp = (
            experts(hidden, qwen_experts(text), ExpertTraits(shared_gate=True))
            if place.routed
            else dense(hidden, text.size("intermediate_size"))
        )
        return layer(attends if place.attends else recurrent, mlp, around)

    routes = qwen_routed(text) if text.count("num_experts", 0) else [False] * text.layers()
    layers = stack([Place(*pair) for pair in zip(_attends(text), routes, strict=True)], build)
    predicted = build(Place(True, routes[-1]))
    joined = Layer(
        mixer=predicted.mixer, mlp=predicted.mlp,
        tensors=(*predicted.tensors, replicated("mtp.fc", "mtp", 2 * hidden, hidden), norms(hidden, 3)),
    )  # fmt: skip
    return outline(text, layers, mtp_layers=(joined,) * min(8, text.count("mtp_num_hidden_layers", 0)))


def _attends(text: Fields) -> list[bool]:
    types = text.kinds("layer_types", ("full_attention", "linear_attention"), text.layers())
    if types is not None:
        return [kind == "full_attention" for kind in types]
    every = text.size("full_attention_interval", 4)
    return [(i + 1) % every == 0 for i in range(text.layers())]


def kimi_linear(text: Fields) -> Outline:
    """Kimi-Linear and the language model of Kimi-K3: delta attention, and latent attention without positions."""
    hidden = text.size("hidden_size")
    linear = text.section("linear_attn_config")
    if linear is None:
        raise text.wrong("linear_attn_config", None, "an object")
    attending = set(linear.counts("full_attn_layers") or ())
    first, every = text.count("first_k_dense_replace", 0), text.size("moe_layer_freq", 1)
    places = [Place(i + 1 in attending, i >= first and i % every == 0) for i in range(text.layers())]
    recurrent, attends = _kimi_delta(hidden, linear), _kimi_latent(text, hidden)
    routed, plain = _kimi_experts(text, hidden), dense(hidden, text.size("intermediate_size"))
    around = norms(hidden, 2)
    layers = stack(places, lambda p: layer(attends if p.attends else recurrent, routed if p.routed else plain, around))
    mixed = "attn_res_block_size" in text
    return outline(text, layers, Ends(assumed=(RESIDUALS_LEFT_OUT,) if mixed else ()))


RESIDUALS_LEFT_OUT = "the small matrices that mix attention residuals (attn_res_block_size) are not counted"
"""Kimi-K3's code is not public in a form that states their shapes."""


def _kimi_delta(hidden: int, linear: Fields) -> MixerBlock:
    kind = KimiDelta(
        heads=linear.size("num_heads"), head_dim=linear.size("head_dim"),
        conv_kernel=linear.size("short_conv_kernel_size", 4),
    )  # fmt: skip
    return kimi_delta(hidden, kind, full_rank_gate=linear.flag("use_full_rank_gate", False))


def _kimi_latent(text: Fields, hidden: int) -> MixerBlock:
    kind = read_latent(text)
    block = latent_attention(hidden, kind)
    if not text.flag("mla_use_output_gate", False):
        return block
    gate = column_parallel("self_attn.g_proj", "attention", hidden, heads(kind.heads, kind.v_head_dim))
    return MixerBlock(kind, (*block.tensors, gate))


def _kimi_experts(text: Fields, hidden: int) -> MlpBlock:
    plain = read_experts(text, top_k="num_experts_per_token")
    shape = with_shared(plain, text.count("num_shared_experts", 0) * plain.intermediate)
    latent = text.count("routed_expert_hidden_size", 0)
    block = experts(hidden, shape, ExpertTraits(latent=latent))
    if latent and text.flag("latent_moe_use_norm", False):
        return block._replace(tensors=(*block.tensors, small("mlp.latent_norm", whole(latent))))
    return block


def minimax_01(text: Fields) -> Outline:
    """MiniMax-Text-01 and M1: seven layers of lightning attention to one of softmax attention, every layer routes."""
    hidden, shape = text.size("hidden_size"), read_heads(text, kv_heads=8, head_dim=128)
    state = KimiDelta(heads=shape.count, head_dim=shape.dim, conv_kernel=1)
    recurrent, attends = lightning(hidden, state), attention(hidden, shape)
    routed, around = (
        experts(hidden, read_experts(text, count="num_local_experts", width="intermediate_size")),
        norms(hidden, 2),
    )
    return outline(
        text, stack(_minimax_attends(text), lambda full: layer(attends if full else recurrent, routed, around))
    )


def _minimax_attends(text: Fields) -> list[bool]:
    if "attn_type_list" not in text:
        return _attends(text) if "layer_types" in text else [(i + 1) % 8 == 0 for i in range(text.layers())]
    kinds = text.counts("attn_type_list", text.layers()) or ()
    if set(kinds) - {0, 1}:
        raise text.wrong("attn_type_list", max(kinds), "0 (linear) or 1 (softmax) for each layer")
    return [kind == 1 for kind in kinds]
