"""All candidates that hold, side by side, and their order under an objective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.planner.candidates import Machine
from sizewell.planner.columns import Column, Rows, Shape
from sizewell.planner.pareto import frontier
from sizewell.planner.question import Objective, Question


class Ranking:
    """All candidates that hold, side by side."""

    def __init__(self, columns: Sequence[Column], question: Question) -> None:
        self.columns = columns
        self.objective: Objective = question.objective
        self.output_tokens = question.workload.output_tokens
        self.column = np.repeat(np.arange(len(columns)), [len(c.rows) for c in columns])
        self.row = np.concatenate([np.arange(len(c.rows)) for c in columns]) if columns else np.array([], int)
        self.tpot = self._all("tpot_s")
        self.e2e = self._all("ttft_s") + max(self.output_tokens - 1, 1.0) * self.tpot
        self.gpus = self._all("gpus")
        self.usd = self._all("usd_per_hour")
        self.tokens_per_s = self._all("requests_per_s") * self.output_tokens
        self.watts = self._all("watts")

    @property
    def size(self) -> int:
        """How many candidates hold."""
        return len(self.row)

    def at(self, index: int) -> tuple[Column, int]:
        """Return the column and the position in it of a candidate."""
        return self.columns[self.column[index]], int(self.row[index])

    def machine(self, index: int) -> Machine:
        """Return the machine of a candidate."""
        column, row = self.at(index)
        machine: Machine = column.yard.machines[column.rows[row]]
        return machine

    def order(self) -> Rows:
        """Return all candidates, best first; ties go to fewer GPUs, price, own format, speed."""
        quantized = np.array([c.variant.formats.weight != "native" for c in self.columns], dtype=np.float64)
        tie = quantized[self.column] if self.size else np.array([])
        return np.lexsort((self.e2e, tie, self.usd, self.gpus, self._score()))

    def best_per_gpu(self, top: int, each: int = 1) -> list[list[int]]:
        """Return the best candidates of each of the best `top` accelerators, best first.

        `each` accelerator has at most so many, no two of one cut, format and number of replicas.
        """
        chosen: dict[str, dict[Shape, int]] = {}
        for index in map(int, self.order()):
            column, row = self.at(index)
            key = column.yard.machines[column.rows[row]].gpu.key
            if key not in chosen and len(chosen) == top:
                continue
            alike = column.shape(row)
            mine = chosen.setdefault(key, {})
            if len(mine) < each:
                mine.setdefault(alike, index)
            elif len(chosen) == top and all(len(found) == each for found in chosen.values()):
                break
        return [list(found.values()) for found in chosen.values()]

    def families(self) -> set[tuple[str, str]]:
        """Return accelerator and weight format of everything that holds."""
        return {
            (column.yard.machines[row].gpu.key, column.variant.formats.weight)
            for column in self.columns
            for row in np.unique(column.rows)
        }

    def frontier(self) -> list[int]:
        """Return the candidates nothing beats in speed per user and cost per token, fastest first; priced ones only."""
        if not self.size:
            return []
        per_token = self.usd / self.tokens_per_s
        known = np.flatnonzero(np.isfinite(per_token))
        return [int(known[i]) for i in frontier(1 / self.tpot[known], per_token[known])]

    def _score(self) -> Floats:
        by_objective: dict[Objective, Floats] = {
            "cheapest": self.usd,
            "cheapest-per-token": self.usd / self.tokens_per_s,
            "fastest": self.e2e,
            "fewest-gpus": self.gpus,
            "greenest": self.watts / self.tokens_per_s,
        }
        return by_objective[self.objective]

    def _all(self, name: str) -> Floats:
        parts = [getattr(column, name) for column in self.columns]
        return np.concatenate(parts) if parts else np.array([], dtype=np.float64)
