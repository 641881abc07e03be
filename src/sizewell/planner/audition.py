"""Candidates played before they are called plans: a closed form ranks them, a simulation decides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import ceil

import numpy as np

from sizewell.planner.columns import Column, Shape
from sizewell.planner.evaluate import TOKEN_BUDGETS
from sizewell.planner.pareto import frontier
from sizewell.planner.plan import Plan, Rejection
from sizewell.planner.ranking import Ranking
from sizewell.planner.reasons import simulated_reason
from sizewell.planner.rehearsal import Rehearsal
from sizewell.planner.replicas import Counted, fewer_that_hold, more_replicas
from sizewell.planner.settle import Draft, Settler

TRIES = 6
"""Candidates of one accelerator that are played, if the better ones do not hold."""

LATER_TRIES = 2
"""The same of accelerators that are only played because those before them did not hold."""

CUTS = 3
"""Other cuts of an accelerator that are tried with fewer replicas than their closed forms ask for."""

MOST_PLAYED = 60
"""Candidates played after which an answer goes without the plans it still lacks, unless it has none at all."""

MOST_OF_FRONTIER, USUAL_TOKENS = 8, 1e5
"""Points of the frontier that are played because the closed form believes too much of them; fewer where requests are
longer than usual, because a play takes as long as its caches are.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audition:
    """The first candidate of an accelerator that held when it was played, or the last one that did not.

    `played` is the candidate, and after it what held of it with fewer replicas; `missed` are the shapes that did not.
    """

    played: Sequence[Counted]
    tried: int
    missed: frozenset[Shape]

    @property
    def draft(self) -> Draft:
        """The candidate with the fewest replicas that hold."""
        return self.played[-1].draft

    @property
    def rehearsal(self) -> Rehearsal:
        """What happens to it."""
        return self.played[-1].rehearsal

    @property
    def holds(self) -> bool:
        """Whether it held."""
        return self.rehearsal.holds

    @property
    def gpu_key(self) -> str:
        """The accelerator."""
        return self.identity[0]

    @property
    def identity(self) -> tuple[str, Shape]:
        """What tells it from others, settings aside."""
        return self.played[-1].identity

    def score(self, settled: Settler) -> float:
        """Return how good it is under the objective; the least is best."""
        return Ranking([self.draft.column], settled.question).score(self.draft.row)

    def rejection(self) -> Rejection:
        """Return what spoke against the last one."""
        deployment, missed = self.draft.deployment, simulated_reason(self.rehearsal.stated)
        pool = deployment.pools[0]
        return Rejection(
            family=f"{deployment.cluster.gpu.key}, {deployment.weight_format}", gate="speed", candidates=self.tried,
            reason=f"{missed} with {pool.replicas} × {pool.parallelism}",
        )  # fmt: skip


def hold_auditions(settled: Settler, ranking: Ranking, top: int) -> list[Audition]:
    """Play accelerators, the best first, until `top` of them hold that none left would beat: what only seems cheap
    must not hide the rest.
    """
    found: list[Audition] = []
    for candidates in ranking.by_accelerator(TRIES):
        held = sorted(each.score(settled) for each in found if each.holds)
        enough = len(held) >= top and ranking.score(candidates[0]) >= held[top - 1]
        if enough or (held and sum(each.tried for each in found) >= MOST_PLAYED):
            break
        each = _audition(settled, ranking, candidates, TRIES if len(found) < top else LATER_TRIES)
        found.append(_cut_otherwise(settled, ranking, each) if each.holds else each)
    return found


def _audition(settled: Settler, ranking: Ranking, candidates: Sequence[int], tries: int) -> Audition:
    """Play candidates of one accelerator, best first, until one holds.

    One that misses waits with as many replicas as its play asks for, until nothing better is left. Another token budget
    makes room for more users, but does not mend a limit that was missed: it is not tried then.
    """
    turns = _Turns(settled=settled, ranking=ranking, waiting=list(candidates))
    for tried in count(1):
        played = turns.next()
        found = Audition(played=[played], tried=tried, missed=turns.shapes)
        if not found.holds:
            turns.miss(played, again=tried < tries)
        # What becomes of the last one is told, whether it holds or not.
        last = tried == tries or not turns.left
        if played.rehearsal.stated.holds if last else found.holds:
            break
        if last:
            return replace(found, missed=turns.shapes)
    return replace(found, played=fewer_that_hold(played, _most_missed(played, turns.lost)))


def hold_tight(settled: Settler, tight: Ranking, top: int) -> list[Audition]:
    """Play candidates that have as many replicas as limits on size, price or power allow, until `top` accelerators
    hold; return those.
    """
    found: list[Audition] = []
    for candidates in tight.by_accelerator(TRIES):
        for tried, (column, row) in enumerate(map(tight.at, candidates), 1):
            played = Counted.of(settled, column.alone(row)).with_replicas(int(column.replicas[row]))
            if played and played.rehearsal.holds:
                found.append(Audition(played=fewer_that_hold(played, 0), tried=tried, missed=frozenset()))
                break
        if len(found) == top:
            break
    return found


