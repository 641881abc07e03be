"""All candidates that hold, side by side, and their order under an objective."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.planner.candidates import Machine
from sizewell.planner.columns import Column, Rows, Shape
from sizewell.planner.objective import Merits
from sizewell.planner.pareto import frontier
from sizewell.planner.question import Objective, Question
from sizewell.specs.deployment import Formats, Parallelism


class Ranking:
    """All candidates that hold, side by side."""

    def __init__(self, columns: Sequence[Column], question: Question) -> None:
        self.columns = columns
        self.objective: Objective = question.objective
        self.output_tokens = question.workload.output_tokens
        self.column = np.repeat(np.arange(len(columns)), [len(c.rows) for c in columns])
        self.row = np.concatenate([np.arange(len(c.rows)) for c in columns]) if columns else np.array([], int)
        self.tpot = self._all("tpot_s")
        self.merits = Merits(
            gpus=self._all("gpus"),
            usd_per_hour=self._all("usd_per_hour"),
            purchase_usd=self._all("purchase_usd"),
            power_w=self._all("watts"),
            e2e_s=self._all("ttft_s") + max(self.output_tokens - 1, 1.0) * self.tpot,
            output_tokens_per_s=self._all("requests_per_s") * self.output_tokens,
        )

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
        """Return all candidates, best first; ties go to fewer GPUs, price, own format on accelerators alone, speed."""
        return self._order

    @cached_property
    def _order(self) -> Rows:
        # Weights in host memory cost so much time that their format is no reason to take more of it.
        compromised = np.array(
            [c.variant.formats.weight != "native" or c.variant.settings.offload_bytes > 0 for c in self.columns], float
        )
        tie = compromised[self.column] if self.size else np.array([])
        merits = self.merits
        return np.lexsort((merits.e2e_s, tie, merits.usd_per_hour, merits.gpus, merits.score(self.objective)))

    def score(self, index: int) -> float:
        """Return how good a candidate is under the objective; the least is best."""
        return float(self.merits.score(self.objective)[index])

    def by_accelerator(self, each: int) -> Iterator[list[int]]:
        """Yield the best candidates of every accelerator, best first, accelerators in the order of their best one.

        An accelerator has at most `each`, no two of one cut, format and number of replicas.
        """
        order = self.order()
        keys = self._gpu_keys[order]
        for key in dict.fromkeys(keys.tolist()):
            found: dict[Shape, int] = {}
            for index in map(int, order[keys == key]):
                column, row = self.at(index)
                found.setdefault(column.shape(row), index)
                if len(found) == each:
                    break
            yield list(found.values())

    def kinds(self, gpu_key: str) -> list[int]:
        """Return the best candidate of each cut and format of an accelerator, best first."""
        order = self.order()
        here = order[self._gpu_keys[order] == gpu_key]
        _, firsts = np.unique(self.column[here], return_index=True)
        found: dict[tuple[Parallelism, Formats], int] = {}
        for index in map(int, here[np.sort(firsts)]):
            variant = self.columns[self.column[index]].variant
            found.setdefault((variant.cut, variant.formats), index)
        return list(found.values())

    @cached_property
    def _gpu_keys(self) -> NDArray[np.str_]:
        """The accelerator of each candidate."""
        yards = {id(column.yard): column.yard for column in self.columns}
        keys = {at: np.array([machine.gpu.key for machine in yard.machines]) for at, yard in yards.items()}
        parts = [keys[id(column.yard)][column.rows] for column in self.columns]
        return np.concatenate(parts) if parts else np.array([], dtype=np.str_)

    def families(self) -> set[tuple[str, str]]:
        """Return accelerator and weight format of everything that holds."""
        return {
            (column.yard.machines[row].gpu.key, column.variant.formats.weight)
            for column in self.columns
            for row in np.unique(column.rows)
        }

    def identity(self, index: int) -> tuple[str, Shape]:
        """Return what tells a candidate from others, settings aside: its accelerator and its shape."""
        column, row = self.at(index)
        return self.machine(index).gpu.key, column.shape(row)

    def frontier(self, missed: Collection[tuple[str, Shape]] = ()) -> list[int]:
        """Return the candidates nothing beats in speed per user and cost per token, fastest first; priced ones only,
        and none of those that `missed`.
        """
        if not self.size:
            return []
        per_token = self.merits.usd_per_million_tokens
        known = np.flatnonzero(np.isfinite(per_token))
        while True:
            found = [int(known[i]) for i in frontier(1 / self.tpot[known], per_token[known])]
            failed = [index for index in found if self.identity(index) in missed]
            if not failed:
                return found
            known = np.setdiff1d(known, failed)

    def _all(self, name: str) -> Floats:
        parts = [getattr(column, name) for column in self.columns]
        return np.concatenate(parts) if parts else np.array([], dtype=np.float64)
