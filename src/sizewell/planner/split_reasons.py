"""What splitting gains, or why it does not help, in sentences with the numbers that say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite

from sizewell.planner.pairing import Pair
from sizewell.planner.performance import rank_of
from sizewell.planner.plan import Plan
from sizewell.planner.question import Objective, Question
from sizewell.planner.reasons import simulated_reason
from sizewell.planner.two_pools import Played
from sizewell.specs.deployment import Pool

LONG_WAY = 0.2
"""Share of the time to first token from which on the way of the cache is worth a word."""
IDLE = 0.6
"""Share of its capacity below which a pool counts as idle."""
FEW_PROMPTS = 0.15
"""Share of all work below which prompts hardly disturb decoding."""
ROOMY = 0.85
"""Share of the TPOT limit below which it does not bind."""


UNITS: dict[Objective, str] = {
    "cheapest": "USD/h",
    "cheapest-per-token": "USD per million tokens",
    "fastest": "s to the last token",
    "fewest-gpus": "accelerators",
    "greenest": "J per token",
}


def why_so(best: Plan, whole: Plan | None, question: Question) -> tuple[str, ...]:
    """Say what splitting saves against the best plan of one pool, and where that comes from."""
    first = f"Splitting helps: {_takes(best, question)}; no plan of one pool that was tried holds these limits."
    if whole is not None:
        less = f", {_apart(best, whole, question)} less" if isfinite(_value(whole, question)) else ""
        first = f"Splitting helps: {_takes(best, question)}{less} than {layout(whole)} in one pool."
    return first, _prompts(best, question), _way(best, question)


def _value(plan: Plan, question: Question) -> float:
    return rank_of(plan, question.objective)[0]


def _takes(plan: Plan, question: Question) -> str:
    """Return a plan's pools and what it takes by the objective."""
    return f"{layout(plan)} takes {_said(_value(plan, question), question)} {UNITS[question.objective]}"


def _apart(one: Plan, other: Plan, question: Question) -> str:
    """Return how far two plans are apart, and that as a share of the other."""
    value, base = _value(one, question), _value(other, question)
    return f"{_said(abs(value - base), question)} ({abs(value / base - 1):.0%})"


def _said(value: float, question: Question) -> str:
    return f"{value:,.0f}" if question.objective == "fewest-gpus" else f"{value:,.2f}"


def why_not(held: Sequence[Plan], whole: Plan | None, missed: Sequence[Played], question: Question) -> tuple[str, ...]:
    """Say how far the best split is from the best plan of one pool, and what speaks against it."""
    if held and whole:
        return _compared(held[0], whole, question), *_against(held[0], whole, question)
    if not missed:
        return ("No split holds: what keeps the limits in closed form finds no room for its engines' overhead.",)
    nearest = min(missed, key=lambda played: played.rehearsal.stated.strain)
    pools = _pools(nearest.found.deployment.pools)
    first = f"No split holds: {simulated_reason(nearest.rehearsal.stated)} with {pools}, which came nearest."
    limit = question.limits.slo.ttft_s
    long = limit and nearest.pair.handover_s > LONG_WAY * limit
    return (first, _travels(nearest.pair, question)) if long else (first,)


def why_none(smallest: Pair | None, soonest: Pair | None, question: Question) -> tuple[str, ...]:
    """Say why no pair of cuts keeps the limits: `smallest` is the best without limits on size, price and power,
    `soonest` the best without those on first tokens either.
    """
    if smallest is not None:
        front, back = f"{smallest.counts[0]} × {smallest.front.cut}", f"{smallest.counts[1]} × {smallest.back.cut}"
        return (
            f"No split keeps the limits on size, price and power: the best takes {smallest.gpus} accelerators "
            f"({front} prefill + {back} decode on {smallest.machine.gpu.key}).",
            *((_travels(smallest, question),) if question.kv_network else ()),
        )
    if soonest is not None:
        return _too_late(soonest, question)
    return ("No split keeps the limits: each pool must hold the model and a request, and keep the time per token.",)


def _too_late(pair: Pair, question: Question) -> tuple[str, ...]:
    """Say what a first token takes of a pair that misses no other limit."""
    tokens, limit = question.workload.input_tokens, question.limits.slo.ttft_s
    within, cluster = f" within {limit:.3g} s" if limit else "", pair.cluster
    first = (
        f"No split gives first tokens{within} and keeps the other limits: a prompt of {tokens:,.0f} tokens alone takes "
        f"{pair.alone_s:.2g} s."
    )
    if limit and pair.alone_s + pair.handover_s < limit and cluster.nodes == 1:
        there = question.kv_network or cluster.node.scale_out
        more = f"Others come before it; more replicas than {pair.gpus} accelerators hold are reached over {there.name}."
        return first, _travels(pair, question), more
    return first, _travels(pair, question)


