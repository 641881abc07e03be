"""Image encoders of GLM-V and InternVL."""

from __future__ import annotations

from sizewell.catalog.architectures.tower import VitShape, linear, vectors, vit
from sizewell.catalog.architectures.towers import Tower, section
from sizewell.catalog.config_fields import Fields

# What transformers' classes fill in (Glm4vVisionConfig, InternVLVisionConfig).
GLM_VISION = {
    "depth": 24, "hidden_size": 1536, "image_size": 336, "patch_size": 14, "in_channels": 3, "temporal_patch_size": 2,
    "spatial_merge_size": 2, "out_hidden_size": 4096, "intermediate_size": 13696,
}  # fmt: skip
INTERN_VISION = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 448, "patch_size": 14,
    "num_channels": 3,
}  # fmt: skip


def glm_vision(config: Fields, hidden: int) -> Tower:
    """GLM-4.1V to 4.6V: gated blocks as wide as the output, a convolution that joins patches, a gated merger."""
    del hidden
    vision = section(config, defaults=GLM_VISION)
    width, out, wide = vision.size("hidden_size"), vision.size("out_hidden_size"), vision.size("intermediate_size")
    patch, merge = vision.size("patch_size"), vision.size("spatial_merge_size")
    shape = VitShape(
        depth=vision.layers("depth"), hidden=width, intermediate=out, gated=True,
        attention_bias=vision.flag("attention_bias", False), mlp_bias=False, norm_bias=False,
    )  # fmt: skip
    inputs = vision.size("in_channels") * vision.size("temporal_patch_size") * patch * patch
    return (
        *vit("visual", shape),
        linear("visual.patch_embed", inputs, width, bias=True),
        linear("visual.position_embedding", (vision.size("image_size") // patch) ** 2, width),
        vectors("visual.norms", width, 2),
        linear("visual.downsample", width * merge * merge, out, bias=True),
        linear("visual.merger.proj", out, out),
        vectors("visual.merger.norm", out, bias=True),
        linear("visual.merger.gate_up_proj", out, wide, matrices=2),
        linear("visual.merger.down_proj", wide, out),
    )


def intern_vit(config: Fields, hidden: int) -> Tower:
    """InternVL: InternViT with layer scales and learned positions, pixel shuffle, a projector of two layers."""
    vision = section(config, defaults=INTERN_VISION)
    width, patch = vision.size("hidden_size"), _side(vision, "patch_size")
    normed = vision.flag("qk_normalization", vision.flag("use_qk_norm", False))
    shape = VitShape(
        depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"),
        norm_bias=vision.text("norm_type", "layer_norm") == "layer_norm", extra_vectors=2 * width,
    )  # fmt: skip
    biased = vision.flag("qkv_bias", vision.flag("attention_bias", False))
    shuffled = int(width / max(0.1, config.number("downsample_ratio", 0.5)) ** 2)
    tensors = [
        *vit("vision_model", shape),
        linear("vision_model.patch_embedding", vision.size("num_channels") * patch * patch, width, bias=True),
        linear("vision_model.position_embedding", (_side(vision, "image_size") // patch) ** 2 + 1, width),
        vectors("vision_model.class_embedding", width),
        vectors("mlp1.norm", shuffled, bias=True),
        linear("mlp1.linear_1", shuffled, hidden, bias=True),
        linear("mlp1.linear_2", hidden, hidden, bias=True),
    ]
    if normed:
        tensors.append(vectors("vision_model.qk_norm", width, 2 * shape.depth))
    if not biased:
        tensors[0] = linear("vision_model.qkv", width, 3 * width, matrices=shape.depth)
    return tuple(tensors)


def _side(vision: Fields, name: str) -> int:
    """Return a side length that may be written once or for both axes."""
    if not isinstance(vision.values.get(name), list):
        return vision.size(name)
    sides = vision.counts(name, 2) or ()
    if not all(sides):
        raise vision.wrong(name, list(sides), "two positive numbers")
    return sides[0]


def hunyuan_vision(config: Fields, hidden: int) -> Tower:
    """HunyuanVL: a ViT over a large grid of positions; four patches become one, and vectors end rows and images."""
    vision = section(config)
    width, merge = vision.size("hidden_size"), vision.size("spatial_merge_size", 2)
    patch, side = vision.size("patch_size", 16), vision.size("max_image_size", 2048)
    shape = VitShape(depth=vision.layers(), hidden=width, intermediate=vision.size("intermediate_size"))
    return (
        *vit("vision_tower", shape),
        linear("patch_embed", 3 * patch * patch, width, bias=True),
        linear("vision_tower.position_embedding", (side // patch) ** 2 + 1, width),
        linear("patch_merger.proj_conv", width * merge * merge, 2 * width, bias=True),
        linear("patch_merger.proj_out", 2 * width, 4 * width, bias=True),
        linear("patch_merger.mlp", 4 * width, hidden, bias=True),
        vectors("patch_merger.image_newline", 4 * width),
        vectors("patch_merger.marks", hidden, 3),
        vectors("patch_merger.before_rms", width),
        vectors("patch_merger.after_rms", hidden),
    )
