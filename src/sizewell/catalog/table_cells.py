"""The cells of a row of a published table: numbers within what can be meant, else a complaint that names the column."""

from __future__ import annotations

from collections.abc import Mapping

MOST, MOST_TOKENS = 1e7, 1e9
"""Requests and tokens above which a count is a slip of the hand, and nothing could be played for it."""


class Cells:
    """One row by column. Readers return None for an empty cell and raise ValueError for what cannot be meant."""

    def __init__(self, raw: Mapping[str, str | None]) -> None:
        self.raw = raw

    def text(self, column: str) -> str:
        """Return what a cell holds, without blanks around it."""
        return (self.raw.get(column) or "").strip()

    def number(self, column: str, low: float = 0.0, high: float = float("inf")) -> float | None:
        """Return a finite number from `low` to `high`."""
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{column} is {text!r}, expected a number") from None
        if not (low <= value <= high and value < float("inf")):
            raise ValueError(f"{column} is {text}, expected a number from {low:g}" + (f" to {high:g}" * (high < 1e300)))
        return value

    def whole(self, column: str) -> int | None:
        """Return a whole number; 0 says no more than an empty cell."""
        return int(self.number(column, 0, MOST_TOKENS) or 0) or None
