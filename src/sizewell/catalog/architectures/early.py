"""Decoders of 2021 to 2024 with names of their own for the usual fields.

GPT-2, GPT-J, BLOOM, MPT, StarCoder, Phi-1.5 and 2, ChatGLM3 and GLM-4-9B, Gemma 1, EXAONE 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, read_heads
from sizewell.catalog.architectures.dense import DenseTraits, dense_layers
from sizewell.catalog.architectures.outline import Ends, Outline, norms, outline
from sizewell.catalog.architectures.windows import same_everywhere
from sizewell.catalog.config_fields import Fields, merged
from sizewell.specs.tensor import replicated

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "n_embed", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "intermediate_size": ("n_inner", "ffn_hidden_size"),
    "vocab_size": ("padded_vocab_size",),
}


def usual(text: Fields, defaults: Mapping[str, int] | None = None) -> Fields:
    """Return the fields under their usual names too; `defaults` are the class's own for absent ones."""
    found = dict(text.values)
    for name, others in OTHER_NAMES.items():
        stated = [text.values[n] for n in (name, *others) if n in text]
        if stated:
            found[name] = stated[0]
    for name, value in (defaults or {}).items():
        if found.get(name) is None:
            found[name] = value
    return Fields(merged(text.values, found), text.source, text.path, text.parent)


def _four_wide(text: Fields) -> Fields:
    same = usual(text)
    return usual(same, {"intermediate_size": 4 * same.size("hidden_size")})


def gpt_j(text: Fields) -> Outline:
    """GPT-J: attention and MLP in parallel behind one norm, biases on the MLP and the head alone."""
    same = _four_wide(text)
    traits = DenseTraits(norms=1, norm_bias=True, gated=False, mlp_bias=True)
    layers = dense_layers(same, read_heads(same), same_everywhere(same), traits)
    return outline(same, layers, Ends(norm_bias=True, head_bias=True))


def bloom(text: Fields) -> Outline:
    """BLOOM: biases everywhere, a norm behind the embedding, ALiBi, tied."""
    same = _four_wide(text)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=True, out_bias=True), norm_bias=True, gated=False, mlp_bias=True
    )
    behind = norms(same.size("hidden_size"), bias=True, name="word_embeddings_layernorm")
    layers = dense_layers(same, read_heads(same), same_everywhere(same), traits)
    return outline(same, layers, Ends(tied=True, norm_bias=True, extra=(behind,)))


def mpt(text: Fields) -> Outline:
    """MPT: no biases, an MLP of `expansion_ratio` times the width, ALiBi, tied; other attention is refused."""
    kind = text.section("attn_config") or Fields({}, text.source, "attn_config.")
    if not text.flag("no_bias", True) or kind.flag("qk_ln", False) or not kind.flag("alibi", True):
        raise text.wrong("no_bias", text.values.get("no_bias"), "true, with alibi and without qk_ln")
    width = text.size("expansion_ratio", 4) * text.size("d_model")
    heads = kind.size("kv_n_heads", text.size("n_heads"))
    same = usual(text, {"intermediate_size": width, "num_key_value_heads": heads})
    layers = dense_layers(same, read_heads(same), same_everywhere(same), DenseTraits(gated=False))
    return outline(same, layers, Ends(tied=True))


def gpt_bigcode(text: Fields) -> Outline:
    """StarCoder and Granite-20B-Code: multi-query attention, learned positions, biases everywhere, tied."""
    same = _four_wide(text)
    kv_heads = 1 if text.flag("multi_query", True) else same.size("num_attention_heads")
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=True, out_bias=True), norm_bias=True, gated=False, mlp_bias=True
    )
    positions = replicated("wpe", "embedding", same.size("hidden_size"), text.size("n_positions", 1024))
    layers = dense_layers(same, read_heads(same, kv_heads=kv_heads), same_everywhere(same), traits)
    return outline(same, layers, Ends(tied=True, norm_bias=True, extra=(positions,)))


def gpt2(text: Fields) -> Outline:
    """GPT-2: StarCoder's layers with as many key and value heads as query heads."""
    return gpt_bigcode(Fields(merged(text.values, {"multi_query": False}), text.source, text.path, text.parent))


def phi(text: Fields) -> Outline:
    """Phi-1.5 and Phi-2: attention and MLP in parallel behind one norm, biases everywhere, the head included."""
    if text.flag("qk_layernorm", False):
        raise text.wrong("qk_layernorm", True, "false: norms per head are not understood")
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=True, out_bias=True), norms=1, norm_bias=True, gated=False, mlp_bias=True
    )
    layers = dense_layers(text, read_heads(text), same_everywhere(text), traits)
    return outline(text, layers, Ends(norm_bias=True, head_bias=True))


def chat_glm(text: Fields) -> Outline:
    """ChatGLM2, ChatGLM3 and GLM-4-9B in the makers' own files: biases on query, key and value, few key/value heads."""
    same = usual(text)
    count, dim = same.size("num_attention_heads"), text.size("kv_channels", 128)
    kv_heads = text.size("multi_query_group_num", 1) if text.flag("multi_query_attention", False) else count
    bias = text.flag("add_bias_linear", False)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=text.flag("add_qkv_bias", False) or bias, out_bias=bias), mlp_bias=bias
    )
    shape = HeadShape(count=count, kv=kv_heads, dim=dim, value_dim=dim)
    return outline(same, dense_layers(same, shape, same_everywhere(same), traits))


def gemma(text: Fields) -> Outline:
    """Gemma 1: Llama's layers with wide heads, tied."""
    layers = dense_layers(text, read_heads(text, head_dim=256), same_everywhere(text))
    return outline(text, layers, Ends(tied=True))


def exaone(text: Fields) -> Outline:
    """EXAONE 3 and 3.5: Llama's layers."""
    same = usual(text)
    return outline(same, dense_layers(same, read_heads(same), same_everywhere(same)))
