"""Wrappers that take any language model: the section says which."""

from __future__ import annotations

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields


def any_language(text: Fields) -> Outline:
    """Return the language model that the section names by class or by model type."""
    return _named(text, text.text("model_type"))


def llava(text: Fields) -> Outline:
    """LLaVA 1.5, converted Pixtral and their kin: a section that does not say is Llama's."""
    return _named(text, text.text("model_type", "llama"))


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
