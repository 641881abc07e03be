"""The fewest replicas of one pool that hold when they are played, whatever the cut.

A search counts the replicas of the first candidate of an accelerator that holds, and leaves a cut for others once it
missed. Other cuts may need less: they are counted on the best plan's accelerator, and on those of two pools, which else
would look better than they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sizewell.planner.audition import Audition
from sizewell.planner.performance import affordable, rank_of
from sizewell.planner.plan import Plan
from sizewell.planner.ranking import Ranking
from sizewell.planner.replicas import Counted, fewer_that_hold, more_replicas, too_few
from sizewell.planner.settle import Settler

CUTS = 4
"""Cuts of one accelerator that are played, best first."""
GROWN = 2
"""Times a cut that misses is given more replicas."""
SEEN = 24
"""Candidates of an accelerator among which its cuts are found."""


def recounted(settled: Settler, ranking: Ranking, auditions: Sequence[Audition]) -> list[Audition]:
    """Return the auditions, the best with the cut that needs least where another than its own does."""
    holding = [at for at, each in enumerate(auditions) if each.holds]
    if not holding or settled.question.objective == "fastest":
        return list(auditions)
    columns = [auditions[at].draft.column for at in holding]
    place = holding[int(Ranking(columns, settled.question).order()[0])]
    best = auditions[place]
    if best.played[-1].replicas == 1:
        return list(auditions)
    found = best_of_one(settled, ranking, {best.gpu_key}, best.played[-1])
    again = replace(best, played=[*best.played, found]) if found else best
    return [*auditions[:place], again, *auditions[place + 1 :]]


def best_of_one(
    settled: Settler, ranking: Ranking, accelerators: Collection[str], known: Counted | None = None
) -> Counted | None:
    """Return what is best of one pool on some accelerators; None where nothing is better than what is `known`."""
    objective, best = settled.question.objective, known.plan() if known else None
    better: Counted | None = None
    for candidates in ranking.by_accelerator(SEEN):
        if ranking.machine(candidates[0]).gpu.key not in accelerators:
            continue
        for index in _distinct(ranking, candidates):
            found = _fewest(settled, Counted.of(settled, *ranking.at(index)), best)
            plan = found.plan() if found else None
            if plan is None or not affordable(plan, settled.question.limits):
                continue
            if best is None or rank_of(plan, objective) < rank_of(best, objective):
                best, better = plan, found
    return better


def _distinct(ranking: Ranking, candidates: Sequence[int]) -> list[int]:
    """Return the first candidate of each of the best cuts, wherever experts lie."""
    kept: dict[object, int] = {}
    for index in candidates:
        variant = ranking.at(index)[0].variant
        kept.setdefault((replace(variant.cut, ep=1), variant.formats), index)
    return list(kept.values())[:CUTS]


def _fewest(settled: Settler, found: Counted, best: Plan | None) -> Counted | None:
    """Return a candidate with the fewest replicas that hold, more than it has where it must be; None where they keep no
    limit on size or price, or cannot be the best.
    """
    missed, trial = 0, found
    for _ in range(GROWN + 1):
        if _is_beaten(settled, trial, best):
            return None
        if trial.rehearsal.holds:
            return fewer_that_hold(trial, missed)[-1]
        missed, more = trial.replicas, more_replicas(trial)
        if more is None:
            return None
        trial = more
    return None


def _is_beaten(settled: Settler, found: Counted, best: Plan | None) -> bool:
    """Return whether even as few replicas as have room for all users cost more than the best plan."""
    known = best.cost.usd_per_hour if best else None
    if known is None or settled.question.objective != "cheapest":
        return False
    column, least = found.draft.column, too_few(found) + 1
    return bool(column.usd_per_hour[found.draft.row] / found.replicas * least >= known)
