"""Wrappers that take any language model: the section says which."""

from __future__ import annotations

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields
from sizewell.specs.errors import UnknownArchitectureError


def any_language(text: Fields) -> Outline:
    """Return the language model that the section names by class or by model type."""
    from sizewell.catalog.architectures.registry import FAMILIES, language_builder

    kind = text.text("model_type").replace("_", "").lower()
    named = [*(text.words("architectures") or ()), *(name for name in FAMILIES if name.lower() == f"{kind}forcausallm")]
    for name in named:
        if name in FAMILIES and not FAMILIES[name].tower:
            return language_builder(FAMILIES[name])(text)
    raise UnknownArchitectureError(
        f"{text.source}: {text.path or 'the language section'} names no known language model "
        f"({', '.join(map(repr, named)) or 'neither architectures nor model_type'})"
    )
