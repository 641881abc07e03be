"""The whole search: which families exist, what holds, in which order, and why the rest does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.rank_memory import RankMemories
from sizewell.costs.weights import Weights
from sizewell.planner.audition import Audition, hold_auditions, hold_tight, played_frontier
from sizewell.planner.candidates import MOST_GPUS, Machine, cuts
from sizewell.planner.columns import Column, Mask, Rows, Yard
from sizewell.planner.decided import decided_by
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import Trial
from sizewell.planner.facts import Facts
from sizewell.planner.nearest import Nearest
from sizewell.planner.one_pool import recounted
from sizewell.planner.plan import Answer, Gate, Rejection
from sizewell.planner.question import Question
from sizewell.planner.ranking import Ranking
from sizewell.planner.settle import Settler
from sizewell.planner.splitting import search_splits
from sizewell.planner.step_table import StepWorks
from sizewell.planner.support import engine_runs, format_runs, lacks_arithmetic
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import BadInputError
from sizewell.specs.weight_format import kept_format

NOBODY = np.array([], dtype=np.intp)


def answer(question: Question, facts: Facts, top: int = 10) -> Answer:
    """Return the plans that hold, best first, one for each accelerator, the frontier, and every rejected family.

    A plan has held in a simulation, too; an accelerator of which none does is a rejection.
    Raises BadInputError when the facts hold no machine or the request exceeds the model's context.
    """
    _refuse_impossible(question, facts)
    demand = Demand.of(question)
    settled = Settler(
        question=question, demand=demand, facts=facts, works=StepWorks(question.model, demand.lengths),
        memories={name: RankMemories(Weights(question.model, name)) for name in _kept_formats(question, facts)},
    )  # fmt: skip
    families = list(_families(settled))
    ranking = Ranking([column for family in families for column in family.found], question)
    auditions = recounted(settled, ranking, hold_auditions(settled, ranking, top))
    auditions += _tight(settled, families, auditions, top)
    best = Ranking([each.draft.column for each in auditions if each.holds], question)
    held = {each.identity: each.played[-1].plan() for each in auditions if each.holds}
    shown = {each.gpu_key for each in auditions if each.holds}
    plans = tuple(held[best.identity(index)] for index in map(int, best.order()))[:top]
    trials = [family.trial for family in families]
    return Answer(
        question=question,
        plans=plans,
        frontier=played_frontier(settled, ranking, auditions),
        rejections=(
            *(each.rejection() for each in auditions if each.gpu_key not in shown),
            *_rejections(families, ranking.families() | best.families()),
        ),
        decided_by=decided_by(question, facts, plans),
        candidates=ranking.size + int(sum(family.trial.nearest.tried.sum() for family in families)),
        split=search_splits(settled, trials, ranking, plans) if question.split else None,
    )


def _kept_formats(question: Question, facts: Facts) -> set[str]:
    """Return the formats weights are kept in by some engine."""
    return {kept_format(question.model, name, each) for name in facts.engines for each in question.weight_formats}


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

    trial: Trial
    weight_format: str
    found: tuple[Column, ...]


def _families(settled: Settler) -> Iterator[_Family]:
    """Try each weight format on each machine under the first engine that has kernels for both.

    What is in host memory is tried under an engine that computes there as well: how it is used decides its speed.
    """
    question, facts = settled.question, settled.facts
    allowed = set(question.limits.gpu_keys)
    machines = [machine for machine in facts.machines if not allowed or machine.gpu.key in allowed]
    served = {name: np.zeros(len(machines), dtype=bool) for name in question.weight_formats}
    last = list(facts.engines)[-1] if facts.engines else ""
    for engine in facts.engines.values():
        asked = len(facts.engines) == 1
        runs = np.array([engine_runs(engine, machine.gpu, asked=asked) for machine in machines], dtype=bool)
        if not runs.any() and engine.name != last:
            continue
        yard = Yard.of(machines, facts, engine, question.price_basis)
        for name, taken in served.items():
            has = runs & ~taken & _has_kernels(question, engine, name, machines)
            np.logical_or(taken, has, out=taken)
            without = ~taken if engine.name == last else np.zeros(len(machines), dtype=bool)
            yield _family(settled, yard, _Share(engine, name), (np.flatnonzero(has), np.flatnonzero(without)))
            if question.offload and engine.offload == "computes":
                again = runs & ~has & _has_kernels(question, engine, name, machines)
                yield _family(settled, yard, _Share(engine, name, only_offloaded=True), (np.flatnonzero(again), NOBODY))


@dataclass(frozen=True, slots=True)
class _Share:
    """What is tried together: a weight format under an engine."""

    engine: EngineSpec
    weight_format: str
    only_offloaded: bool = False


def _family(settled: Settler, yard: Yard, share: _Share, rows: tuple[Rows, Rows]) -> _Family:
    """Try a share on the first `rows` of machines; the others are those no engine is left for."""
    question, (fit, unfit) = settled.question, rows
    trial = settled.trial(yard, share.engine, share.weight_format, fit)
    stored = _stored(question, share.weight_format)
    engines = " or ".join(settled.facts.engines)
    trial.nearest.fail(
        "format", unfit, np.ones(unfit.size),
        lambda at: f"{engines} has no {stored} kernels for {yard.machines[unfit[at]].gpu.architecture}",
    )  # fmt: skip
    good = _good_enough(question, settled.facts, share.weight_format, fit, trial.nearest)
    trial = replace(trial, rows=good, only_offloaded=share.only_offloaded)
    found: list[Column] = []
    most = question.limits.max_gpus or MOST_GPUS
    for cut in cuts(question.model, most, share.engine, share.weight_format) if good.size else ():
        found += trial.columns(cut)
    return _Family(trial=trial, weight_format=trial.memories.weights.weight_format, found=tuple(found))


def _tight(settled: Settler, families: Sequence[_Family], auditions: Sequence[Audition], top: int) -> list[Audition]:
    """Return what holds of accelerators that lack a plan with as few replicas as limits on size, price or power allow.

    A closed form that asks for more does not know that these would miss.
    """
    held = {each.gpu_key for each in auditions if each.holds}
    if len(held) >= top:
        return []
    columns = [column.without(held) for family in families for column in family.trial.tight]
    tight = Ranking([column for column in columns if column.rows.size], settled.question)
    return hold_tight(settled, tight, top - len(held)) if tight.size else []


def _has_kernels(question: Question, engine: EngineSpec, weight_format: str, machines: Sequence[Machine]) -> Mask:
    stored = _stored(question, weight_format)
    gpus = (machine.gpu for machine in machines)
    runs = (format_runs(engine.name, stored, gpu) and not lacks_arithmetic(question.model, engine, gpu) for gpu in gpus)
    return np.fromiter(runs, dtype=bool, count=len(machines))


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
        came = family.trial.nearest
        for index, machine in enumerate(family.trial.yard.machines):
            key = (machine.gpu.key, family.weight_format)
            reason = came.reason(index)
            if reason is None or key in held:
                continue
            miss = _Miss(int(came.gate[index]), float(came.shortage[index]), *reason)
            tried[key] = tried.get(key, 0) + int(came.tried[index])
            if key not in nearest or miss.nearness > nearest[key].nearness:
                nearest[key] = miss
    return tuple(
        Rejection(
            family=f"{gpu}, {weight_format}", gate=miss.gate, reason=miss.reason, candidates=tried[gpu, weight_format]
        )
        for (gpu, weight_format), miss in sorted(nearest.items(), key=lambda each: (_reversed(each[1]), each[0]))
    )
