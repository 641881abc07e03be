"""The fewest replicas that hold when they are played.

A closed form may ask for more than that, or for less, and a search tries replicas in steps; a plan says how few do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor

import numpy as np

from sizewell.planner.columns import Column, Shape
from sizewell.planner.evaluate import TOKEN_BUDGETS
from sizewell.planner.plan import Plan
from sizewell.planner.ranking import Ranking
from sizewell.planner.rehearsal import Rehearsal
from sizewell.planner.settle import Draft, Settler
from sizewell.planner.steady_state import Limits, Overheads, rates
from sizewell.specs.deployment import Formats, Parallelism

PLAYS = 4
"""Plays of one candidate with fewer replicas."""
GROWTH = 1.5
"""Most by which replicas that miss are raised at once: a queue that has grown says little of how many would do."""
CLOSE = 0.03
"""Share of the replicas to which the edge is found, a replica at least."""

SURE, NEAR = 1.05, 2.0
"""Means of a closed form over their limits up to which a play may find that they are kept: of tokens, and of waits and
pipelines.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """A candidate with its replicas counted out, and what happens to it under its load once somebody asks."""

    draft: Draft
    settled: Settler

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """It as it is played."""
        return self.settled.rehearsed(self.draft)

    @property
    def replicas(self) -> int:
        """How many there are."""
        return self.draft.deployment.pools[0].replicas

    @property
    def identity(self) -> tuple[str, Shape]:
        """What tells it from others, settings aside: its accelerator and its shape."""
        return self.draft.deployment.cluster.gpu.key, self.draft.column.shape(self.draft.row)

    @property
    def kind(self) -> tuple[Parallelism, Formats, int]:
        """What it has in common with itself under other numbers of replicas: cut, formats, token budget."""
        variant = self.draft.column.variant
        return variant.cut, variant.formats, self.draft.column.budget

    def may_hold(self) -> bool:
        """Return whether a play may show that it holds where the closed form says that it does not.

        Batches decode in a play as in a closed form, unless a pipeline cuts them up: who misses a limit on tokens by
        more than `SURE` still does. How long prompts wait is where the two differ, up to `NEAR` times.
        """
        service, demand = self.draft.service, self.settled.demand
        ttft, tpot = np.array(service.ttft_s.value), np.array(service.tpot_s.value)
        sure = NEAR if self.draft.column.variant.cut.pp > 1 else SURE
        return bool(demand.worst_ratio(ttft, tpot) <= NEAR and demand.worst_ratio(0 * ttft, tpot) <= sure)

    def plan(self) -> Plan:
        """Return the plan it makes."""
        return self.settled.plan(self.draft, self.rehearsal)

    @classmethod
    def of(cls, settled: Settler, column: Column, row: int = 0) -> Counted:
        """Return a candidate as it is played."""
        return cls(draft=settled.draft(column, row), settled=settled)

    def with_replicas(self, count: int, *, roomy: bool = False) -> Counted | None:
        """Return the same with other replicas, whether its means keep the limits in closed form or not; None where
        size, price or power do not. Its token budget is the best one, or if `roomy` that which leaves most cache.
        """
        settled, column, variant = self.settled, self.draft.column, self.draft.column.variant
        rows = column.rows[self.draft.row : self.draft.row + 1]
        trial = settled.trial(column.yard, variant.engine, variant.formats.weight, rows)
        settings = [
            replace(variant.settings, max_num_batched_tokens=tokens) for tokens in (column.budget, *TOKEN_BUDGETS)
        ]
        variants = [replace(variant, settings=each) for each in dict.fromkeys(settings)]
        rooms = [float(trial.room(each, rows, trial.rank_memories(each, rows))[0]) for each in variants]
        least = max(1.0, *rooms) if roomy else 1.0
        most = max(float(column.most_users_per_replica[self.draft.row]), (settled.demand.users or 0.0) / count)
        kept: list[Column] = []
        for each, room, table in zip(variants, rooms, trial.tables(variants, rows), strict=True):
            most_held = Limits(max_sequences=min(room, each.settings.max_num_seqs * each.cut.dp))
            steady = rates(table, most_held, Overheads.settled(table))
            shared = trial.shared(each, rows, steady, (np.array([[float(count)]]), np.array([most])))
            kept += trial.within_limits(shared, np.array([[room >= least]]))
        return Counted.of(settled, kept[int(Ranking(kept, settled.question).order()[0])]) if kept else None


def fewer_that_hold(held: Counted, missed: int) -> list[Counted]:
    """Return a candidate that holds, and after it what holds of it with fewer and fewer replicas; `missed` do not.

    Where speed is the objective there is nothing to look for. Of independent arrivals as many are kept as the closed
    form asks for, unless those missed: fewer would be used more than a plan counts on.
    """
    low = too_few(held, missed)
    found, lost = [held], False
    for _ in range(0 if held.settled.question.objective == "fastest" else PLAYS):
        most = found[-1].replicas
        if most - low <= max(1, CLOSE * most):
            break
        count = (low + most) // 2 if lost else min(max(_enough(found), low + 1), most - 1)
        tried = held.with_replicas(_full(count, held.rehearsal))
        lost = tried is None or not tried.rehearsal.holds
        if tried is None or lost:
            low = count
        else:
            found.append(tried)
    return found


def more_replicas(missed: Counted) -> Counted | None:
    """Return a candidate that missed with as many replicas as its play asks for; None where they keep no limit on size,
    price or power, or the objective is speed.
    """
    if missed.settled.question.objective == "fastest":
        return None
    rehearsal, count = missed.rehearsal, missed.replicas
    if rehearsal.unit == "users" and rehearsal.overloads:
        same = missed.with_replicas(count, roomy=True)
        if same is None or not same.rehearsal.overloads:
            return same
        return missed.with_replicas(ceil(rehearsal.load / same.rehearsal.most), roomy=True)
    asked = rehearsal.load / rehearsal.most if rehearsal.overloads else count * rehearsal.stated.strain
    full = _full(ceil(min(asked, GROWTH * count)), rehearsal)
    return missed.with_replicas(max(full, count + 1))


def too_few(held: Counted, missed: int = 0) -> int:
    """Return the most replicas that need no play: they missed, or cannot decode all users at once, or are fewer than a
    plan for independent arrivals asks for.
    """
    rehearsal = held.rehearsal
    if rehearsal.unit != "users":
        return missed or held.replicas - 1
    limit = held.draft.column.variant.settings.max_num_seqs
    return max(missed, ceil(rehearsal.load / rehearsal.most_within(limit)) - 1)


def _full(count: int, rehearsal: Rehearsal) -> int:
    """Return as many replicas or fewer, the fullest of which has as many users as that of `count`."""
    return ceil(rehearsal.load / ceil(rehearsal.load / count)) if rehearsal.unit == "users" else count


def _enough(found: Sequence[Counted]) -> int:
    """Return how many replicas take all of the limit that is nearest, by a line through the last two plays.

    A line through one play and nothing at all finds too many rather than too few: a step takes time without load.
    """
    seen = {0.0: 0.0, **{each.rehearsal.share: each.rehearsal.stated.strain for each in found}}
    (less, lower), (share, strain) = list(seen.items())[-2:]
    slope = (strain - lower) / (share - less)
    rehearsal = found[-1].rehearsal
    most = share + (1 - strain) / slope + 1e-9 if slope > 0 else rehearsal.load
    return ceil(rehearsal.load / (floor(most) if rehearsal.unit == "users" else most))
