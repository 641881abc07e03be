"""What kernels, links and engines really reach of what their makers state: beliefs, kept apart from facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sizewell.specs.errors import BadInputError

FRACTIONS = ("flops_", "hbm_", "link_")
"""Factors whose names start so are shares of a maker's rate: above 1 a prediction would beat physics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One number: its value, its multiplicative spread (0.2: from value/1.2 to value×1.2) and where it comes from."""

    value: float
    spread: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Named factors, and for some tags (`vendor:amd`, `class:consumer`, `engine:sglang`) other values.

    Names end in their unit (`_s`, `_rows`, `_tokens`); those that start with `flops_`, `hbm_` or `link_` are shares
    of a stated rate. Among several matching tags the last one in the file wins.
    Raises BadInputError for a share outside (0, 1] or an override of an unknown factor.
    """

    name: str
    factors: Mapping[str, Factor]
    overrides: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = {"": self.factors, **self.overrides}
        for tag, table in tables.items():
            for name, factor in table.items():
                self._check(tag, name, factor)

    def _check(self, tag: str, name: str, factor: Factor) -> None:
        if name not in self.factors:
            raise BadInputError(f"calibration {self.name}: {tag} overrides {name!r}, which is no factor; remove it")
        if factor.value < 0 or (name.startswith(FRACTIONS) and not 0 < factor.value <= 1):
            raise BadInputError(f"calibration {self.name}: {name} is {factor.value:g}; a share lies in (0, 1]")

    def values(self, tags: Iterable[str]) -> dict[str, float]:
        """Return every factor's value for something that carries `tags`."""
        chosen = {name: factor.value for name, factor in self.factors.items()}
        held = set(tags)
        for tag, table in self.overrides.items():
            if tag in held:
                chosen.update((name, factor.value) for name, factor in table.items())
        return chosen

    def value(self, name: str, tags: Iterable[str] = ()) -> float:
        """Return one factor's value."""
        return self.values(tags)[name]

    def spread(self, name: str) -> float:
        """Return the spread of a factor."""
        return self.factors[name].spread
