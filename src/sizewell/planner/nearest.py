"""Which candidate of each family came nearest, so that a rejection can say what was missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from sizewell.planner.plan import Gate

GATES: tuple[Gate, ...] = get_args(Gate)
Explain = Callable[[int], str]
"""Turns the row of a machine into the sentence that says what was missing there."""


@dataclass(slots=True)
class Nearest:
    """For each of M machines the last gate any candidate reached, how far it fell short there, and why.

    `shortage` compares candidates at one gate: the smaller the nearer.
    """

    gate: NDArray[np.int64]
    shortage: NDArray[np.float64]
    why: NDArray[np.object_]
    tried: NDArray[np.int64]
    best: list[Explain] = field(default_factory=list)

    @classmethod
    def of(cls, machines: int) -> Nearest:
        """Return a tracker that has seen no candidate of any machine."""
        return cls(
            gate=np.full(machines, -1),
            shortage=np.full(machines, np.inf),
            why=np.full(machines, -1, dtype=np.int64).astype(object),
            tried=np.zeros(machines, dtype=np.int64),
        )

    def fail(self, gate: Gate, rows: NDArray[np.intp], shortage: NDArray[np.float64], explain: Explain) -> None:
        """Note that candidates on some machines failed a gate; `explain` is called with a position in `rows`."""
        rank = GATES.index(gate)
        self.tried[rows] += 1
        nearer = (self.gate[rows] < rank) | ((self.gate[rows] == rank) & (shortage < self.shortage[rows]))
        chosen = rows[nearer]
        if not chosen.size:
            return
        self.gate[chosen] = rank
        self.shortage[chosen] = shortage[nearer]
        self.best.append(explain)
        at = len(self.best) - 1
        for row, position in zip(chosen, np.flatnonzero(nearer), strict=True):
            self.why[row] = (at, int(position))

    def reason(self, machine: int) -> tuple[Gate, str] | None:
        """Return the gate and the sentence of a machine's nearest candidate; None when none failed there."""
        if self.gate[machine] < 0:
            return None
        at, position = self.why[machine]
        return GATES[self.gate[machine]], self.best[at](position)
