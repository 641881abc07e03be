"""Gemma 2 and 3: local and global layers in turn, four norms a layer, tied embeddings."""

from __future__ import annotations

from sizewell.catalog.architectures.attention import AttentionTraits, read_heads
from sizewell.catalog.architectures.dense import DenseTraits, dense_layers
from sizewell.catalog.architectures.outline import Ends, Outline, outline
from sizewell.catalog.architectures.windows import every_nth_full, listed, reaches
from sizewell.catalog.config_fields import Fields, merged

# What the class fills in when a wrapped text section is silent (Gemma3TextConfig).
GEMMA3_DEFAULTS = {"vocab_size": 262208, "num_attention_heads": 8}


def gemma2(text: Fields) -> Outline:
    """Gemma 2: every other layer is local, beginning with the first."""
    local = listed(text) or every_nth_full(text, 2)
    spans = reaches(text, local, text.count("sliding_window", 4096))
    shape = read_heads(text, kv_heads=4, head_dim=256)
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norms=4)
    return outline(text, dense_layers(text, shape, spans, traits), Ends(tied=True))


def gemma3(text: Fields) -> Outline:
    """Gemma 3: five local layers to one global, norms on query and key heads."""
    filled = Fields(merged(GEMMA3_DEFAULTS, text.values), text.source, text.path, text.parent)
    local = listed(filled) or every_nth_full(filled, filled.size("sliding_window_pattern", 6))
    spans = reaches(filled, local, filled.count("sliding_window", 4096))
    bias = filled.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qk_norm="head", qkv_bias=bias, out_bias=bias), norms=4)
    shape = read_heads(filled, kv_heads=4, head_dim=256)
    return outline(filled, dense_layers(filled, shape, spans, traits), Ends(tied=True))
