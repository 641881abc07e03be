"""The whole search: which families exist, what holds, in which order, and why the rest does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sizewell.costs.weights import Weights
from sizewell.planner.candidates import Machine, cuts
from sizewell.planner.columns import Column, Mask, Rows, Shape, Yard
from sizewell.planner.decided import decided_by
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import TOKEN_BUDGETS, Trial
from sizewell.planner.facts import Facts
from sizewell.planner.nearest import Nearest
from sizewell.planner.plan import Answer, Gate, Plan, Rejection
from sizewell.planner.question import Question
from sizewell.planner.ranking import Ranking
from sizewell.planner.reasons import simulated_reason
from sizewell.planner.settle import Settler
from sizewell.planner.support import engine_runs, format_runs
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import BadInputError

MAX_GPUS = 64
"""Accelerators of a replica tried when no limit is given."""

TRIES = 6
"""Candidates of one accelerator that are played, if the better ones do not hold."""


def answer(question: Question, facts: Facts, top: int = 10) -> Answer:
    """Return the plans that hold, best first, one for each accelerator, the frontier, and every rejected family.

    A plan has held in a simulation, too; an accelerator of which none does is a rejection.
    Raises BadInputError when the facts hold no machine or the request exceeds the model's context.
    """
    _refuse_impossible(question, facts)
    weights = {name: Weights(question.model, name) for name in question.weight_formats}
    families = list(_families(question, facts, weights))
    ranking = Ranking([column for family in families for column in family.found], question)
    settled = Settler(question=question, demand=Demand.of(question), facts=facts, weights=weights)
    auditions = [_audition(settled, ranking, candidates) for candidates in ranking.best_per_gpu(top, TRIES)]
    best = Ranking([each.column for each in auditions if each.holds], question)
    held = [each.plan for each in auditions if each.holds]
    plans = tuple(held[best.column[index]] for index in best.order())
    return Answer(
        question=question,
        plans=plans,
        frontier=tuple(settled.plan(*ranking.at(index), detailed=False) for index in ranking.frontier()),
        rejections=(
            *(each.rejection() for each in auditions if not each.holds),
            *_rejections(families, ranking.families()),
        ),
        decided_by=decided_by(question, facts, plans),
        candidates=ranking.size + int(sum(family.nearest.tried.sum() for family in families)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audition:
    """The first candidate of an accelerator that held when it was played, or the last one that did not."""

    column: Column
    plan: Plan
    tried: int

    @property
    def holds(self) -> bool:
        """Whether it held, as far as it can be played."""
        return self.plan.rehearsal is None or self.plan.rehearsal.stated.holds

    @property
    def overloaded(self) -> bool:
        """Whether more came than it can serve."""
        return self.plan.rehearsal is not None and self.plan.rehearsal.stated.overloaded

    def rejection(self) -> Rejection:
        """Return what spoke against the last one."""
        deployment, scored = self.plan.deployment, self.plan.rehearsal
        pool = deployment.pools[0]
        missed = simulated_reason(scored.stated) if scored else ""
        return Rejection(
            family=f"{deployment.cluster.gpu.key}, {deployment.weight_format}", gate="speed", candidates=self.tried,
            reason=f"{missed} with {pool.replicas} × {pool.parallelism}",
        )  # fmt: skip


def _audition(settled: Settler, ranking: Ranking, candidates: Sequence[int]) -> _Audition:
    """Play candidates of one accelerator, best first, until one holds.

    Another token budget makes room for more users, but does not mend a limit that was missed: it is not tried then.
    """
    missed: set[tuple[Shape, int]] = set()
    for tried, index in enumerate(candidates, start=1):
        column = _refined(settled, *ranking.at(index), missed)
        plan = settled.plan(column, 0, detailed=True)
        found = _Audition(column=column, plan=plan, tried=tried)
        if found.holds:
            break
        budgets = (column.budget,) if found.overloaded else (*TOKEN_BUDGETS, column.budget)
        missed.update((column.shape(0), budget) for budget in budgets)
    return found


def _refined(settled: Settler, column: Column, row: int, missed: Collection[tuple[Shape, int]]) -> Column:
    """Return the candidate alone, under the token budget and with the replicas that serve the objective best."""
    nearest = Nearest.of(len(column.yard.machines))
    trial = Trial(
        question=settled.question, demand=settled.demand, yard=column.yard, engine=column.variant.engine,
        weights=settled.weights[column.variant.formats.weight], rows=column.rows[:0], nearest=nearest,
    )  # fmt: skip
    return trial.refined(column, row, missed)


def _refuse_impossible(question: Question, facts: Facts) -> None:
    if not facts.machines:
        raise BadInputError("no machine to search: allow at least one accelerator the catalogue knows")
    asked, most = question.workload.context_tokens, question.model.max_context_tokens
    if asked > most:
        raise BadInputError(
            f"a request of {asked:,.0f} tokens is longer than the {most:,} tokens {question.model.name} was made for"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """All candidates of one weight format on the machines of one engine."""

    yard: Yard
    weight_format: str
    nearest: Nearest
    found: tuple[Column, ...]


def _families(question: Question, facts: Facts, weights: Mapping[str, Weights]) -> Iterator[_Family]:
    """Try each weight format on each machine under the first engine that has kernels for both."""
    allowed = set(question.limits.gpu_keys)
    machines = [machine for machine in facts.machines if not allowed or machine.gpu.key in allowed]
    served = {name: np.zeros(len(machines), dtype=bool) for name in question.weight_formats}
    last = list(facts.engines)[-1] if facts.engines else ""
    for engine in facts.engines.values():
        asked = len(facts.engines) == 1
        runs = np.array([engine_runs(engine.name, machine.gpu, asked=asked) for machine in machines], dtype=bool)
        if not runs.any() and engine.name != last:
            continue
        yard = Yard.of(machines, facts, engine, question.price_basis)
        for name, taken in served.items():
            has = runs & ~taken & _has_kernels(question, engine, name, machines)
            np.logical_or(taken, has, out=taken)
            without = ~taken if engine.name == last else np.zeros(len(machines), dtype=bool)
            yield _family(question, facts, yard, _Share(engine, weights[name], has, without))


@dataclass(frozen=True, slots=True)
class _Share:
    """What one engine tries of a weight format: the machines it `has`, and those no engine is left for."""

    engine: EngineSpec
    weights: Weights
    has: Mask
    without: Mask


def _family(question: Question, facts: Facts, yard: Yard, share: _Share) -> _Family:
    nearest = Nearest.of(len(yard.machines))
    unfit = np.flatnonzero(share.without)
    weight_format = share.weights.weight_format
    stored = _stored(question, weight_format)
    engines = " or ".join(facts.engines)
    nearest.fail(
        "format", unfit, np.ones(unfit.size),
        lambda at: f"{engines} has no {stored} kernels for {yard.machines[unfit[at]].gpu.architecture}",
    )  # fmt: skip
    rows = _good_enough(question, facts, weight_format, np.flatnonzero(share.has), nearest)
    trial = Trial(
        question=question, demand=Demand.of(question), yard=yard, engine=share.engine,
        weights=share.weights, rows=rows, nearest=nearest,
    )  # fmt: skip
    found: list[Column] = []
    for cut in cuts(question.model, question.limits.max_gpus or MAX_GPUS, share.engine.name) if rows.size else ():
        found += trial.columns(cut)
    return _Family(yard=yard, weight_format=weight_format, nearest=nearest, found=tuple(found))


def _has_kernels(question: Question, engine: EngineSpec, weight_format: str, machines: Sequence[Machine]) -> Mask:
    stored = _stored(question, weight_format)
    return np.array([format_runs(engine.name, stored, machine.gpu) for machine in machines], dtype=bool)


def _stored(question: Question, weight_format: str) -> str:
    return question.model.weight_format if weight_format == "native" else weight_format


def _good_enough(question: Question, facts: Facts, weight_format: str, rows: Rows, nearest: Nearest) -> Rows:
    """Keep a format whose published recovery meets the floor; without any publication it does not."""
    floor = question.limits.min_recovery_fraction
    if floor is None:
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


def _reversed(miss: _Miss) -> tuple[int, float]:
    return -miss.rank, miss.shortage


def _rejections(families: Sequence[_Family], held: set[tuple[str, str]]) -> tuple[Rejection, ...]:
    """Return one rejection for each accelerator and format without a plan, those that came nearest first."""
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
        for (gpu, weight_format), miss in sorted(nearest.items(), key=lambda each: (_reversed(each[1]), each[0]))
    )
