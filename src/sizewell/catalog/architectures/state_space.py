"""Models of Mamba layers, alone or mixed with attention.

Mamba-2, Falcon-Mamba, Falcon-H1, Jamba, Granite 4 H, Nemotron-H and Nemotron 3, Zamba2.
"""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, attention, read_heads
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
from sizewell.catalog.architectures.recurrent import mamba1, mamba2
from sizewell.catalog.config_fields import LARGEST_LAYER_COUNT, Fields
from sizewell.specs.layers import Attention, Layer, Mamba2, MoeMlp
from sizewell.specs.tensor import Tensor, column_parallel, heads, replicated, split, whole

MAMBA_KINDS = ("mamba", "linear_attention")
ATTENTION_KINDS = ("attention", "full_attention")
"""The words of released files and those transformers 5 writes."""


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    attends: bool
    routed: bool


def pure_mamba2(text: Fields) -> Outline:
    """Mamba-2: one mixer and one norm a layer."""
    hidden = text.size("hidden_size")
    kind = Mamba2(
        heads=text.size("num_heads"), head_dim=text.size("head_dim"), state_size=text.size("state_size"),
        groups=text.size("n_groups"), conv_kernel=text.size("conv_kernel"),
    )  # fmt: skip
    mixer = mamba2(hidden, kind, bias=text.flag("use_bias", False), conv_bias=text.flag("use_conv_bias", True))
    one = layer(mixer, None, norms(hidden))
    return outline(text, (one,) * text.layers())


def falcon_mamba(text: Fields) -> Outline:
    """Mamba and Falcon-Mamba: one Mamba-1 mixer and one norm a layer."""
    hidden = text.size("hidden_size")
    kind = Mamba2(
        heads=text.size("intermediate_size"), head_dim=1, state_size=text.size("state_size"), groups=0,
        conv_kernel=text.size("conv_kernel"),
    )  # fmt: skip
    mixer = mamba1(
        hidden, kind, text.size("time_step_rank"), normed=False,
        bias=text.flag("use_bias", False), conv_bias=text.flag("use_conv_bias", True),
    )  # fmt: skip
    return outline(text, (layer(mixer, None, norms(hidden)),) * text.layers(), Ends(tied=True))


def falcon_h1(text: Fields) -> Outline:
    """Falcon-H1: Mamba-2 and attention side by side in every layer; here one layer after the other."""
    hidden = text.size("hidden_size")
    kind = Mamba2(
        heads=text.size("mamba_n_heads"), head_dim=text.size("mamba_d_head"), state_size=text.size("mamba_d_state"),
        groups=text.size("mamba_n_groups"), conv_kernel=text.size("mamba_d_conv"),
    )  # fmt: skip
    mixer = mamba2(
        hidden, kind, gated_norm=text.flag("mamba_rms_norm", False), bias=text.flag("mamba_proj_bias", False),
        conv_bias=text.flag("mamba_conv_bias", True),
    )  # fmt: skip
    recurrent = layer(mixer, None)
    bias = text.flag("attention_bias", False)
    attends = attention(hidden, read_heads(text), AttentionTraits(qkv_bias=bias, out_bias=bias))
    mlp = dense(hidden, text.size("intermediate_size"), bias=text.flag("mlp_bias", False))
    return outline(text, (recurrent, layer(attends, mlp, norms(hidden, 2))) * text.layers())


