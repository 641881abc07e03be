"""What is believed of a calibration before any measurement: one multiplier for a factor, on machines with a tag.

A belief is normal in the logarithm: a multiplier of 1 is expected, exp(±spread) is one standard deviation away. The
multiplier of a tag comes on top of the one of everything (the empty tag), so that a tag without evidence stays with
its parent: that is the shrinkage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sizewell.specs.calibration import Efficiencies, Factor, is_fraction

Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-3
"""A multiplier closer to 1 than this is not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """How far a factor may lie from its starting value, on everything or on what carries `tag`."""

    factor: str
    spread: float
    tag: str = ""

    @property
    def name(self) -> str:
        """Return e.g. `host_step_s` or `engine:vllm host_step_s`."""
        return f"{self.tag} {self.factor}".strip()


def factor_arrays(
    reference: Efficiencies, beliefs: Sequence[Belief], logs: Floats, tags: Iterable[str]
) -> dict[str, Floats]:
    """Return every factor of something that carries `tags` under M sets of multipliers; `logs` [M, P] → arrays [M].

    Shares of stated rates stay at most 1, whatever the multiplier.
    """
    held = {"", *tags}
    found = {name: np.full(len(logs), value) for name, value in reference.values(held).items()}
    for at, belief in enumerate(beliefs):
        if belief.tag in held:
            found[belief.factor] = found[belief.factor] * np.exp(logs[:, at])
    return {name: np.minimum(values, 1.0) if is_fraction(name) else values for name, values in found.items()}


def revised(
    reference: Efficiencies, beliefs: Sequence[Belief], logs: Floats, spreads: Floats, source: str
) -> Efficiencies:
    """Return the reference with fitted multipliers: of everything into the factors, of a tag beside them.

    `logs` and `spreads` have shape [P]; a spread is what is left unknown after the fit.
    """
    factors = dict(reference.factors)
    scales: dict[str, dict[str, Factor]] = {tag: dict(table) for tag, table in reference.scales.items()}
    overrides = {tag: dict(table) for tag, table in reference.overrides.items()}
    for belief, log, spread in zip(beliefs, logs, spreads, strict=True):
        times = float(np.exp(log))
        if belief.tag and abs(times - 1) > NEGLIGIBLE:
            table = scales.setdefault(belief.tag, {})
            times *= table[belief.factor].value if belief.factor in table else 1.0
            table[belief.factor] = Factor(value=_rounded(times), spread=_rounded(spread), source=source)
        elif not belief.tag:
            factors[belief.factor] = _times(factors[belief.factor], belief.factor, times, float(spread), source)
            for table in overrides.values():
                if belief.factor in table:
                    table[belief.factor] = _times(table[belief.factor], belief.factor, times, float(spread), source)
    return replace(reference, factors=factors, overrides=overrides, scales=scales)


def _times(factor: Factor, name: str, times: float, spread: float, source: str) -> Factor:
    value = min(factor.value * times, 1.0) if is_fraction(name) else factor.value * times
    return Factor(value=_rounded(value), spread=_rounded(spread), source=source)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
