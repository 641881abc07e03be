"""The image and audio encoders of multimodal models: one function per kind of tower."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.catalog.architectures.tower import VitShape, linear, vectors, vit
from sizewell.catalog.config_fields import Fields, merged
from sizewell.specs.tensor import Tensor

Tower = tuple[Tensor, ...]

# What transformers' configuration classes fill in when a file names no value (PixtralVisionConfig and others).
GEMMA4_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "num_attention_heads": 12, "head_dim": 64,
    "patch_size": 16,
}  # fmt: skip
LLAMA4_VISION = {
    "hidden_size": 768, "intermediate_size": 5632, "num_hidden_layers": 34, "image_size": 448, "patch_size": 14,
    "num_channels": 3, "projector_input_dim": 4096, "projector_output_dim": 4096, "vision_output_dim": 7680,
    "pixel_shuffle_ratio": 0.5,
}  # fmt: skip


def section(config: Fields, name: str = "vision_config", defaults: Mapping[str, object] | None = None) -> Fields:
    """Return a section of the file over the class's own defaults."""
    found = config.section(name)
    values = found.values if found is not None else {}
    return Fields(merged(defaults or {}, values), config.source, f"{name}.", config)


def siglip(config: Fields, hidden: int) -> Tower:
    """Gemma 3: SigLIP with learned positions and one projection."""
    vision = section(config)
    width, side = vision.size("hidden_size"), vision.size("image_size") // vision.size("patch_size")
    shape = VitShape(depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"))
    return (
        *vit("vision_tower", shape),
        _patches(vision, width, bias=True),
        linear("vision_tower.position_embedding", side * side, width),
        vectors("vision_tower.post_layernorm", width, bias=True),
        linear("multi_modal_projector.projection", width, hidden),
        vectors("multi_modal_projector.norm", width),
    )


def gemma4_vision(config: Fields, hidden: int) -> Tower:
    """Gemma 4: gated blocks with four norms and head norms, a two-axis position table."""
    vision = section(config, defaults=GEMMA4_VISION)
    width = vision.size("hidden_size")
    shape = VitShape(
        depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"), gated=True,
        attention=vision.size("num_attention_heads") * vision.size("head_dim"), attention_bias=False, mlp_bias=False,
        norm_bias=False, norms=4, extra_vectors=2 * vision.size("head_dim"),
    )  # fmt: skip
    patch = vision.size("patch_size")
    return (
        *vit("vision_tower", shape),
        linear("vision_tower.patch_embedder", 3 * patch * patch, width),
        linear("vision_tower.positions", 2 * vision.size("position_embedding_size", 10240), width),
        linear("embed_vision", width, hidden),
    )


def pixtral(config: Fields, hidden: int) -> Tower:
    """Mistral Small 3 and Ministral 3: Pixtral with a patch merger."""
    vision = section(config)
    width = vision.size("hidden_size")
    merge, bias = config.size("spatial_merge_size", 2), config.flag("multimodal_projector_bias", False)
    return (
        *vit("vision_tower", _pixtral_shape(vision)),
        _patches(vision, width),
        vectors("vision_tower.norms", width, 2),
        linear("multi_modal_projector.merging_layer", width * merge * merge, width),
        linear("multi_modal_projector.linear_1", width, hidden, bias=bias),
        linear("multi_modal_projector.linear_2", hidden, hidden, bias=bias),
    )


def _pixtral_shape(vision: Fields) -> VitShape:
    return VitShape(
        depth=vision.layers(), hidden=vision.size("hidden_size"), intermediate=vision.size("intermediate_size"),
        gated=True, attention_bias=False, mlp_bias=False, norm_bias=False,
    )  # fmt: skip


def llama4_vision(config: Fields, hidden: int) -> Tower:
    """Llama 4: a ViT with class token, pixel shuffle and a two-layer adapter."""
    vision = section(config, defaults=LLAMA4_VISION)
    width, wide = vision.size("hidden_size"), vision.size("intermediate_size")
    side, patch = vision.size("image_size") // vision.size("patch_size"), vision.size("patch_size")
    shape = VitShape(depth=vision.layers(), hidden=width, intermediate=wide)
    adapter = vision.size("projector_output_dim")
    shuffled = int(width / max(0.1, vision.number("pixel_shuffle_ratio", 0.5)) ** 2)
    return (
        *vit("vision_model", shape),
        linear("vision_model.patch_embedding", 3 * patch * patch, width),
        linear("vision_model.positional_embedding", side * side + 1, width),
        vectors("vision_model.class_embedding", width),
        vectors("vision_model.layernorms", width, 2, bias=True),
        linear("vision_model.adapter_fc1", max(shuffled, wide), vision.size("projector_input_dim")),
        linear("vision_model.adapter_fc2", vision.size("projector_input_dim"), adapter),
        linear("multi_modal_projector.linear_1", vision.size("vision_output_dim"), hidden),
    )


def mllama_vision(config: Fields, hidden: int) -> Tower:
    """Llama 3.2 Vision: a local and a gated global encoder over tiles with several position tables."""
    vision = section(config)
    width, wide = vision.size("hidden_size"), vision.size("intermediate_size")
    patches = (vision.size("image_size") // vision.size("patch_size")) ** 2 + 1
    tiles, ratios = vision.size("max_num_tiles", 4), len(vision.items("supported_aspect_ratios") or [0] * 8) + 1
    local = VitShape(depth=vision.layers(), hidden=width, intermediate=wide, attention_bias=False)
    across = VitShape(
        depth=vision.layers("num_global_layers", 8), hidden=width, intermediate=wide, attention_bias=False,
        extra_vectors=2,
    )  # fmt: skip
    return (
        *vit("vision_model.transformer", local),
        *vit("vision_model.global_transformer", across),
        _patches(vision, width),
        vectors("vision_model.class_embedding", width),
        linear("vision_model.position_embedding", patches, width),
        linear("vision_model.tile_embedding", ratios, tiles * patches * width),
        linear("vision_model.tile_positions", ratios, tiles * width, matrices=2),
        vectors("vision_model.gates", 3),
        vectors("vision_model.layernorms", width, 2, bias=True),
        linear("multi_modal_projector", vision.size("vision_output_dim", 7680), hidden, bias=True),
    )


def qwen2_vision(config: Fields, hidden: int) -> Tower:
    """Qwen2-VL: plain ViT blocks; the merger joins four patches."""
    vision = section(config)
    width = vision.size("embed_dim", 1280)
    wide = int(width * vision.number("mlp_ratio", 4))
    shape = VitShape(depth=vision.layers("depth", 32), hidden=width, intermediate=wide)
    merged = width * vision.size("spatial_merge_size", 2) ** 2
    return (
        *vit("visual", shape),
        _patches(vision, width, frames=True),
        vectors("visual.merger.ln_q", width, bias=True),
        linear("visual.merger.mlp.0", merged, merged, bias=True),
        linear("visual.merger.mlp.2", merged, hidden, bias=True),
    )


def qwen25_vision(config: Fields, hidden: int) -> Tower:
    """Qwen2.5-VL: gated ViT blocks with RMS norms."""
    vision = section(config)
    width = vision.size("hidden_size", 1280)
    shape = VitShape(
        depth=vision.layers("depth", 32), hidden=width, intermediate=vision.size("intermediate_size", 3420),
        gated=True, norm_bias=False,
    )  # fmt: skip
    merged = width * vision.size("spatial_merge_size", 2) ** 2
    return (
        *vit("visual", shape),
        _patches(vision, width, frames=True),
        vectors("visual.merger.ln_q", width),
        linear("visual.merger.mlp.0", merged, merged, bias=True),
        linear("visual.merger.mlp.2", merged, vision.size("out_hidden_size", hidden), bias=True),
    )


def qwen3_vision(config: Fields, hidden: int) -> Tower:
    """Qwen3-VL and Qwen3.5: learned positions, one merger after the last block and one per deep-stack index."""
    vision = section(config)
    width = vision.size("hidden_size")
    shape = VitShape(depth=vision.layers("depth"), hidden=width, intermediate=vision.size("intermediate_size"))
    merged, out = width * vision.size("spatial_merge_size", 2) ** 2, vision.size("out_hidden_size", hidden)
    deep = len(vision.items("deepstack_visual_indexes") or ())
    tensors = [
        *vit("visual", shape),
        _patches(vision, width, bias=True, frames=True),
        linear("visual.pos_embed", vision.size("num_position_embeddings"), width),
        vectors("visual.merger.norm", width, bias=True),
        linear("visual.merger.linear_fc1", merged, merged, bias=True, matrices=1 + deep),
        linear("visual.merger.linear_fc2", merged, out, bias=True, matrices=1 + deep),
    ]
    if deep:
        tensors.append(vectors("visual.deepstack_merger.norm", merged, deep, bias=True))
    return tuple(tensors)


def qwen3_omni(config: Fields, hidden: int) -> Tower:
    """Qwen3-Omni's thinker: the Qwen3-VL tower and a Whisper-like audio encoder; speech output is not loaded."""
    thinker = config.section("thinker_config") or config
    audio = section(thinker, "audio_config")
    width, wide = audio.size("d_model"), audio.size("encoder_ffn_dim")
    narrow = audio.size("downsample_hidden_size")
    shape = VitShape(depth=audio.layers("encoder_layers"), hidden=width, intermediate=wide)
    # Three convolutions of stride two shrink the mel bins eightfold before the projection.
    bins = -(-audio.size("num_mel_bins") // 8)
    return (
        *qwen3_vision(thinker, hidden),
        *vit("audio_tower", shape),
        linear("audio_tower.conv2d1", 9, narrow, bias=True),
        linear("audio_tower.conv2d", 9 * narrow, narrow, bias=True, matrices=2),
        linear("audio_tower.conv_out", narrow * bins, width),
        vectors("audio_tower.ln_post", width, bias=True),
        linear("audio_tower.proj1", width, width, bias=True),
        linear("audio_tower.proj2", width, audio.size("output_dim", hidden), bias=True),
    )


def moon_vit(config: Fields, hidden: int) -> Tower:
    """Kimi-VL and Kimi-K2.5: MoonViT, whole on every rank, with a learned position grid and a merging projector."""
    vision = section(config)
    width = vision.size("vt_hidden_size", vision.count("hidden_size", 0) or None)
    depth = vision.layers("vt_num_hidden_layers", vision.count("num_hidden_layers", 0) or None)
    wide = vision.size("vt_intermediate_size", vision.count("intermediate_size", 0) or None)
    merge = vision.counts("merge_kernel_size", 2) or (2, 2)
    merged = width * merge[0] * merge[1]
    rows, columns = vision.size("init_pos_emb_height", 64), vision.size("init_pos_emb_width", 64)
    return (
        *vit("vision_tower", VitShape(depth=depth, hidden=width, intermediate=wide, replicated=True)),
        _patches(vision, width, bias=True),
        linear("vision_tower.position_embeddings", rows * columns, width),
        vectors("vision_tower.final_layernorm", width, bias=True),
        vectors("mm_projector.pre_norm", width, bias=True),
        linear("mm_projector.in_proj", merged, merged, bias=True),
        linear("mm_projector.out_proj", merged, hidden, bias=True),
    )


def moon_vit_3d(config: Fields, hidden: int) -> Tower:
    """Kimi-K3: MoonViT without biases, with RMS norms and narrower query width."""
    vision = section(config)
    width, wide = vision.size("vt_hidden_size"), vision.size("vt_intermediate_size")
    shape = VitShape(
        depth=vision.layers("vt_num_hidden_layers"), hidden=width, intermediate=wide,
        attention=vision.size("qkv_hidden_size", width), attention_bias=vision.flag("attn_bias", False),
        mlp_bias=vision.flag("linear_bias", False), norm_bias=False, replicated=True,
    )  # fmt: skip
    merge = vision.counts("merge_kernel_size", 2) or (2, 2)
    merged = width * merge[0] * merge[1]
    rows, columns = vision.size("init_pos_emb_height", 64), vision.size("init_pos_emb_width", 64)
    return (
        *vit("vision_tower", shape),
        _patches(vision, width),
        linear("vision_tower.position_embeddings", rows * columns, width),
        vectors("vision_tower.norms", width, 2),
        linear("mm_projector.in_proj", merged, merged),
        linear("mm_projector.out_proj", merged, hidden),
    )


def clip_merge(config: Fields, hidden: int) -> Tower:
    """MiniMax-M3: CLIP with 3-D rope and two projectors, the second over merged patches."""
    vision = section(config)
    width = vision.size("hidden_size")
    shape = VitShape(depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"))
    compression = vision.section("img_token_compression_config") or section(config, "img_token_compression_config")
    merged = hidden * compression.size("spatial_merge_size", 2) ** 2
    wide, bias = config.size("projector_hidden_size", hidden), config.flag("multimodal_projector_bias", True)
    return (
        *vit("vision_tower", shape),
        linear(
            "vision_tower.patches",
            3 * compression.size("temporal_patch_size", 2) * vision.size("patch_size") ** 2, width,
        ),
        vectors("vision_tower.pre_layrnorm", width, bias=True),
        linear("multi_modal_projector.linear_1", width, wide, bias=bias),
        linear("multi_modal_projector.linear_2", wide, hidden, bias=bias),
        linear("multi_modal_projector.merge_linear_1", merged, wide, bias=bias),
        linear("multi_modal_projector.merge_linear_2", wide, hidden, bias=bias),
    )  # fmt: skip


def llava(config: Fields, hidden: int) -> Tower:
    """LLaVA 1.5 and the converted Pixtral: CLIP with class token, or Pixtral's tower, and a projector of two layers."""
    vision = section(config, defaults={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24})
    width, bias = vision.size("hidden_size"), config.flag("multimodal_projector_bias", True)
    projector = (
        linear("multi_modal_projector.linear_1", width, hidden, bias=bias),
        linear("multi_modal_projector.linear_2", hidden, hidden, bias=bias),
    )
    if vision.text("model_type") == "pixtral":
        ends = (_patches(vision, width), vectors("vision_tower.ln_pre", width))
        return (*vit("vision_tower", _pixtral_shape(vision)), *ends, *projector)
    side = vision.size("image_size", 336) // vision.size("patch_size", 14)
    shape = VitShape(depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"))
    return (
        *vit("vision_tower", shape),
        linear("patch_embed", 3 * vision.size("patch_size", 14) ** 2, width),
        linear("vision_tower.position_embedding", side * side + 1, width),
        vectors("vision_tower.class_embedding", width),
        vectors("vision_tower.layernorms", width, 2, bias=True),
        *projector,
    )


def _patches(vision: Fields, width: int, *, bias: bool = False, frames: bool = False) -> Tensor:
    """Return the convolution that cuts an image into patches, as the matrix it is."""
    channels = vision.size("in_channels", vision.size("in_chans", vision.size("num_channels", 3)))
    depth = vision.size("temporal_patch_size", 2) if frames else 1
    return linear("patch_embed", channels * depth * vision.size("patch_size") ** 2, width, bias=bias)