def _travels(pair: Pair, question: Question) -> str:
    node = pair.cluster.node
    between = node.scale_up if pair.cluster.scale_up_gpus >= pair.cluster.gpus else node.scale_out
    tokens, over = question.workload.input_tokens, question.kv_network or between
    return f"The KV transfer of a {tokens:,.0f}-token prompt takes {pair.handover_s:.2g} s over {over.name}."


def closer(whole: Plan | None, plans: Sequence[Plan], question: Question) -> tuple[str, ...]:
    """Say that the best plan of one pool is not the first of the `plans`, where it is not."""
    if whole is None or whole in plans or not plans:
        return ()
    return (
        f"Plan 1, {_takes(plans[0], question)}: a search ends at the first cut that holds; of the others, which were "
        f"played too, {layout(whole)} hold.",
    )


def layout(plan: Plan) -> str:
    """Return the pools of a plan and the accelerators they take."""
    return f"{plan.gpus} × {plan.deployment.cluster.gpu.key} ({_pools(plan.deployment.pools)})"


def _pools(pools: Sequence[Pool]) -> str:
    return " + ".join(f"{pool.replicas} × {pool.parallelism}{_role(pool)}" for pool in pools)


def _role(pool: Pool) -> str:
    return "" if pool.role == "both" else f" {pool.role}"


def _compared(best: Plan, whole: Plan, question: Question) -> str:
    value, other = _value(best, question), _value(whole, question)
    if value == inf:
        return f"Splitting cannot be compared: nobody's price is known for {layout(best)}."
    more = f"{_apart(best, whole, question)} more than" if value > other else "as much as"
    return f"Splitting does not help: at best {_takes(best, question)}, {more} {layout(whole)} in one pool."


def _against(best: Plan, whole: Plan, question: Question) -> Iterator[str]:
    """Yield what speaks against splitting, one sentence at least."""
    use, found = best.pool_use, False
    if whole.deployment.pools[0].replicas == 1:
        yield "Too few replicas to split: one replica of one pool holds the load, two pools take one each at least."
        found = True
    if use and use.handover_s > LONG_WAY * best.service.ttft_s.value:
        yield _way(best, question)
        found = True
    for pool, busy in zip(best.deployment.pools, _busy(best), strict=True):
        if pool.replicas == 1 and busy < IDLE:
            yield f"The {pool.role} pool is busy {busy:.0%} of what it can do and cannot be smaller than a replica."
            found = True
    if _prompt_share(best) < FEW_PROMPTS:
        yield _prompts(best, question)
    elif not found:
        yield _room(whole, question)


def _room(whole: Plan, question: Question) -> str:
    limit, tpot = question.limits.tpot_s, whole.service.tpot_s.value
    if limit is None:
        return "No limit on TPOT binds: prompts that share steps with decoding use what reading weights leaves idle."
    if tpot < ROOMY * limit:
        return f"TPOT has room: one pool keeps {tpot * 1e3:.3g} of {limit * 1e3:.3g} ms with prompts in its steps."
    return "Prompts that share steps with decoding use what reading weights leaves idle."


def _busy(plan: Plan) -> tuple[float, float]:
    use = plan.pool_use
    return (use.prefill_busy_fraction, use.decode_busy_fraction) if use else (1.0, 1.0)


def _prompt_share(plan: Plan) -> float:
    """Return about which share of all work prompts are."""
    work = [
        busy * pool.replicas * pool.parallelism.gpus
        for pool, busy in zip(plan.deployment.pools, _busy(plan), strict=True)
    ]
    return work[0] / sum(work)


def _prompts(plan: Plan, question: Question) -> str:
    share, tokens = _prompt_share(plan), question.workload
    little = "only " if share < FEW_PROMPTS else ""
    return (
        f"Prompts ({tokens.input_tokens:,.0f} tokens in, {tokens.output_tokens:,.0f} out) are {little}{share:.0%} of "
        "the work; apart they do not lengthen the steps of those who decode."
    )


def _way(plan: Plan, question: Question) -> str:
    use, tokens = plan.pool_use, question.workload.input_tokens
    if use is None:
        return ""
    share = use.handover_s / plan.service.ttft_s.value
    return (
        f"The KV transfer of a {tokens:,.0f}-token prompt takes {use.handover_s:.2g} s over {use.network}, "
        f"{share:.0%} of TTFT."
    )
