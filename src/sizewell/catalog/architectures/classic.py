"""Decoders with LayerNorms, biases or ungated MLPs from before and beside Llama.

StarCoder2, Falcon, Nemotron-4 and Minitron, StableLM, GPT-NeoX and Pythia, OPT.
"""

from __future__ import annotations

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, read_heads
from sizewell.catalog.architectures.dense import DenseTraits, dense_layers
from sizewell.catalog.architectures.outline import Ends, Outline, outline
from sizewell.catalog.architectures.windows import same_everywhere
from sizewell.catalog.config_fields import Fields, merged
from sizewell.specs.tensor import replicated


def starcoder2(text: Fields) -> Outline:
    """StarCoder2: biases everywhere, LayerNorm, an MLP without gate."""
    bias = text.flag("use_bias", True)
    attention_bias = AttentionTraits(qkv_bias=bias, out_bias=bias)
    traits = DenseTraits(attention=attention_bias, norm_bias=True, gated=False, mlp_bias=bias)
    spans = same_everywhere(text, text.optional_count("sliding_window"))
    layers = dense_layers(text, read_heads(text, kv_heads=2), spans, traits)
    return outline(text, layers, Ends(tied=True, norm_bias=True))


def falcon(text: Fields) -> Outline:
    """Falcon: multi-query attention and an ungated MLP of four times the width behind one biased norm."""
    hidden, count = text.size("hidden_size"), text.size("num_attention_heads")
    newer = text.flag("new_decoder_architecture", False)
    single = text.flag("multi_query", True) and not newer
    kv = 1 if single else text.size("num_kv_heads", count)
    shape = HeadShape(count=count, kv=kv, dim=hidden // count, value_dim=hidden // count)
    bias = text.flag("bias", False)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias), gated=False, mlp_bias=bias, norm_bias=True,
        norms=2 if newer or not text.flag("parallel_attn", True) else 1,
    )  # fmt: skip
    wide = Fields(
        merged({"intermediate_size": text.size("ffn_hidden_size", 4 * hidden)}, text.values),
        text.source,
        text.path,
        text.parent,
    )
    layers = dense_layers(wide, shape, same_everywhere(text), traits)
    return outline(wide, layers, Ends(tied=True, norm_bias=True))


def nemotron4(text: Fields) -> Outline:
    """Nemotron-4 and Minitron: biased LayerNorms, an ungated MLP of squared ReLU."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norm_bias=True, gated=False,
        mlp_bias=text.flag("mlp_bias", False),
    )  # fmt: skip
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits), Ends(norm_bias=True))


def stablelm(text: Fields) -> Outline:
    """StableLM 2: biased LayerNorms, optional biases on query, key and value; norms per head are refused."""
    if text.flag("qk_layernorm", False):
        raise text.wrong("qk_layernorm", True, "false: norms per head are not understood")
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=text.flag("use_qkv_bias", False)), norm_bias=True,
        norms=1 if text.flag("use_parallel_residual", False) else 2,
    )  # fmt: skip
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits), Ends(norm_bias=True))


def gpt_neox(text: Fields) -> Outline:
    """GPT-NeoX and Pythia: biases everywhere."""
    bias = text.flag("attention_bias", True)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norm_bias=True, gated=False, mlp_bias=True
    )
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits), Ends(norm_bias=True))


def opt(text: Fields) -> Outline:
    """OPT: learned positions (two more than the context), biases everywhere, tied."""
    hidden = text.size("hidden_size")
    narrow = text.size("word_embed_proj_dim", hidden)
    if narrow != hidden or not text.flag("do_layer_norm_before", True):
        raise text.wrong(
            "word_embed_proj_dim", narrow, f"{hidden}, with do_layer_norm_before: OPT-350m is not understood"
        )
    bias = text.flag("enable_bias", True)
    wide = Fields(merged(text.values, {"intermediate_size": text.size("ffn_dim")}), text.source, text.path, text.parent)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norm_bias=True, gated=False, mlp_bias=bias
    )
    positions = replicated("embed_positions", "embedding", hidden, text.size("max_position_embeddings", 2048) + 2)
    layers = dense_layers(wide, read_heads(text), same_everywhere(text), traits)
    return outline(wide, layers, Ends(tied=True, norm_bias=True, extra=(positions,)))
