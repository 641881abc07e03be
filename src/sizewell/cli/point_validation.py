"""Measured points, each figure beside its prediction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sizewell.planner.accuracy import Comparison
from sizewell.specs.errors import BadInputError


def compare_points(path: Path) -> Iterator[tuple[Comparison, ...]]:
    """Refuse a table of measured points: nothing predicts them yet."""
    raise BadInputError(f"{path}: a table of measured points; only memory tables are predicted so far")