def _cut_otherwise(settled: Settler, ranking: Ranking, held: Audition) -> Audition:
    """Return what held or, where another cut holds on fewer accelerators when it is played, that.

    A closed form ranks a cut by the replicas it asks for, of which hardly any may be needed.
    """
    least, tried = held.draft, 0
    for index in ranking.kinds(held.gpu_key) if settled.question.objective != "fastest" else ():
        column, row = ranking.at(index)
        variant, count = column.variant, ceil(least.column.gpus[least.row] / column.variant.cut.gpus) - 1
        if not 1 <= count < column.replicas[row] or (variant.cut, variant.formats) == held.played[-1].kind[:2]:
            continue
        fewer = Counted.of(settled, column.alone(row)).with_replicas(count)
        if fewer and fewer.may_hold() and fewer.rehearsal.holds:
            return replace(held, played=[*held.played, *fewer_that_hold(fewer, 0)])
        tried += 1
        if tried == CUTS:
            break
    return held


@dataclass(slots=True, kw_only=True)
class _Turns:
    """Who is played next: candidates that are `waiting`, best first, and those `raised` to more replicas by a play.

    `missed` are shapes not to be tried under a token budget, `lost` what did not hold.
    """

    settled: Settler
    ranking: Ranking
    waiting: list[int]
    raised: list[Counted] = field(default_factory=list)
    lost: list[Counted] = field(default_factory=list)
    missed: set[tuple[Shape, int]] = field(default_factory=set)

    @property
    def left(self) -> bool:
        """Whether anything is left to play."""
        return bool(self.waiting or self.raised)

    @property
    def shapes(self) -> frozenset[Shape]:
        """Shapes that did not hold."""
        return frozenset(shape for shape, _ in self.missed)

    def next(self) -> Counted:
        """Return the best that is left; a candidate that waits is refined first."""
        columns = [each.draft.column for each in self.raised]
        if self.waiting:
            column, row = self.ranking.at(self.waiting[0])
            columns.append(column.alone(row))
        best = int(Ranking(columns, self.settled.question).order()[0])
        if best < len(self.raised):
            return self.raised.pop(best)
        column, row = self.ranking.at(self.waiting.pop(0))
        return Counted.of(self.settled, _refined(self.settled, column, row, self.missed))

    def miss(self, played: Counted, *, again: bool) -> None:
        """Note what did not hold; it is raised where it may be played `again`."""
        self.lost.append(played)
        budget = played.kind[-1]
        budgets = (budget,) if played.rehearsal.overloads else (*TOKEN_BUDGETS, budget)
        self.missed.update((played.identity[1], each) for each in budgets)
        more = more_replicas(played) if again else None
        self.raised += [more] if more else []


def _most_missed(played: Counted, lost: Sequence[Counted]) -> int:
    """Return the most replicas that missed of the same cut, formats and token budget."""
    return max((each.replicas for each in lost if each.kind == played.kind), default=0)


def _refined(settled: Settler, column: Column, row: int, missed: Collection[tuple[Shape, int]] = ()) -> Column:
    """Return the candidate alone, under the token budget and with the replicas that serve the objective best."""
    variant = column.variant
    trial = settled.trial(column.yard, variant.engine, variant.formats.weight, column.rows[:0])
    return trial.refined(column, row, missed)


def played_frontier(settled: Settler, ranking: Ranking, auditions: Sequence[Audition]) -> tuple[Plan, ...]:
    """Return the plans nothing beats in speed and cost per token, fastest first.

    What was played is worth what the play showed. Pipelines are played here, the fullest first: micro-batches of a
    closed form are all alike, those of an engine are not.
    """
    held = {one.identity: one.plan() for each in auditions if each.holds for one in each.played}
    known = {*held, *((each.gpu_key, shape) for each in auditions for shape in each.missed)}
    asked = settled.demand.context_tokens
    for _ in range(ceil(MOST_OF_FRONTIER * min(1.0, USUAL_TOKENS / asked))):
        piped = (index for index in reversed(ranking.frontier(known)) if ranking.at(index)[0].variant.cut.pp > 1)
        index = next(piped, None)
        if index is None:
            break
        known.add(ranking.identity(index))
        played = Counted.of(settled, _refined(settled, *ranking.at(index)))
        if played.rehearsal.holds:
            held[played.identity] = played.plan()
    drawn = [settled.plan(settled.draft(*ranking.at(index))) for index in ranking.frontier(known)]
    return _unbeaten([*(replace(plan, details=None, rehearsal=None) for plan in held.values()), *drawn])


def _unbeaten(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    costs = [plan.cost.usd_per_million_output_tokens for plan in plans]
    priced = [(plan, usd) for plan, usd in zip(plans, costs, strict=True) if usd is not None]
    speeds = np.array([plan.service.tokens_per_s_per_user for plan, _ in priced])
    return tuple(priced[index][0] for index in frontier(speeds, np.array([usd for _, usd in priced])))
