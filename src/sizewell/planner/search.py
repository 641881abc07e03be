"""The whole search: which families exist, what holds, in which order, and why the rest does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sizewell.planner.candidates import cuts
from sizewell.planner.columns import Column, Rows, Yard
from sizewell.planner.decided import decided_by
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import Trial
from sizewell.planner.facts import Facts
from sizewell.planner.nearest import Nearest
from sizewell.planner.plan import Answer, Gate, Rejection
from sizewell.planner.question import Question
from sizewell.planner.ranking import Ranking
from sizewell.planner.settle import Settler
from sizewell.planner.support import engine_runs, format_runs
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import BadInputError

MAX_GPUS = 64
"""Accelerators of a replica tried when no limit is given."""


def answer(question: Question, facts: Facts, top: int = 10) -> Answer:
    """Return the plans that hold, best first, one for each accelerator, the frontier, and every rejected family.

    Raises BadInputError when the facts hold no machine or the request exceeds the model's context.
    """
    _refuse_impossible(question, facts)
    families = [
        family for yard, engine in _yards(question, facts) for family in _families(question, facts, yard, engine)
    ]
    ranking = Ranking([column for family in families for column in family.found], question)
    settled = Settler(question=question, demand=Demand.of(question), facts=facts)
    plans = tuple(settled.plan(*ranking.at(index)) for index in ranking.best_per_gpu(top))
    return Answer(
        question=question,
        plans=plans,
        frontier=tuple(settled.plan(*ranking.at(index)) for index in ranking.frontier()),
        rejections=_rejections(families, ranking.families()),
        decided_by=decided_by(question, facts, plans),
        candidates=ranking.size + int(sum(family.nearest.tried.sum() for family in families)),
    )


def _refuse_impossible(question: Question, facts: Facts) -> None:
    if not facts.machines:
        raise BadInputError("no machine to search: allow at least one accelerator the catalogue knows")
    asked, most = question.workload.context_tokens, question.model.max_context_tokens
    if asked > most:
        raise BadInputError(
            f"a request of {asked:,.0f} tokens is longer than the {most:,} tokens {question.model.name} was made for"
        )


def _yards(question: Question, facts: Facts) -> Iterator[tuple[Yard, EngineSpec]]:
    """Group machines by the first engine that runs on them."""
    allowed = set(question.limits.gpu_keys)
    taken: set[int] = set()
    for name, engine in facts.engines.items():
        own = [
            index
            for index, machine in enumerate(facts.machines)
            if index not in taken and engine_runs(name, machine.gpu) and (not allowed or machine.gpu.key in allowed)
        ]
        taken.update(own)
        if own:
            machines = [facts.machines[index] for index in own]
            yield Yard.of(machines, facts, engine, question.price_basis), engine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """All candidates of one weight format on the machines of one engine."""

    yard: Yard
    weight_format: str
    nearest: Nearest
    found: tuple[Column, ...]


def _families(question: Question, facts: Facts, yard: Yard, engine: EngineSpec) -> Iterator[_Family]:
    demand = Demand.of(question)
    for weight_format in question.weight_formats:
        nearest = Nearest.of(len(yard.machines))
        rows = _runnable(question, yard, engine, weight_format, nearest)
        rows = _good_enough(question, facts, weight_format, rows, nearest)
        found: list[Column] = []
        trial = Trial(
            question=question, demand=demand, yard=yard, engine=engine, weight_format=weight_format, rows=rows,
            nearest=nearest,
        )  # fmt: skip
        for cut in cuts(question.model, question.limits.max_gpus or MAX_GPUS) if rows.size else ():
            found += trial.columns(cut)
        yield _Family(yard=yard, weight_format=weight_format, nearest=nearest, found=tuple(found))


def _runnable(question: Question, yard: Yard, engine: EngineSpec, weight_format: str, nearest: Nearest) -> Rows:
    stored = question.model.weight_format if weight_format == "native" else weight_format
    runs = np.array([format_runs(engine.name, stored, machine.gpu) for machine in yard.machines])
    lacking = np.flatnonzero(~runs)
    nearest.fail(
        "format", lacking, np.ones(lacking.size),
        lambda at: f"{engine.name} has no {stored} kernels for {yard.machines[lacking[at]].gpu.architecture}",
    )  # fmt: skip
    return np.flatnonzero(runs)


def _good_enough(question: Question, facts: Facts, weight_format: str, rows: Rows, nearest: Nearest) -> Rows:
    """Keep a format whose published recovery meets the floor; without any publication it does not."""
    floor = question.limits.min_recovery_fraction
    if floor is None or weight_format == "native":
        return rows
    known = facts.quality.recovery(weight_format, question.model.name, question.model.parameters)
    if known is not None and known.fraction >= floor:
        return rows
    reason = facts.quality.why_none(weight_format)
    if known is not None:
        kept = f"{known.fraction:.1%} of the score ({known.results} published results)"
        reason = f"{weight_format} keeps {kept}, floor {floor:.1%}"
    nearest.fail("quality", rows, np.ones(rows.size), lambda _: reason)
    return rows[:0]


@dataclass(frozen=True, slots=True)
class _Miss:
    rank: int
    shortage: float
    gate: Gate
    reason: str

    @property
    def nearness(self) -> tuple[int, float]:
        return self.rank, -self.shortage


def _rejections(families: Sequence[_Family], held: set[tuple[str, str]]) -> tuple[Rejection, ...]:
    """Return one rejection for each accelerator and format without a plan: the reason of its nearest candidate."""
    nearest: dict[tuple[str, str], _Miss] = {}
    tried: dict[tuple[str, str], int] = {}
    for family in families:
        for index, machine in enumerate(family.yard.machines):
            key = (machine.gpu.key, family.weight_format)
            reason = family.nearest.reason(index)
            if reason is None or key in held:
                continue
            miss = _Miss(int(family.nearest.gate[index]), float(family.nearest.shortage[index]), *reason)
            tried[key] = tried.get(key, 0) + int(family.nearest.tried[index])
            if key not in nearest or miss.nearness > nearest[key].nearness:
                nearest[key] = miss
    return tuple(
        Rejection(
            family=f"{gpu}, {weight_format}", gate=miss.gate, reason=miss.reason, candidates=tried[gpu, weight_format]
        )
        for (gpu, weight_format), miss in sorted(nearest.items())
    )
