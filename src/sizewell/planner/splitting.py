"""Split pools searched: a closed form sizes every pair of cuts, the best few are played, and the cheapest that holds is
set beside the plans of one pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from sizewell.costs.machines import Machines, Reached
from sizewell.planner.candidates import MOST_GPUS, cuts
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import USABLE_RATE, Trial
from sizewell.planner.halves import paired_halves
from sizewell.planner.one_pool import best_of_one
from sizewell.planner.pairing import Pair, pairs
from sizewell.planner.performance import affordable, believed, has_room, rank_of
from sizewell.planner.plan import Plan, SplitAnswer
from sizewell.planner.question import Limits
from sizewell.planner.ranking import Ranking
from sizewell.planner.rehearsal import Rehearsal
from sizewell.planner.settle import Settler
from sizewell.planner.split_reasons import closer, why_none, why_not, why_so
from sizewell.planner.support import hands_over
from sizewell.planner.two_pools import Played, deployment_of, play, split_plan
from sizewell.specs.deployment import Parallelism
from sizewell.traffic.workload import Slo

PAIRS = 4
"""Pairs of one accelerator that are played, cheapest first."""
PLAYS = 12
"""Plays of one accelerator at most."""
ACCELERATORS = 5
"""Accelerators whose pairs are played, so that a few hold."""
SHOWN = 3
"""Accelerators with a plan after which no more are played."""
TRIES = 3
"""Times a pair is played with more and more replicas before it is given up."""
MOST_NODES = 100_000
"""Nodes when size is no limit."""
NO_ENGINE = (
    "No split: llama.cpp hands no cache over, nor does vLLM before 0.10, and no other engine runs these weights on "
    "what is allowed."
)


def search_splits(settled: Settler, trials: Sequence[Trial], ranking: Ranking, plans: Sequence[Plan]) -> SplitAnswer:
    """Return the best plans of two pools, one for each accelerator, and what they gain over the best one of one pool:
    of `plans`, or of what is in the `ranking` once its replicas are counted as closely.
    """
    one = Parallelism()
    able = [trial for trial in trials if hands_over(trial.engine, one, one) and trial.rows.size]
    if not able:
        return SplitAnswer(plans=(), one_pool=None, helps=False, reasons=(NO_ENGINE,), candidates=0)
    found = [pair for trial in able for pair in _pairs(settled, trial)]
    if not found:
        return SplitAnswer(plans=(), one_pool=None, helps=False, reasons=_none(settled, able), candidates=0)
    by_accelerator: dict[str, list[Pair]] = {}
    for pair in sorted(found, key=lambda pair: pair.order):
        by_accelerator.setdefault(pair.machine.gpu.key, []).append(pair)
    held: list[Plan] = []
    missed: list[Played] = []
    for ranked in list(by_accelerator.values())[:ACCELERATORS]:
        audition = _Audition(settled)
        best = audition.best(_distinct(ranked))
        held += [best] if best else []
        missed += audition.missed
        if len(held) == SHOWN:
            break
    question, objective = settled.question, settled.question.objective
    held.sort(key=lambda plan: rank_of(plan, objective))
    kinds = {plan.deployment.cluster.gpu.key for plan in (*held[:1], *plans)}
    counted = best_of_one(settled, ranking, kinds)
    ones = [*plans, *([counted.plan()] if counted else [])]
    whole = min(ones, key=lambda plan: rank_of(plan, objective), default=None)
    helps = bool(held) and (whole is None or rank_of(held[0], objective)[0] < rank_of(whole, objective)[0])
    say = why_so(held[0], whole, question) if helps else why_not(held, whole, missed, question)
    say += closer(whole, plans, question)
    return SplitAnswer(plans=tuple(held), one_pool=whole, helps=helps, reasons=say, candidates=len(found))


def _pairs(settled: Settler, trial: Trial) -> Iterator[Pair]:
    """Yield the pairs of a family that hold in closed form."""
    network, limits = settled.question.kv_network, settled.question.limits
    reached = trial.yard.reached
    if network is not None:
        clusters = [replace(each, node=replace(each.node, scale_out=network)) for each in reached.machines.clusters]
        reached = Reached.of(Machines.of(clusters), settled.facts.efficiencies, also=trial.engine.tags)
    possible = cuts(
        settled.question.model, limits.max_gpus or MOST_GPUS, trial.engine, trial.memories.weights.weight_format
    )
    for halves in paired_halves(trial, possible, reached):
        yield from pairs(halves, settled.demand, named=network is not None)


def _none(settled: Settler, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Say why no pair holds, by asking again with fewer limits."""
    question, asked = settled.question, settled.question.limits
    any_size = Limits(slo=asked.slo, tokens_per_s_per_user=asked.tokens_per_s_per_user, max_nodes=MOST_NODES)
    later = replace(any_size, slo=Slo(tpot_s=asked.slo.tpot_s, statistic=asked.slo.statistic))
    smallest, soonest = (_best_under(limits, settled, trials) for limits in (any_size, later))
    return why_none(smallest, soonest, question)


