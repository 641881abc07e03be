"""Mixers with a state of fixed size: Mamba 1 and 2, gated delta nets, linear attention, short convolutions."""

from __future__ import annotations

from sizewell.catalog.architectures.outline import MixerBlock, small
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import GatedDeltaNet, KimiDelta, Mamba2, ShortConvolution
from sizewell.specs.tensor import Tensor, column_parallel, heads, replicated, row_parallel, split, whole


def mamba2(
    hidden: int, kind: Mamba2, *, gated_norm: bool = True, bias: bool = False, conv_bias: bool = True
) -> MixerBlock:
    """Return a Mamba-2 mixer: one input matrix for gate, input, B, C and step, a convolution."""
    inner, groups = heads(kind.heads, kind.head_dim), heads(kind.groups, kind.state_size)
    taps = kind.conv_kernel + conv_bias  # the bias is one more row
    kernel = heads(kind.groups, kind.state_size * taps)
    tensors = [
        column_parallel(
            "mamba.in_proj", "recurrent", hidden, inner, inner, groups, groups, heads(kind.heads, 1), bias=bias
        ),
        small("mamba.conv1d", heads(kind.heads, kind.head_dim * taps), kernel, kernel),
        small("mamba.decay", heads(kind.heads, 1), count=3),
        row_parallel("mamba.out_proj", "recurrent", inner, hidden, bias=bias),
    ]
    if gated_norm:
        tensors.append(small("mamba.norm", inner))
    return MixerBlock(kind, tuple(tensors))


def mamba1(
    hidden: int, kind: Mamba2, step_rank: int, *, normed: bool, bias: bool = False, conv_bias: bool = True
) -> MixerBlock:
    """Return a Mamba-1 mixer; `kind` describes its state as that of Mamba-2 with heads of width one, no groups."""
    inner, state_size, channels = kind.heads, kind.state_size, split(kind.heads)
    tensors: list[Tensor] = [
        column_parallel("mamba.in_proj", "recurrent", hidden, channels, channels, bias=bias),
        small("mamba.conv1d", heads(inner, kind.conv_kernel + conv_bias)),
        row_parallel("mamba.x_proj", "recurrent", channels, step_rank + 2 * state_size),
        column_parallel("mamba.dt_proj", "recurrent", step_rank, channels, bias=True),
        small("mamba.decay", heads(inner, state_size + 1)),
        row_parallel("mamba.out_proj", "recurrent", channels, hidden, bias=bias),
    ]
    if normed:
        tensors.append(small("mamba.small_norms", whole(step_rank), whole(2 * state_size)))
    return MixerBlock(kind, tuple(tensors))


def read_delta_net(text: Fields) -> GatedDeltaNet:
    """Return the gated delta rule's shape."""
    return GatedDeltaNet(
        key_heads=text.size("linear_num_key_heads"),
        value_heads=text.size("linear_num_value_heads"),
        key_dim=text.size("linear_key_head_dim"),
        value_dim=text.size("linear_value_head_dim"),
        conv_kernel=text.size("linear_conv_kernel_dim", 4),
    )


def delta_net(hidden: int, kind: GatedDeltaNet) -> MixerBlock:
    """Return a gated delta rule mixer with fused query/key/value/gate and beta/alpha matrices."""
    keys, values = heads(kind.key_heads, kind.key_dim), heads(kind.value_heads, kind.value_dim)
    per_head = heads(kind.value_heads, 1)
    kernel = kind.conv_kernel
    key_taps = heads(kind.key_heads, kind.key_dim * kernel)
    return MixerBlock(
        kind,
        (
            column_parallel("linear_attn.in_proj_qkvz", "recurrent", hidden, keys, keys, values, values),
            column_parallel("linear_attn.in_proj_ba", "recurrent", hidden, per_head, per_head),
            small("linear_attn.conv1d", key_taps, key_taps, heads(kind.value_heads, kind.value_dim * kernel)),
            small("linear_attn.decay", per_head, count=2),
            small("linear_attn.norm", whole(kind.value_dim)),
            row_parallel("linear_attn.out_proj", "recurrent", values, hidden),
        ),
    )


def kimi_delta(hidden: int, kind: KimiDelta, *, full_rank_gate: bool = False) -> MixerBlock:
    """Return Kimi delta attention: low-rank forget and output gates (the latter full-rank in K3)."""
    inner, per_head = heads(kind.heads, kind.head_dim), heads(kind.heads, 1)
    low = kind.head_dim
    gate = (
        (column_parallel("self_attn.g_proj", "recurrent", hidden, inner),)
        if full_rank_gate
        else (
            replicated("self_attn.g_a_proj", "recurrent", hidden, low),
            column_parallel("self_attn.g_b_proj", "recurrent", low, inner),
        )
    )
    return MixerBlock(
        kind,
        (
            column_parallel("self_attn.qkv_proj", "recurrent", hidden, inner, inner, inner),
            small("self_attn.conv1d", heads(kind.heads, 3 * kind.head_dim * kind.conv_kernel)),
            replicated("self_attn.f_a_proj", "recurrent", hidden, low),
            column_parallel("self_attn.f_b_proj", "recurrent", low, inner),
            small("self_attn.decay", inner, per_head),
            column_parallel("self_attn.b_proj", "recurrent", hidden, per_head),
            *gate,
            small("self_attn.o_norm", whole(kind.head_dim)),
            row_parallel("self_attn.o_proj", "recurrent", inner, hidden),
        ),
    )


def lightning(hidden: int, kind: KimiDelta) -> MixerBlock:
    """Return lightning attention (MiniMax-01, M1): a decayed sum of outer products, normed and gated."""
    inner = heads(kind.heads, kind.head_dim)
    return MixerBlock(
        kind,
        (
            column_parallel("self_attn.qkv_proj", "recurrent", hidden, inner, inner, inner),
            column_parallel("self_attn.output_gate", "recurrent", hidden, inner),
            small("self_attn.norm", inner),
            row_parallel("self_attn.out_proj", "recurrent", inner, hidden),
        ),
    )


def short_convolution(hidden: int, kernel: int, *, bias: bool = False) -> MixerBlock:
    """Return LFM2's gated short convolution."""
    channels = split(hidden)
    return MixerBlock(
        ShortConvolution(channels=hidden, kernel=kernel),
        (
            column_parallel("conv.in_proj", "recurrent", hidden, channels, channels, channels, bias=bias),
            small("conv.conv", heads(hidden, kernel + bias)),
            row_parallel("conv.out_proj", "recurrent", channels, hidden, bias=bias),
        ),
    )
