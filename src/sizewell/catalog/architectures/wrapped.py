"""Wrappers that take any language model: the section says which."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields, merged

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "max_position_embeddings": 2048,
    },
    "mistral": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    },
    "gemma": {
        "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 8192,
    },
}  # fmt: skip
"""Sizes of transformers' configuration classes: a wrapper's file leaves out those of its section that equal them."""


def with_defaults(text: Fields) -> Fields:
    """Return a wrapper's section with what its class fills in; a section that names no class stays as it is."""
    given = DEFAULTS.get(text.text("model_type", ""), {})
    left_out = {name: size for name, size in given.items() if name not in text.values}
    return Fields(merged(left_out, text.values), text.source, text.path, text.parent) if left_out else text


def any_language(text: Fields) -> Outline:
    """Return the language model that the section names by class or by model type."""
    return _named(text, text.text("model_type"))


def llava(text: Fields) -> Outline:
    """LLaVA 1.5 and NeXT, converted Pixtral, SmolVLM and their kin: a section that does not say is Llama's."""
    return _named(text, text.text("model_type", "llama"))


def llava_onevision(text: Fields) -> Outline:
    """LLaVA-OneVision: a section that does not say is Qwen2's."""
    return _named(text, text.text("model_type", "qwen2"))


def aya_vision(text: Fields) -> Outline:
    """Aya Vision: a section that does not say is Command R7B's."""
    return _named(text, text.text("model_type", "cohere2"))


def lfm2_vl(text: Fields) -> Outline:
    """LFM2-VL: a section that does not say is LFM2's."""
    return _named(text, text.text("model_type", "lfm2"))


def paligemma(text: Fields) -> Outline:
    """PaliGemma 1 and 2: a section that does not say is Gemma's."""
    return _named(text, text.text("model_type", "gemma"))


def mistral3(text: Fields) -> Outline:
    """Mistral Small 3.1 and later: a section that does not say is Mistral's."""
    return _named(text, text.text("model_type", "mistral"))


def _named(text: Fields, model_type: str) -> Outline:
    from sizewell.catalog.architectures.assembly import unknown_architecture
    from sizewell.catalog.architectures.registry import FAMILIES, language_builder

    wanted = f"{model_type.replace('_', '').lower()}forcausallm"
    named = [*(text.words("architectures") or ()), *(name for name in FAMILIES if name.lower() == wanted)]
    for name in named:
        if name in FAMILIES and not FAMILIES[name].tower:
            return language_builder(FAMILIES[name])(text)
    raise unknown_architecture(text, (*named, model_type, "none")[0])
