"""From a configuration to a `ModelSpec`: find the family, build its layers, add formats and limits."""

from __future__ import annotations

from dataclasses import replace

from sizewell.catalog.architectures.limits import (
    activation_type,
    max_context_tokens,
    recurrent_state_bytes,
    rope_tables,
)
from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.architectures.registry import FAMILIES, Family, language_builder, tower_builder
from sizewell.catalog.architectures.wrapped import with_defaults
from sizewell.catalog.config_fields import Fields, MissingFieldError
from sizewell.catalog.quantization import Quantization, store_layers, store_tensor
from sizewell.catalog.quantization_methods import read_quantization
from sizewell.specs.errors import UnknownArchitectureError, nearest_names
from sizewell.specs.model import ModelSpec

LONGEST_NAME = 100
ENDINGS = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel", "Model")
"""What classes end in whatever the family."""
TEXT_SECTIONS = ("text_config", "llm_config", "language_config", "thinker_config")
ENCODERS = ("vision_config", "audio_config")
HEARING_TOWERS = frozenset({"audio_towers:gemma4", "audio_towers:gemma3n", "audio_towers:qwen25_omni", "qwen3_omni"})
WIDTHS = ("hidden_size", "d_model", "n_embd")
NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
MERGING_TOWERS = frozenset({"qwen2_vision", "qwen25_vision", "qwen3_vision", "qwen3_omni", "audio_towers:qwen25_omni"})
MERGED_IMAGE = (16384, 4)
"""Tokens of the largest image these towers take unless told otherwise, and the patches they merge into one."""
UNKNOWN_IMAGE = (0, 0)


def build_model(name: str, config: Fields, assumed: tuple[str, ...] = ()) -> ModelSpec:
    """Return the model a configuration describes.

    Raises UnknownArchitectureError for layers we do not understand and BadInputError for values that cannot be meant.
    """
    architecture = architecture_of(config)
    family = FAMILIES.get(architecture)
    if family is None:
        raise unknown_architecture(config, architecture)
    text = language_section(config, family)
    outline = language_builder(family)(text)
    tower = tower_builder(family)
    image_tokens, image_patches = _largest_image(config, family)
    activation = activation_type(text)
    quantization = read_quantization(config, text)
    if quantization is not None:
        outline = _stored(outline, quantization)
    return ModelSpec(
        name=name,
        architecture=architecture,
        hidden=outline.hidden,
        vocabulary=outline.vocabulary,
        max_context_tokens=max_context_tokens(text),
        layers=outline.layers,
        embedding=outline.embedding,
        head=outline.head,
        final_norm=outline.final_norm,
        mtp_layers=outline.mtp_layers,
        extra=outline.extra,
        vision=tower(config, outline.hidden) if tower else (),
        encoder_outputs=1 + len(_deep_stack(config)),
        encoder_item_tokens=image_tokens,
        encoder_patches_per_token=image_patches,
        dtype=activation,
        weight_format=quantization.weight_format if quantization else activation.name,
        kv_format=quantization.kv_format if quantization else "auto",
        recurrent_state_dtype_bytes=recurrent_state_bytes(text, activation),
        rope_tables=rope_tables(text, architecture, outline.layers),
        assumed=(*assumed, *outline.assumed, *_defaults_taken(text, assumed, outline), *_left_out(config, family)),
    )


