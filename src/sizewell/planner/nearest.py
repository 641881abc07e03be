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

    `shortage` compares candidates at one gate: the smaller the nearer. Why is told by number `teller` of `tellers` of
    their `position`.
    """

    gate: NDArray[np.int64]
    shortage: NDArray[np.float64]
    teller: NDArray[np.int64]
    position: NDArray[np.int64]
    tried: NDArray[np.int64]
    tellers: list[Explain] = field(default_factory=list)

    @classmethod
    def of(cls, machines: int) -> Nearest:
        """Return a tracker that has seen no candidate of any machine."""
        return cls(
            gate=np.full(machines, -1),
            shortage=np.full(machines, np.inf),
            teller=np.full(machines, -1),
            position=np.full(machines, -1),
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
        self.teller[chosen], self.position[chosen] = len(self.tellers), np.flatnonzero(nearer)
        self.tellers.append(explain)

    def reason(self, machine: int) -> tuple[Gate, str] | None:
        """Return the gate and the sentence of a machine's nearest candidate; None when none failed there."""
        if self.gate[machine] < 0:
            return None
        return GATES[self.gate[machine]], self.tellers[self.teller[machine]](int(self.position[machine]))
