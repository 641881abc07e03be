"""How long texts, thoughts and answers are: fixed, uniform, lognormal, or as observed. Means are met."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, isfinite, log
from statistics import NormalDist
from typing import Protocol

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.bounds import require
from sizewell.traffic.draws import even, even_normals, require_mean_within, rounded, scaled_to_mean
from sizewell.traffic.requests import MOST_TOKENS, Ints

_P99 = NormalDist().inv_cdf(0.99)


class Lengths(Protocol):
    """A distribution of token counts."""

    @property
    def mean_tokens(self) -> float:
        """Mean of the distribution."""

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return `count` lengths, in random order."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same length for all. A fraction, as of a mean: the two whole numbers beside it, so that the mean is met."""

    tokens: float

    def __post_init__(self) -> None:
        require("a fixed length in tokens", self.tokens, low=0, high=MOST_TOKENS)

    @property
    def mean_tokens(self) -> float:
        """The length itself."""
        return self.tokens

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return `count` lengths."""
        return rounded(np.full(count, float(self.tokens)))


NOTHING = Fixed(0)
"""No tokens at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Each whole number from `least_tokens` to `most_tokens` as often as any other."""

    least_tokens: int
    most_tokens: int

    def __post_init__(self) -> None:
        require("the least of a uniform length", self.least_tokens, low=0, high=MOST_TOKENS)
        require("the most of a uniform length", self.most_tokens, low=self.least_tokens, high=MOST_TOKENS)

    @classmethod
    def within(cls, nominal_tokens: float, low_fraction: float = 0.8, high_fraction: float = 1.0) -> Uniform:
        """Return the lengths of harnesses that draw between fractions of a nominal length (InferenceX: 0.8 to 1)."""
        least, most = round(nominal_tokens * low_fraction), round(nominal_tokens * high_fraction)
        return cls(least_tokens=max(1, least), most_tokens=max(1, most))

    @property
    def mean_tokens(self) -> float:
        """Half way between the ends."""
        return (self.least_tokens + self.most_tokens) / 2

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return `count` lengths."""
        values = self.most_tokens - self.least_tokens + 1
        return self.least_tokens + np.floor(even(count, rng) * values).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Many short, few long: the logarithm is normal with `sigma`. Cut to the limits *and still* of the stated mean."""

    mean_tokens: float
    sigma: float
    least_tokens: int = 1
    most_tokens: int = MOST_TOKENS

    def __post_init__(self) -> None:
        require("the sigma of a lognormal length", self.sigma, low=0, high=5)
        require("the least of a lognormal length", self.least_tokens, low=0, high=MOST_TOKENS)
        require("the most of a lognormal length", self.most_tokens, low=self.least_tokens, high=MOST_TOKENS)
        if self.mean_tokens not in (self.least_tokens, self.most_tokens):
            require_mean_within("lognormal lengths", self.mean_tokens, self.least_tokens, self.most_tokens)

    @classmethod
    def through(cls, p50_tokens: float, p99_tokens: float, most_tokens: int = MOST_TOKENS) -> Lognormal:
        """Return the lengths with this median and 99th percentile (before the cut): sigma = ln(p99 / p50) / z(0.99)."""
        if not (isfinite(p50_tokens) and isfinite(p99_tokens) and 0 < p50_tokens <= p99_tokens):
            raise BadInputError(f"a length has p50 {p50_tokens:g} and p99 {p99_tokens:g}: give 0 < p50 <= p99")
        sigma = log(p99_tokens / p50_tokens) / _P99
        return cls(mean_tokens=p50_tokens * exp(sigma**2 / 2), sigma=sigma, most_tokens=most_tokens)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return `count` lengths."""
        if count == 0 or self.mean_tokens in (self.least_tokens, self.most_tokens):
            return rounded(np.full(count, float(self.mean_tokens)))
        free = np.exp(self.sigma * even_normals(count, rng))
        return rounded(scaled_to_mean(free, self.mean_tokens, self.least_tokens, self.most_tokens))


@dataclass(frozen=True, slots=True, eq=False)
class Empirical:
    """As observed [m]: each observed length as often as it was seen, cut to `most_tokens`."""

    observed: Ints
    most_tokens: int = field(default=MOST_TOKENS, kw_only=True)

    def __post_init__(self) -> None:
        if len(self.observed) == 0:
            raise BadInputError("no observed lengths to draw from: give at least one")
        require("the shortest observed length", float(np.min(self.observed)), low=0, high=MOST_TOKENS)

    @property
    def mean_tokens(self) -> float:
        """Mean of what was observed, after the cut."""
        return float(np.mean(np.minimum(self.observed, self.most_tokens)))

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return `count` lengths."""
        ordered = np.sort(np.minimum(self.observed, self.most_tokens))
        lengths: Ints = ordered[(even(count, rng) * len(ordered)).astype(np.int64)].astype(np.int64)
        return lengths
