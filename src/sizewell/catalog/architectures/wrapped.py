"""Wrappers that take any language model: the section says which."""

from __future__ import annotations

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields


def any_language(text: Fields) -> Outline:
    """Return the language model that the section names by class or by model type."""
    from sizewell.catalog.architectures.assembly import unknown_architecture
    from sizewell.catalog.architectures.registry import FAMILIES, language_builder

    kind = text.text("model_type").replace("_", "").lower()
    named = [*(text.words("architectures") or ()), *(name for name in FAMILIES if name.lower() == f"{kind}forcausallm")]
    for name in named:
        if name in FAMILIES and not FAMILIES[name].tower:
            return language_builder(FAMILIES[name])(text)
    raise unknown_architecture(text, (*named, text.text("model_type"), "none")[0])
