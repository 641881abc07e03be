"""What kernels, links and engines really reach of what their makers state: beliefs, kept apart from facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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


KERNEL_PARAMETERS = (
    "fixed_s", "depth_s", "unit_s", "row_share", "hbm_share", "flops_share", "tile_rows", "pad_rows",
    "plain_rows",
)  # fmt: skip
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

    def __post_init__(self) -> None:
        if set(self.parameters) not in (set(KERNEL_PARAMETERS), set(LINK_PARAMETERS)):
            raise BadInputError(f"a curve has the parameters {', '.join(sorted(self.parameters))}: {self.source}")
        for name, value in self.parameters.items():
            if value < 0 or (name.endswith("_share") and not 0 < value <= 1):
                raise BadInputError(f"{name} of a curve is {value:g}; a share lies in (0, 1]: {self.source}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """How far a curve is off the kernels of one class measured on one accelerator under one engine.

    `median_ln` and `p80_ln` are of |ln(predicted / measured)|, `bias_ln` is the median with its sign; `left_out_*` are
    those of a curve fitted without this accelerator, None where no other was measured.
    """

    kind: str
    gpu: str
    engine: str
    engine_version: str
    rows: int
    median_ln: float
    p80_ln: float
    bias_ln: float
    left_out_median_ln: float | None
    left_out_p80_ln: float | None


Curves = Mapping[str, Mapping[str, Curve]]
"""Curves by class of kernels or messages, and within it by tag."""


def matching_curve(curves: Curves, name: str, tags: Iterable[str]) -> Curve:
    """Return the curve of a class for something that carries `tags`, the last that matches.

    Tags joined by `+` must all match, the empty one matches everything.
    """
    held = {"", *tags}
    return [curve for tag, curve in curves[name].items() if held.issuperset(tag.split("+"))][-1]


def carries(tag: str, held: Collection[str]) -> bool:
    """Return whether something that carries the tags `held` carries a tag; parts joined by `+` must all be there."""
    return tag in held or ("+" in tag and set(tag.split("+")).issubset(held))


def is_fraction(name: str) -> bool:
    """Return whether a factor is a share of a stated rate."""
    return name.startswith(FRACTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Named factors, and for some tags (`vendor:amd`, `class:consumer`, `engine:sglang`) other values.

    Names end in their unit (`_s`, `_rows`, `_tokens`); those that start with `flops_`, `hbm_` or `link_` are shares
    of a stated rate. Among several matching tags the last one in the file wins. `scales` multiply what was found so
    far, every matching tag for itself; a scaled share stays at most 1. Tags joined by `+` match where all parts do.
    `measured` are the tags of accelerators and engines that evidence came from; predictions for others are less sure.
    `owned` are the names of the user's own calibrations, by the tag they scale.
    `curves` are those of kernels and messages; `known` are the values found so far, by tags.
    Raises BadInputError for a share outside (0, 1], a scale that is not positive or a tag on an unknown factor.
    """

    name: str
    factors: Mapping[str, Factor]
    overrides: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, Factor]] = field(default_factory=dict)
    measured: frozenset[str] = frozenset()
    owned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: dict[frozenset[str], dict[str, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        held = frozenset(tags)
        if held not in self.known:
            self.known[held] = self._chosen(held)
        return dict(self.known[held])

    def _chosen(self, held: frozenset[str]) -> dict[str, float]:
        chosen = {name: factor.value for name, factor in self.factors.items()}
        for tag, table in self.overrides.items():
            if carries(tag, held):
                chosen.update((name, factor.value) for name, factor in table.items())
        for tag, table in self.scales.items():
            if carries(tag, held):
                chosen.update((name, _scaled(name, chosen[name], factor)) for name, factor in table.items())
        return chosen

    def calibrated_by(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the user's own calibrations that something with `tags` is scaled by, in the order they were read."""
        held = frozenset(tags)
        return tuple(dict.fromkeys(name for tag, names in self.owned.items() if carries(tag, held) for name in names))

    def value(self, name: str, tags: Iterable[str] = ()) -> float:
        """Return one factor's value."""
        return self.values(tags)[name]

    def spread(self, name: str) -> float:
        """Return the spread of a factor."""
        return self.factors[name].spread


def _scaled(name: str, value: float, scale: Factor) -> float:
    return min(value * scale.value, 1.0) if is_fraction(name) else value * scale.value