def jamba(text: Fields) -> Outline:
    """Jamba: one attention layer in eight, experts in every other."""
    hidden = text.size("hidden_size")
    kind = Mamba2(
        heads=text.size("mamba_expand") * hidden, head_dim=1, state_size=text.size("mamba_d_state"), groups=0,
        conv_kernel=text.size("mamba_d_conv"),
    )  # fmt: skip
    recurrent = mamba1(
        hidden, kind, text.size("mamba_dt_rank", -(-hidden // 16)), normed=True,
        bias=text.flag("mamba_proj_bias", False), conv_bias=text.flag("mamba_conv_bias", True),
    )  # fmt: skip
    attends, mlp = attention(hidden, read_heads(text)), dense(hidden, text.size("intermediate_size"))
    routed = experts(hidden, read_experts(text, width="intermediate_size"))
    around = norms(hidden, 2)
    places = [Place(_periodic(text, "attn_layer", i), _periodic(text, "expert_layer", i)) for i in range(text.layers())]
    layers = stack(places, lambda p: layer(attends if p.attends else recurrent, routed if p.routed else mlp, around))
    return outline(text, layers)


def _periodic(text: Fields, which: str, index: int) -> bool:
    return index % text.size(f"{which}_period") == text.count(f"{which}_offset")


def granite_hybrid(text: Fields) -> Outline:
    """Granite 4 H: Mamba-2 with a few attention layers, experts and one shared expert everywhere."""
    hidden = text.size("hidden_size")
    kind = Mamba2(
        heads=text.size("mamba_n_heads"), head_dim=text.size("mamba_d_head"), state_size=text.size("mamba_d_state"),
        groups=text.size("mamba_n_groups"), conv_kernel=text.size("mamba_d_conv"),
    )  # fmt: skip
    recurrent = mamba2(
        hidden, kind, bias=text.flag("mamba_proj_bias", False), conv_bias=text.flag("mamba_conv_bias", True)
    )
    bias = text.flag("attention_bias", False)
    attends = attention(hidden, read_heads(text), AttentionTraits(qkv_bias=bias, out_bias=bias))
    shared = text.stated_count("shared_intermediate_size")
    mlp = (
        experts(hidden, with_shared(read_experts(text, count="num_local_experts", width="intermediate_size"), shared))
        if text.stated_count("num_local_experts")
        else dense(hidden, shared)
    )
    types = text.kinds("layer_types", MAMBA_KINDS + ATTENTION_KINDS, text.layers()) or ("mamba",) * text.layers()
    around = norms(hidden, 2)
    return outline(
        text, stack(list(types), lambda t: layer(attends if t in ATTENTION_KINDS else recurrent, mlp, around))
    )


def bamba(text: Fields) -> Outline:
    """Bamba: Mamba-2 with attention in the layers that the file lists, an MLP everywhere."""
    hidden, heads_ = text.size("hidden_size"), text.size("mamba_n_heads", 128)
    inner = text.size("mamba_expand", 2) * hidden
    kind = Mamba2(
        heads=heads_, head_dim=inner // heads_, state_size=text.size("mamba_d_state", 256),
        groups=text.size("mamba_n_groups", 1), conv_kernel=text.size("mamba_d_conv", 4),
    )  # fmt: skip
    recurrent = mamba2(
        hidden, kind, bias=text.flag("mamba_proj_bias", False), conv_bias=text.flag("mamba_conv_bias", True)
    )
    bias = text.flag("attention_bias", False)
    attends = attention(hidden, read_heads(text), AttentionTraits(qkv_bias=bias, out_bias=bias))
    mlp = dense(hidden, text.size("intermediate_size"), bias=text.flag("mlp_bias", False))
    listed = text.items("attn_layer_indices") or ()
    around = norms(hidden, 2)
    places = [index in listed for index in range(text.layers())]
    return outline(text, stack(places, lambda attending: layer(attends if attending else recurrent, mlp, around)))


BLOCK_MARKS = {"linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "mlp": "-", "moe": "E"}


def nemotron_h(text: Fields) -> Outline:
    """Nemotron-H and Nemotron 3: each layer is one block: M Mamba-2, * attention, - MLP, E experts."""
    hidden = text.size("hidden_size")
    blocks = {mark: _nemotron_block(text, hidden, mark) for mark in dict.fromkeys(_pattern(text))}
    layers = stack(list(_pattern(text)), blocks.__getitem__)
    return outline(text, layers, mtp_layers=_nemotron_prediction(text, hidden))


def _pattern(text: Fields) -> str:
    types = text.words("layers_block_type")
    pattern = text.text("hybrid_override_pattern")
    if types is not None:
        pattern = "".join(BLOCK_MARKS.get(kind, "?") for kind in types)
    count = text.layers(default=max(1, len(pattern)))
    if len(pattern) != count or len(pattern) > LARGEST_LAYER_COUNT or set(pattern) - set("M*-E"):
        raise text.wrong("hybrid_override_pattern", pattern, f"{count} letters of M, *, - and E")
    return pattern


def _nemotron_block(text: Fields, hidden: int, mark: str) -> Layer:
    mixer: MixerBlock | None = None
    mlp: MlpBlock | None = None
    if mark == "M":
        mixer = mamba2(
            hidden, _nemotron_mamba(text), bias=text.flag("use_bias", False), conv_bias=text.flag("use_conv_bias", True)
        )
    elif mark == "*":
        mixer = attention(hidden, read_heads(text, kv_heads=8, head_dim=text.count("attention_head_dim", 128)))
    elif mark == "-":
        mlp = dense(hidden, text.size("intermediate_size"), gated=False, bias=text.flag("mlp_bias", False))
    else:
        latent = text.count("moe_latent_size", 0)
        mlp = experts(hidden, _nemotron_experts(text), ExpertTraits(latent=latent))
    return layer(mixer, mlp, norms(hidden))


def _nemotron_mamba(text: Fields) -> Mamba2:
    return Mamba2(
        heads=text.size("mamba_num_heads"), head_dim=text.size("mamba_head_dim"),
        state_size=text.size("ssm_state_size"), groups=text.size("n_groups"), conv_kernel=text.size("conv_kernel", 4),
    )  # fmt: skip


def _nemotron_experts(text: Fields) -> MoeMlp:
    return MoeMlp(
        experts=text.size("n_routed_experts"), top_k=text.size("num_experts_per_tok"),
        intermediate=text.size("moe_intermediate_size"),
        shared_intermediate=text.count("moe_shared_expert_intermediate_size", 0), gated=False,
    )  # fmt: skip


def _nemotron_prediction(text: Fields, hidden: int) -> tuple[Layer, ...]:
    count = text.count("num_nextn_predict_layers", 0)
    if not 0 < count <= 8:
        return ()
    joined = Layer(mixer=None, mlp=None, tensors=(replicated("eh_proj", "mtp", 2 * hidden, hidden), norms(hidden, 3)))
    marks = text.text("mtp_hybrid_override_pattern", "*E")
    return (*(_nemotron_block(text, hidden, mark) for mark in marks if mark in "M*-E"), joined) * count


def zamba2(text: Fields) -> Outline:
    """Zamba2: Mamba-2 layers and a few shared transformer blocks over twice the width.

    A shared block's matrices belong to the layer that uses it first; later uses only add their own adapters.
    """
    hidden = text.size("hidden_size")
    inner = text.size("mamba_expand", 2) * hidden
    count = text.size("n_mamba_heads", 8)
    kind = Mamba2(
        heads=count, head_dim=inner // count, state_size=text.size("mamba_d_state"),
        groups=text.size("mamba_ngroups", 1), conv_kernel=text.size("mamba_d_conv"),
    )  # fmt: skip
    mixer = mamba2(hidden, kind, bias=text.flag("add_bias_linear", False), conv_bias=text.flag("use_conv_bias", True))
    recurrent = layer(mixer, None, norms(hidden))
    hybrids, blocks = _zamba_hybrids(text), text.size("num_mem_blocks", 1)
    marks: list[int] = []
    for index in range(text.layers()):
        if index in hybrids:
            marks.append(_uses(len(hybrids), blocks, hybrids.index(index)))
        marks.append(RECURRENT)
    layers = stack(marks, lambda mark: recurrent if mark == RECURRENT else _zamba_block(text, hidden, mark))
    return outline(text, layers, Ends(tied=True))


RECURRENT = -1
"""Marks a Mamba layer among the uses of shared blocks."""


def _uses(total: int, blocks: int, use: int) -> int:
    """Return how many layers share the block first used here, 0 where it was used before."""
    return len(range(use, total, blocks)) if use < blocks else 0


def _zamba_hybrids(text: Fields) -> list[int]:
    ids = text.counts("hybrid_layer_ids")
    if ids is not None:
        return list(ids)
    types = text.words("layers_block_type", text.layers())
    if types is not None:
        return [i for i, kind in enumerate(types) if kind == "hybrid"]
    # The class's own default pattern, which all released checkpoints follow.
    return [i for i in (6, 12, 18, 24, 30, 36, 42, 47, 51) if i < text.layers()]


def _zamba_block(text: Fields, hidden: int, uses: int) -> Layer:
    width, count = 2 * hidden, text.size("num_attention_heads")
    kind = Attention(
        heads=count, kv_heads=text.size("num_key_value_heads", count), head_dim=width // count,
        v_head_dim=width // count,
    )  # fmt: skip
    tensors: tuple[Tensor, ...] = (replicated("linear", "recurrent", hidden, hidden),)
    if uses:
        intermediate, rank = text.size("intermediate_size"), text.size("adapter_rank", 128)
        head = heads(count, kind.head_dim)
        tensors += (
            column_parallel("self_attn.qkv_proj", "attention", width, head, head, head),
            Tensor(name="self_attn.o_proj", role="attention", rows=(whole(hidden),), columns=head),
            *dense(hidden, intermediate).tensors,
            small("norms", whole(width), whole(hidden)),
            column_parallel("adapter_down", "mlp", hidden, whole(rank), matrices=uses),
            column_parallel("adapter_up", "mlp", rank, split(intermediate), split(intermediate), matrices=uses),
        )
    return Layer(mixer=kind, mlp=None, tensors=tensors)
