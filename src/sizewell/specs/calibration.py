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

KERNEL_PARAMETERS = ("fixed_s", "depth_s", "unit_s", "row_share", "hbm_share", "flops_share", "pad_rows")
"""What describes a kernel class: see costs/kernels.py."""

LINK_PARAMETERS = ("fixed_s", "rank_s", "phase_s", "small_share", "large_share")
"""What describes a collective: see costs/collectives.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How long one class of kernels or messages takes as a function of its shape: a few named parameters.

    Names end in their unit, or in `_share` (of a stated rate, in (0, 1]). `spread` is the error that 80 % of the
    measurements stay within, as in Factor.
    """

    parameters: Mapping[str, float]
    spread: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Named factors, and for some tags (`vendor:amd`, `class:consumer`, `engine:sglang`) other values.

    Names end in their unit (`_s`, `_rows`, `_tokens`); those that start with `flops_`, `hbm_` or `link_` are shares
    of a stated rate. Among several matching tags the last one in the file wins.
    `curves` are those of kernels and collectives, by class and within it by tag; tags joined by `+` must all match
    (`architecture:hopper+engine:trtllm`), the empty one matches everything, and again the last match wins.
    Raises BadInputError for a share outside (0, 1] or an override of an unknown factor.
    """

    name: str
    factors: Mapping[str, Factor]
    overrides: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = {"": self.factors, **self.overrides}
        for tag, table in tables.items():
            for name, factor in table.items():
                self._check(tag, name, factor)
        for name, curves in self.curves.items():
            for tag, curve in curves.items():
                self._check_curve(name, tag, curve)

    def _check(self, tag: str, name: str, factor: Factor) -> None:
        if name not in self.factors:
            raise BadInputError(f"calibration {self.name}: {tag} overrides {name!r}, which is no factor; remove it")
        if factor.value < 0 or (name.startswith(FRACTIONS) and not 0 < factor.value <= 1):
            raise BadInputError(f"calibration {self.name}: {name} is {factor.value:g}; a share lies in (0, 1]")

    def _check_curve(self, name: str, tag: str, curve: Curve) -> None:
        known = set(curve.parameters)
        if known not in (set(KERNEL_PARAMETERS), set(LINK_PARAMETERS)):
            raise BadInputError(f"calibration {self.name}: curve {name} of {tag!r} has {', '.join(sorted(known))}")
        for parameter, value in curve.parameters.items():
            if value < 0 or (parameter.endswith("_share") and not 0 < value <= 1):
                raise BadInputError(
                    f"calibration {self.name}: {parameter} of {name} is {value:g}; a share lies in (0, 1]"
                )

    def curve(self, name: str, tags: Iterable[str]) -> Curve:
        """Return the curve of a class for something that carries `tags`; KeyError where there is none at all."""
        held = {"", *tags}
        found = [curve for tag, curve in self.curves[name].items() if held.issuperset(tag.split("+"))]
        return found[-1]

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
