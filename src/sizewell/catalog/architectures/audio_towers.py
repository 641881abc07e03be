"""The encoders of models that see and hear: Gemma 3n and 4 with a conformer, Qwen2.5-Omni with one like Whisper's."""

from __future__ import annotations

from sizewell.catalog.architectures.tower import VitShape, linear, vectors, vit
from sizewell.catalog.architectures.towers import Tower, gemma4_vision, qwen25_vision, section
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


def qwen25_omni(config: Fields, hidden: int) -> Tower:
    """Qwen2.5-Omni's thinker: the Qwen2.5-VL tower and Whisper's encoder, whose keys have no bias; speech output is not
    loaded.
    """
    thinker = config.section("thinker_config") or config
    audio = section(thinker, "audio_config")
    width, out = audio.size("d_model"), audio.size("output_dim", hidden)
    shape = VitShape(
        depth=audio.layers("encoder_layers"), hidden=width, intermediate=audio.size("encoder_ffn_dim"),
        attention_bias=False, extra_vectors=3 * width,
    )  # fmt: skip
    return (
        *qwen25_vision(thinker, hidden),
        *vit("audio_tower", shape),
        linear("audio_tower.conv1", 3 * audio.size("num_mel_bins", 128), width, bias=True),
        linear("audio_tower.conv2", 3 * width, width, bias=True),
        vectors("audio_tower.audio_bos_eos_token", out, 2),
        vectors("audio_tower.ln_post", width, bias=True),
        linear("audio_tower.proj", width, out, bias=True),
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