def _best_under(limits: Limits, settled: Settler, trials: Sequence[Trial]) -> Pair | None:
    question = replace(settled.question, limits=limits)
    asked = replace(settled, question=question, demand=Demand.of(question))
    again = (replace(trial, question=question, demand=asked.demand) for trial in trials)
    return min((pair for trial in again for pair in _pairs(asked, trial)), key=lambda pair: pair.score, default=None)


def _distinct(ranked: Sequence[Pair]) -> list[Pair]:
    """Return the best pairs, no two of the same cuts and formats, wherever experts lie."""
    kept: dict[object, Pair] = {}
    for pair in ranked:
        cuts = (replace(pair.front.cut, ep=1), replace(pair.back.cut, ep=1))
        kept.setdefault((cuts, pair.back.formats), pair)
        if len(kept) == PAIRS:
            break
    return list(kept.values())


class _Audition:
    """Plays pairs of one accelerator; `missed` are those that did not hold."""

    def __init__(self, settled: Settler) -> None:
        self.settled, self.missed, self.left = settled, list[Played](), PLAYS

    def best(self, ranked: Sequence[Pair]) -> Plan | None:
        """Return the best plan of the pairs; a pair that cannot beat it any more is not played."""
        objective, best = self.settled.question.objective, None
        for pair in ranked:
            if best is not None and pair.score >= rank_of(best, objective)[0]:
                break
            for played in self._holding(pair):
                plan = split_plan(self.settled, played)
                if not affordable(plan, self.settled.question.limits):
                    continue
                if best is None or rank_of(plan, objective) < rank_of(best, objective):
                    best = plan
        return best

    def _holding(self, pair: Pair) -> Iterator[Played]:
        """Yield what holds: the pair with more replicas if it must, with fewer if it may."""
        counts = pair.counts
        for mended in range(TRIES):
            played = self._played(pair, counts)
            if played is None:
                return
            if played.rehearsal.holds:
                yield played
                if not mended:
                    yield from self._fewer(played)
                return
            counts = self._more(played)

    def _fewer(self, held: Played) -> Iterator[Played]:
        """Yield the same with a replica fewer of the pool whose replicas cost more, else of the other."""
        cuts, counts = (held.pair.front.cut.gpus, held.pair.back.cut.gpus), held.counts
        for pool in sorted((0, 1), key=lambda each: -cuts[each]):
            fewer = counts[pool] - 1
            most = 1.0 if self.settled.demand.users else USABLE_RATE
            if fewer < 1 or held.busy[pool] * counts[pool] / fewer > most:
                continue
            played = self._played(held.pair, (fewer, counts[1]) if pool == 0 else (counts[0], fewer))
            if played is not None and played.rehearsal.holds:
                yield played
                return

    def _played(self, pair: Pair, counts: tuple[int, int]) -> Played | None:
        deployment = deployment_of(self.settled, pair, counts)
        if not self.left or not has_room(deployment, self.settled.question.limits):
            return None
        self.left -= 1
        played = play(self.settled, pair, deployment)
        if played is not None and not played.rehearsal.holds:
            self.missed.append(played)
        return played

    def _more(self, played: Played) -> tuple[int, int]:
        """Return more replicas for the pool that missed a limit, or for the busier one where both may have: as many as
        the closed form asks for once it is corrected by what the play showed.
        """
        missed = _worst(played.rehearsal)
        prefill = missed == "ttft" if missed in ("ttft", "tpot") else played.busy[0] > played.busy[1]
        if played.rehearsal.overloads and played.rehearsal.unit == "users":
            prefill = False
        counts, least = played.counts, max(played.counts[0 if prefill else 1], 1)
        for added in range(1, least + 1):
            counts = (counts[0] + 1, counts[1]) if prefill else (counts[0], counts[1] + 1)
            if missed is None or added == least or self._enough(played, counts, missed):
                break
        return counts

    def _enough(self, played: Played, counts: tuple[int, int], missed: str) -> bool:
        """Return whether a limit that was missed is believed to be kept with so many replicas."""
        (limit,) = (one for one in played.rehearsal.stated.score.limits if one.name.endswith(missed))
        if limit.value_s is None:
            return True
        before = getattr(played.found.given, f"{missed}_s").value
        after = getattr(believed(self.settled, deployment_of(self.settled, played.pair, counts)), f"{missed}_s").value
        return bool(limit.value_s * after / before <= limit.limit_s)


def _worst(found: Rehearsal) -> str | None:
    """Return the limit that was missed by most, `ttft` or another; None where none was."""
    missed = [limit for limit in found.stated.score.limits if not limit.held]
    worst = max(missed, key=lambda one: (one.value_s or inf) / one.limit_s, default=None)
    return worst.name.split()[-1] if worst else None
