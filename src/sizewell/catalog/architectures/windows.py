"""Which layers see everything and which only a window: the pattern each family writes in its own way."""

from __future__ import annotations

from sizewell.catalog.architectures.attention import EVERYTHING, Reach
from sizewell.catalog.config_fields import Fields


def listed(text: Fields, local: str = "sliding_attention") -> list[bool] | None:
    """Return for each layer whether `layer_types` calls it local, None when the list is absent."""
    types = text.kinds("layer_types", (local, "full_attention"), text.layers())
    return None if types is None else [kind == local for kind in types]


def every_nth_full(text: Fields, period: int) -> list[bool]:
    """Return the mix in which each `period`-th layer is full and all others are local."""
    return [(i + 1) % period != 0 if period else False for i in range(text.layers())]


def reaches(text: Fields, local: list[bool], window: int | None) -> list[Reach]:
    """Return the reach of each layer, given which ones are local."""
    near = Reach(window=window) if window else EVERYTHING
    return [near if is_local else EVERYTHING for is_local in local]


def same_everywhere(text: Fields, window: int | None = None) -> list[Reach]:
    """Return the same reach for all layers."""
    return reaches(text, [True] * text.layers(), window)
