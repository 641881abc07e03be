"""How measured values answer to multipliers: errors and slopes of a prediction that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sizewell.calibrator.beliefs import Belief, Floats, factor_arrays
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import BadInputError

Predict = Callable[[Mapping[str, Floats]], Floats | None]
"""From factors, arrays of shape [M], to ln of K values, shape [K, M]; None for a load that is not stated."""

NUDGE = 0.02
"""ln of the change by which slopes are taken: small beside what is fitted, large beside rounding."""


def answers(
    predict: Predict, reference: Efficiencies, beliefs: Sequence[Belief], logs: Floats, tags: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return ln of the values at multipliers exp(`logs`) [P] and their slopes: shapes [K] and [K, P]."""
    held = {"", *tags}
    active = [at for at, belief in enumerate(beliefs) if belief.tag in held]
    trials = np.repeat(logs[None], len(active) + 1, axis=0)
    trials[np.arange(1, len(active) + 1), active] += NUDGE
    values = predict(factor_arrays(reference, beliefs, trials, tags))
    if values is None:
        raise BadInputError("a measurement does not state its load; add it or leave the row out")
    slopes = np.zeros((len(values), len(beliefs)))
    slopes[:, active] = (values[:, 1:] - values[:, :1]) / NUDGE
    return values[:, 0], slopes