def _largest_image(config: Fields, family: Family) -> tuple[int, int]:
    """Return the tokens of the largest image and the patches behind each, where the config decides them."""
    if family.tower in MERGING_TOWERS:
        return MERGED_IMAGE
    vision = config.section("vision_config")
    if vision is None or "image_size" not in vision or family.tower not in {"siglip", "pixtral"}:
        return UNKNOWN_IMAGE
    side, merge = vision.size("image_size") // vision.size("patch_size"), config.size("spatial_merge_size", 2)
    tokens = config.size("mm_tokens_per_image", 256) if family.tower == "siglip" else (side // merge) ** 2
    return (tokens, side * side // tokens) if tokens else UNKNOWN_IMAGE


def _deep_stack(config: Fields) -> tuple[object, ...]:
    vision = config.section("vision_config")
    return tuple(vision.items("deepstack_visual_indexes") or ()) if vision else ()


def _defaults_taken(text: Fields, assumed: tuple[str, ...], outline: Outline) -> tuple[str, ...]:
    """Return the defaults an assumed architecture filled in that change what is loaded."""
    if not any(statement.startswith("architecture=") for statement in assumed):
        return ()
    silent = "tie_word_embeddings" not in text and (text.parent is None or "tie_word_embeddings" not in text.parent)
    return (f"tie_word_embeddings={'false' if outline.head else 'true'}",) if silent else ()


def _left_out(config: Fields, family: Family) -> tuple[str, ...]:
    """Return which encoders the file describes and the family does not build."""
    counted = ENCODERS if family.tower in HEARING_TOWERS else ENCODERS[:1] if family.tower else ()
    described = (name for name in ENCODERS if isinstance(config.values.get(name), dict))
    return tuple(f"{name} is not counted" for name in described if name not in counted)


def _stored(outline: Outline, quantization: Quantization) -> Outline:
    return replace(
        outline,
        layers=store_layers(outline.layers, quantization),
        mtp_layers=store_layers(outline.mtp_layers, quantization, len(outline.layers)),
        embedding=store_tensor(outline.embedding, quantization),
        head=store_tensor(outline.head, quantization) if outline.head else None,
    )


def architecture_of(config: Fields) -> str:
    """Return the first entry of `architectures`; MissingFieldError when there is none."""
    names = config.words("architectures")
    if not names:
        raise MissingFieldError(config.source, "architecture")
    if len(names[0]) > LONGEST_NAME:
        raise config.wrong("architectures", names[0], f"names of at most {LONGEST_NAME} letters")
    return names[0]


def language_section(config: Fields, family: Family) -> Fields:
    """Return the object that holds the language model's fields: where the family keeps it, or where it is found."""
    section = config
    for name in filter(None, family.text.split(".")):
        section = section.section(name) or section
    if not family.text and not any(field in config for field in WIDTHS):
        return nested_text(config) or config
    return with_defaults(section) if family.language.startswith("wrapped:") else section


def nested_text(config: Fields) -> Fields | None:
    """Return the section a multimodal wrapper keeps its language model in, None without one."""
    for name in TEXT_SECTIONS:
        if isinstance(config.values.get(name), dict):
            return config.section(name)
    return None


def unknown_architecture(config: Fields, architecture: str) -> UnknownArchitectureError:
    """Return the error that says what is missing and which --assume would accept the model."""
    text = nested_text(config) or config
    missing = [field for field in NEEDED if field not in text]
    seeing = any(isinstance(config.values.get(name), dict) for name in ENCODERS)
    known = [name for name, family in FAMILIES.items() if seeing or not family.tower]
    stems = {_stem(name): name for name in known}
    alike = nearest_names(architecture, known, cutoff=0.85)
    alike += [stems[stem] for stem in nearest_names(_stem(architecture), stems, cutoff=0.6)]
    near = list(dict.fromkeys([*_named_inside(text), *alike, "LlamaForCausalLM"]))[:3]
    lacking = f"; it also lacks {', '.join(missing)}" if missing else ""
    return UnknownArchitectureError(
        f"{config.source}: architecture {architecture!r} is not known (nearest: {', '.join(near)}){lacking}; "
        f"if its layers are the same, say --assume architecture={near[0]}"
    )


def _stem(architecture: str) -> str:
    """Return the name of a family without what all classes end in, which makes any two alike."""
    for end in ENDINGS:
        architecture = architecture.removesuffix(end)
    return architecture


def _named_inside(text: Fields) -> list[str]:
    """Return known architectures that the language section itself names, by class or by model type."""
    stated = text.values.get("architectures")
    inner = (
        [name for name in stated if isinstance(name, str) and name in FAMILIES]
        if isinstance(stated, list) and text.parent
        else []
    )
    kind = str(text.values.get("model_type", "")).replace("_", "").lower()
    return [*inner, *(name for name in FAMILIES if name.lower() == f"{kind}forcausallm")]
