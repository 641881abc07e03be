"""What a stated number may be."""

from __future__ import annotations

from math import isfinite

from sizewell.specs.errors import BadInputError


def require(name: str, value: float, *, low: float, high: float = 1e7) -> None:
    """Raise BadInputError unless `value` is a number from `low` to `high`."""
    if not isfinite(value) or not low <= value <= high:
        raise BadInputError(f"{name} is {value:g}: give a value from {low:g} to {high:g}")
