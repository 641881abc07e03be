"""The fewest replicas of one pool that hold when they are played: what two pools have to beat.

A search tries replicas in steps and leaves a cut alone once it missed; beside pairs whose replicas are counted one by
one that would make splitting look better than it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil

from sizewell.planner.performance import Performance, affordable, has_room, perform, plan_of, rank_of
from sizewell.planner.plan import Plan
from sizewell.planner.ranking import Ranking
from sizewell.planner.settle import Draft, Settler
from sizewell.specs.deployment import Deployment

CUTS = 4
"""Cuts of one accelerator that are played, best first."""
PLAYS = 6
"""Plays of one cut."""
CLOSE = 0.03
"""Share of its replicas to which the edge is found, a replica at least."""
SEEN = 24
"""Candidates of an accelerator among which its cuts are found."""
GROWTH = 1.3


def best_of_one(settled: Settler, ranking: Ranking, accelerators: Collection[str]) -> Plan | None:
    """Return the best plan of one pool on some accelerators; None where no number of replicas holds."""
    objective, best = settled.question.objective, None
    for candidates in ranking.by_accelerator(SEEN):
        if ranking.machine(candidates[0]).gpu.key not in accelerators:
            continue
        for index in _distinct(ranking, candidates):
            found = _Counting(settled, settled.draft(*ranking.at(index)), best).fewest()
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


@dataclass(frozen=True, slots=True)
class _Counting:
    """One cut, played with more replicas than the closed form asks for, or fewer; `best` is to be beaten.

    Of independent arrivals fewer would be used more than a plan counts on.
    """

    settled: Settler
    draft: Draft
    best: Plan | None

    def fewest(self) -> Plan | None:
        """Return the plan with the fewest replicas seen to hold."""
        asked = self.draft.deployment.pools[0].replicas
        found, low, high = None, (asked - 1) // 2 if self.settled.demand.users else asked - 1, 0
        count = next((count for count in range(asked, low, -1) if self._may_be_best(self._deployment(count))), 0)
        for _ in range(PLAYS if count else 0):
            performance = self._performance(count)
            if performance is None:
                break
            if performance.rehearsal.holds:
                found, high = performance, count
            else:
                low = max(low, count)
            if high and high - low <= max(1, CLOSE * high):
                break
            count = (low + high) // 2 if high else ceil(GROWTH * low)
        return self._plan(found) if found else None

    def _performance(self, count: int) -> Performance | None:
        """Return what happens to so many replicas; None where they keep no limit on size or could not be best."""
        deployment = self._deployment(count)
        if not self._may_be_best(deployment):
            return None
        return perform(self.settled, deployment, (self.draft.column.yard, self._row), (self.draft.held,))

    @property
    def _row(self) -> int:
        return int(self.draft.column.rows[self.draft.row])

    def _deployment(self, count: int) -> Deployment:
        (pool,) = self.draft.deployment.pools
        machine = self.draft.column.yard.machines[self._row]
        cluster = machine.cluster_for(pool.parallelism, count, pool.settings.offload_bytes)
        return replace(self.draft.deployment, cluster=cluster, pools=(replace(pool, replicas=count),))

    def _may_be_best(self, deployment: Deployment) -> bool:
        question, known = self.settled.question, self.best.cost.usd_per_hour if self.best else None
        if known is None or question.objective != "cheapest":
            return has_room(deployment, question.limits)
        price = self.draft.column.yard.prices[self._row]
        dearer = price.usd_per_hour(deployment.gpus, deployment.cluster.nodes) >= known
        return not dearer and has_room(deployment, question.limits)

    def _plan(self, found: Performance) -> Plan | None:
        plan = plan_of(self.settled, found, float(self.draft.column.most_users_per_replica[self.draft.row]), None)
        return plan if affordable(plan, self.settled.question.limits) else None
