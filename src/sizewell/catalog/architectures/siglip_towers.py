"""Encoders of wrappers around any language model: CLIP or SigLIP, and what joins them to it.

LLaVA-NeXT, LLaVA-OneVision, Idefics 3 and SmolVLM, Aya Vision, Command A Vision, PaliGemma, LFM2-VL.
"""

from __future__ import annotations

from sizewell.catalog.architectures.tower import VitShape, linear, vectors, vit
from sizewell.catalog.architectures.towers import Tower, llava, section
from sizewell.catalog.config_fields import Fields

SIGLIP = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 16,
    "num_channels": 3,
}  # fmt: skip
SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "image_size": 384, "patch_size": 14,
    "num_channels": 3,
}  # fmt: skip
IDEFICS = {
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 32,
    "num_channels": 3,
}  # fmt: skip
"""What transformers' configuration classes fill in."""


def llava_next(config: Fields, hidden: int) -> Tower:
    """LLaVA-NeXT: LLaVA's CLIP and projector, and a vector that ends a row of an image."""
    return (*llava(config, hidden), vectors("image_newline", hidden))


def llava_onevision(config: Fields, hidden: int) -> Tower:
    """LLaVA-OneVision: SigLIP, a projector of two layers, and the vector that ends a row."""
    bias, vision = config.flag("multimodal_projector_bias", True), section(config, defaults=SO400M)
    width = vision.size("hidden_size")
    return (
        *_siglip(vision, head=vision.flag("vision_use_head", bool(config.section("vision_config")))),
        linear("multi_modal_projector.linear_1", width, hidden, bias=bias),
        linear("multi_modal_projector.linear_2", hidden, hidden, bias=bias),
        vectors("image_newline", hidden),
    )


def idefics3(config: Fields, hidden: int) -> Tower:
    """Idefics 3 and SmolVLM: SigLIP without a head, neighbouring patches joined, one matrix."""
    vision = section(config, defaults=IDEFICS)
    joined = vision.size("hidden_size") * config.size("scale_factor", 2) ** 2
    return (*_siglip(vision, head=False), linear("connector.modality_projection", joined, hidden))


def aya_vision(config: Fields, hidden: int) -> Tower:
    """Aya Vision: SigLIP, neighbouring patches joined, a norm and a gated projector."""
    vision = section(config, defaults=SO400M)
    joined = vision.size("hidden_size") * config.size("downsample_factor", 2) ** 2
    inner = config.size("alignment_intermediate_size", hidden)
    return (
        *_siglip(vision, head=vision.flag("vision_use_head", bool(config.section("vision_config")))),
        vectors("multi_modal_projector.layernorm", joined, bias=True),
        linear("multi_modal_projector.linear_1", joined, inner, bias=True),
        linear("multi_modal_projector.linear_2", inner // 2, hidden, bias=True),
    )


def cohere2_vision(config: Fields, hidden: int) -> Tower:
    """Command A Vision: Aya Vision without the norm, and a wide projector."""
    vision = section(config, defaults=SIGLIP)
    joined = vision.size("hidden_size") * config.size("downsample_factor", 2) ** 2
    inner = config.size("alignment_intermediate_size", 36864)
    return (
        *_siglip(vision, head=vision.flag("vision_use_head", True)),
        linear("multi_modal_projector.linear_1", joined, inner, bias=True),
        linear("multi_modal_projector.linear_2", inner // 2, hidden, bias=True),
    )


def paligemma(config: Fields, hidden: int) -> Tower:
    """PaliGemma: SigLIP and one projection."""
    vision = section(config, defaults=SIGLIP)
    projected = linear("multi_modal_projector", vision.size("hidden_size"), hidden, bias=True)
    return (*_siglip(vision, head=vision.flag("vision_use_head", True)), projected)


def lfm2_vl(config: Fields, hidden: int) -> Tower:
    """LFM2-VL: SigLIP 2 with a table of positions for images of any shape, neighbouring patches joined."""
    vision = section(config, defaults=SIGLIP)
    joined = vision.size("hidden_size") * config.size("downsample_factor", 2) ** 2
    inner, bias = config.size("projector_hidden_size", 2560), config.flag("projector_bias", True)
    norm = (vectors("multi_modal_projector.layer_norm", joined, bias=True),)
    positions = vision.size("num_patches", 256)
    return (
        *_siglip(vision, head=vision.flag("vision_use_head", True), positions=positions),
        *(norm if config.flag("projector_use_layernorm", True) else ()),
        linear("multi_modal_projector.linear_1", joined, inner, bias=bias),
        linear("multi_modal_projector.linear_2", inner, hidden, bias=bias),
    )


def _siglip(vision: Fields, *, head: bool, positions: int = 0) -> Tower:
    """Return SigLIP's encoder, and its pooling head of one attention and one MLP where it has one.

    It has as many `positions` as stated, else one for each patch of an image.
    """
    width, wide, patch = vision.size("hidden_size"), vision.size("intermediate_size"), vision.size("patch_size")
    places = positions or (vision.size("image_size") // patch) ** 2
    pooling = (
        vectors("vision_tower.head.probe", width),
        *vit("vision_tower.head", VitShape(depth=1, hidden=width, intermediate=wide, norms=1)),
    )
    return (
        *vit("vision_tower", VitShape(depth=vision.layers(), hidden=width, intermediate=wide)),
        linear("patch_embed", vision.size("num_channels", 3) * patch * patch, width, bias=True),
        linear("vision_tower.position_embedding", places, width),
        vectors("vision_tower.post_layernorm", width, bias=True),
        *(pooling if head else ()),
    )
