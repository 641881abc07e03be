"""Numbers as people write them: `2s`, `50ms`, `20/s`, `32k`, `98%`, `$4.50`; each refused when it cannot be meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import click

from sizewell.specs.errors import BadInputError

_NUMBER = re.compile(
    r"\s*\$?\s*([+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/$]*)\s*", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a quantity measures: its units as factors to the base unit, and the range that can be meant.

    The unit `""` is a bare number; where it is absent a unit must be given. `example` shows how to write one.
    """

    name: str
    units: Mapping[str, float]
    low: float
    high: float
    example: str
    whole: bool = False

    def parse(self, text: object) -> float:
        """Return `text` in the base unit; raises BadInputError on anything else than one finite number in range."""
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise BadInputError(f"{text!r} is no {self.name}: write e.g. {self.example}")
        match = _NUMBER.fullmatch(str(text)[:80])
        if match is None:
            raise BadInputError(f"{str(text)[:80]!r} is no {self.name}: write e.g. {self.example}")
        if match[2] not in self.units:
            raise BadInputError(f"{str(text)!r} is no {self.name}: its unit is one of {self._unit_names()}")
        return self._checked(float(match[1].replace("_", "")) * self.units[match[2]], str(text))

    def _checked(self, value: float, text: str) -> float:
        if not isfinite(value) or not self.low <= value <= self.high:
            raise BadInputError(f"{text!r} is out of range: a {self.name} lies from {self.low:g} to {self.high:g}")
        if self.whole and value != int(value):
            raise BadInputError(f"{text!r} is not whole: write e.g. {self.example}")
        return value

    def _unit_names(self) -> str:
        return ", ".join(unit or "(none)" for unit in self.units)


_K = {"": 1.0, "k": 1e3, "K": 1e3, "Ki": 1024.0, "M": 1e6, "Mi": 1024.0**2}

DURATION = Measure(
    name="duration",
    units={"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0},
    low=1e-6,
    high=1e6,
    example="2s or 50ms",
)
RATE = Measure(
    name="rate",
    units={"": 1.0, "/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600},
    low=1e-6,
    high=1e6,
    example="20/s",
)
TOKENS = Measure(name="token count", units=_K, low=0.0, high=1e7, example="1000 or 32k")
COUNT = Measure(name="count", units=_K, low=1, high=1e7, example="8", whole=True)
USERS = Measure(name="number of users", units=_K, low=1, high=1e7, example="64")
FACTOR = Measure(name="factor", units={"": 1.0, "x": 1.0, "%": 0.01}, low=0.01, high=1000, example="1.5")
FRACTION = Measure(name="fraction", units={"": 1.0, "%": 0.01}, low=0.0, high=1.0, example="0.98 or 98%")
SHARE = Measure(name="share", units={"": 1.0, "%": 0.01}, low=0.01, high=1.0, example="0.9 or 90%")
USD = Measure(name="USD amount", units={"": 1.0, "$": 1.0, "k": 1e3}, low=0.0, high=1e9, example="$25.50")
POWER_KW = Measure(name="power", units={"": 1.0, "kW": 1.0, "W": 1e-3, "MW": 1e3}, low=1e-3, high=1e6, example="20kW")
SEED = Measure(name="seed", units={"": 1.0}, low=0, high=2**53, example="7", whole=True)
SIGMA = Measure(name="sigma", units={"": 1.0}, low=0.0, high=5.0, example="0.6")
SPEED = Measure(name="speed in tokens/s", units={"": 1.0, "/s": 1.0}, low=1e-3, high=1e6, example="20")
BYTES = Measure(
    name="size",
    units={"GB": 1e9, "GiB": 2.0**30, "TB": 1e12, "TiB": 2.0**40, "MB": 1e6, "MiB": 2.0**20},
    low=0.0,
    high=1e15,
    example="64GiB",
)


class Quantity(click.ParamType[float]):
    """A click parameter type for one Measure."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.name = measure.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Return the value in base units, or fail with the measure's own words."""
        try:
            parsed = self.measure.parse(value)
        except BadInputError as error:
            self.fail(str(error), param, ctx)
        return int(parsed) if self.measure.whole else parsed

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show an example instead of a type name."""
        del param, ctx
        return self.measure.example.split(" or ")[0]
