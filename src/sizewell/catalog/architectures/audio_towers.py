"""The encoders of Gemma 3n and 4: images, and a conformer that hears."""

from __future__ import annotations

from sizewell.catalog.architectures.tower import linear, vectors
from sizewell.catalog.architectures.towers import Tower, gemma4_vision, section
from sizewell.catalog.config_fields import Fields

HEARD_BINS = 128
"""Mel bins; two convolutions of stride two leave a quarter of them."""
MOBILENET_PARAMETERS = 294_000_000
"""MobileNetV5-300M as published; its blocks are not described here."""


def gemma4(config: Fields, hidden: int) -> Tower:
    """Gemma 4: its image encoder, and the conformer of the small ones."""
    seen = gemma4_vision(config, hidden)
    if config.section("audio_config") is None:
        return seen
    audio = section(config, "audio_config", {"hidden_size": 1024, "num_hidden_layers": 12, "output_proj_dims": 1536})
    out = audio.size("output_proj_dims")
    return (
        *seen,
        *_conformer(audio, audio.layers(), audio.size("conv_kernel_size", 5), audio.size("num_attention_heads", 8)),
        linear("audio_tower.output_proj", audio.size("hidden_size"), out, bias=True),
        linear("embed_audio", out, hidden),
    )


def gemma3n(config: Fields, hidden: int) -> Tower:
    """Gemma 3n: MobileNetV5 by its published size, a conformer, and an embedder of hard and soft tokens for each."""
    vision = section(config, defaults={"hidden_size": 2048, "vocab_size": 128})
    audio = section(config, "audio_config", {"hidden_size": 1536, "vocab_size": 128, "conf_num_hidden_layers": 12})
    kernel, count = audio.size("conf_conv_kernel_size", 5), audio.size("conf_num_attention_heads", 8)
    return (
        vectors("vision_tower.mobilenet_v5", MOBILENET_PARAMETERS),
        *_embedder("embed_vision", vision, hidden),
        *_conformer(audio, audio.layers("conf_num_hidden_layers"), kernel, count),
        *_embedder("embed_audio", audio, hidden),
    )


def _embedder(name: str, encoder: Fields, hidden: int) -> Tower:
    width = encoder.size("hidden_size")
    return (
        linear(f"{name}.embedding", encoder.size("vocab_size"), width),
        vectors(f"{name}.norms", width, 2),
        linear(f"{name}.projection", width, hidden),
    )


def _conformer(audio: Fields, depth: int, kernel: int, heads: int) -> Tower:
    """Return two half feed-forward blocks, attention with relative positions and a light convolution per layer."""
    width, channels = audio.size("hidden_size"), (128, 32)
    return (
        linear("audio_tower.subsample.0", 9, channels[0]),
        linear("audio_tower.subsample.1", 9 * channels[0], channels[1]),
        vectors("audio_tower.subsample.norms", sum(channels)),
        linear("audio_tower.subsample.proj", channels[1] * HEARD_BINS // 4, width),
        linear("audio_tower.feed_forward", width, 4 * width, matrices=4 * depth),
        linear("audio_tower.attention", width, width, matrices=5 * depth),
        vectors("audio_tower.per_dim_scale", width // heads, depth),
        linear("audio_tower.lconv1d", width, width, matrices=3 * depth),
        vectors("audio_tower.depthwise", width * kernel, depth),
        vectors("audio_tower.norms", width, 9 * depth),
    )
