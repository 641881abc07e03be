"""A number that says where it came from and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provenance = Literal["exact", "measured", "calibrated", "derived", "assumed"]
"""exact: arithmetic on the model's own files; measured: read from a machine; calibrated: fitted to
measurements; derived: roofline with default efficiencies; assumed: somebody's word."""

_RANK: dict[Provenance, int] = {"exact": 0, "measured": 1, "calibrated": 2, "derived": 3, "assumed": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A predicted value with its nominal 80 % interval, in the base unit its field's name states."""

    value: float
    low: float
    high: float
    provenance: Provenance

    @classmethod
    def exact(cls, value: float) -> Figure:
        """Return a figure without spread."""
        return cls(value=value, low=value, high=value, provenance="exact")

    @classmethod
    def spread(cls, value: float, fraction: float, provenance: Provenance) -> Figure:
        """Return `value` with the multiplicative interval value / (1 + fraction) … value × (1 + fraction)."""
        return cls(value=value, low=value / (1 + fraction), high=value * (1 + fraction), provenance=provenance)

    def plus(self, each: Figure, times: float) -> Figure:
        """Return self + times × each; intervals add, as both err for the same reasons."""
        return Figure(
            value=self.value + times * each.value,
            low=self.low + times * each.low,
            high=self.high + times * each.high,
            provenance=each.provenance,
        )


def weakest(*provenances: Provenance) -> Provenance:
    """Return the least certain of several provenances: a sum is as good as its worst term."""
    return max(provenances, key=_RANK.__getitem__)
