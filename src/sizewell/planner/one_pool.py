"""The fewest replicas of one pool that hold when they are played: what two pools have to beat.

A search counts the replicas of the first candidate that holds, and leaves a cut for others once it missed; beside pairs
that would make splitting look better than it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

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


def best_of_one(settled: Settler, ranking: Ranking, accelerators: Collection[str]) -> Plan | None:
    """Return the best plan of one pool on some accelerators; None where no number of replicas holds."""
    objective, best = settled.question.objective, None
    for candidates in ranking.by_accelerator(SEEN):
        if ranking.machine(candidates[0]).gpu.key not in accelerators:
            continue
        for index in _distinct(ranking, candidates):
            found = _fewest(settled, Counted.of(settled, *ranking.at(index)), best)
            if found and (best is None or rank_of(found, objective) < rank_of(best, objective)):
                best = found
    return best


def _distinct(ranking: Ranking, candidates: Sequence[int]) -> list[int]:
    """Return the first candidate of each of the best cuts, wherever experts lie."""
    kept: dict[object, int] = {}
    for index in candidates:
        variant = ranking.at(index)[0].variant
        kept.setdefault((replace(variant.cut, ep=1), variant.formats), index)
    return list(kept.values())[:CUTS]


def _fewest(settled: Settler, found: Counted, best: Plan | None) -> Plan | None:
    """Return the plan of a candidate with the fewest replicas that hold, more than it has where it must be; None where
    they keep no limit on size or price, or cannot be the best.
    """
    missed, trial = 0, found
    for _ in range(GROWN + 1):
        if _is_beaten(settled, trial, best):
            return None
        if trial.rehearsal.holds:
            plan = fewer_that_hold(settled, trial, missed)[-1].plan(settled)
            return plan if affordable(plan, settled.question.limits) else None
        missed, more = trial.replicas, more_replicas(settled, trial)
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
