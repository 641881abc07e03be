"""One line of a memory ledger: its bytes, and the formula that gave them with its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.specs.figure import Provenance

Place = Literal["inside", "outside"]
"""Whether the engine takes the bytes out of the share of memory it was given, or beside it."""

Input = tuple[str, float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """Bytes of one rank under a name, with low and high bounds (nominal 80 %) where they are estimated.

    `formula` is a template over the names of `inputs`; an empty one means that the bytes are the sum of the inputs.
    Text is made only when somebody asks, because a search makes many lines and reads few.
    """

    name: str
    bytes: float
    formula: str = ""
    inputs: tuple[Input, ...] = ()
    provenance: Provenance = "exact"
    place: Place = "inside"
    low_bytes: float = -1.0
    high_bytes: float = -1.0

    @property
    def low(self) -> float:
        """Lower bound; the value itself where the line is exact."""
        return self.bytes if self.low_bytes < 0 else self.low_bytes

    @property
    def high(self) -> float:
        """Upper bound; the value itself where the line is exact."""
        return self.bytes if self.high_bytes < 0 else self.high_bytes

    def explain(self) -> str:
        """Return the formula with its numbers in place and the result, e.g. `61 layers × 1,152 B = 70,272 B`."""
        if self.formula:
            body = self.formula.format(**{name: _shown(value) for name, value in self.inputs})
        else:
            body = " + ".join(f"{name} {_shown(value)}" for name, value in self.inputs) or "none"
        return f"{body} = {round(self.bytes):,} B"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
