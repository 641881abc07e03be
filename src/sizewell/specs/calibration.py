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


def is_fraction(name: str) -> bool:
    """Return whether a factor is a share of a stated rate."""
    return name.startswith(FRACTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Named factors, and for some tags (`vendor:amd`, `class:consumer`, `engine:sglang`) other values.

    Names end in their unit (`_s`, `_rows`, `_tokens`); those that start with `flops_`, `hbm_` or `link_` are shares
    of a stated rate. Among several matching tags the last one in the file wins. `scales` multiply what was found so
    far, every matching tag for itself; a scaled share stays at most 1. `measured` are the tags of accelerators and
    engines that evidence came from; predictions for others are less sure.
    Raises BadInputError for a share outside (0, 1], a scale that is not positive or a tag on an unknown factor.
    """

    name: str
    factors: Mapping[str, Factor]
    overrides: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)
    measured: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for tag, table in {"": self.factors, **self.overrides}.items():
            for name, factor in table.items():
                self._check(tag, name, factor)
        for tag, table in self.scales.items():
            for name, factor in table.items():
                if name not in self.factors or not factor.value > 0:
                    raise BadInputError(
                        f"calibration {self.name}: {tag} scales {name!r} by {factor.value:g}; "
                        "scale a known factor by a positive number"
                    )

    def _check(self, tag: str, name: str, factor: Factor) -> None:
        if name not in self.factors:
            raise BadInputError(f"calibration {self.name}: {tag} overrides {name!r}, which is no factor; remove it")
        if factor.value < 0 or (is_fraction(name) and not 0 < factor.value <= 1):
            raise BadInputError(f"calibration {self.name}: {name} is {factor.value:g}; a share lies in (0, 1]")

    def values(self, tags: Iterable[str]) -> dict[str, float]:
        """Return every factor's value for something that carries `tags`."""
        chosen = {name: factor.value for name, factor in self.factors.items()}
        held = set(tags)
        for tag, table in self.overrides.items():
            if tag in held:
                chosen.update((name, factor.value) for name, factor in table.items())
        for tag, table in self.scales.items():
            if tag in held:
                chosen.update((name, _scaled(name, chosen[name], factor)) for name, factor in table.items())
        return chosen

    def value(self, name: str, tags: Iterable[str] = ()) -> float:
        """Return one factor's value."""
        return self.values(tags)[name]

    def spread(self, name: str) -> float:
        """Return the spread of a factor."""
        return self.factors[name].spread


def _scaled(name: str, value: float, scale: Factor) -> float:
    return min(value * scale.value, 1.0) if is_fraction(name) else value * scale.value
