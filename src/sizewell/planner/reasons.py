"""The sentences of rejections: what was needed, what there is, at which cut."""

from __future__ import annotations

from sizewell.costs.batch import Floats
from sizewell.costs.rank_memory import RankMemory
from sizewell.planner.columns import Variant
from sizewell.planner.demand import Demand
from sizewell.planner.nearest import Explain
from sizewell.planner.rehearsal import Outcome

GIB = 2**30


def memory_reason(variant: Variant, memory: RankMemory, budget_bytes: Floats) -> Explain:
    """Say how many GiB a rank needs before the first cache block, and how many it may use."""
    weights, beside = memory.weight_bytes / GIB, memory.inside_bytes / GIB

    def explain(at: int) -> str:
        has = budget_bytes[at] / GIB
        if weights > has:
            return f"needs {weights:.1f} GiB of weights per GPU at {variant.cut}, may use {has:.1f}"
        needs = f"{weights:.1f} GiB of weights and {beside:.1f} GiB beside them"
        return f"needs {needs} per GPU at {variant.cut}, may use {has:.1f}"

    return explain


def context_reason(variant: Variant, cache_tokens: Floats, context_tokens: float) -> Explain:
    """Say how many tokens of cache are left and how many one request needs."""

    def explain(at: int) -> str:
        return (
            f"the cache holds {cache_tokens[at]:,.0f} tokens at {variant.cut}, one request needs {context_tokens:,.0f}"
        )

    return explain


def speed_reason(variant: Variant, demand: Demand, ttft_s: Floats, tpot_s: Floats, floor_s: Floats) -> Explain:
    """Say which limits one user alone misses, and whether physics already forbids them."""
    gaps = demand.lengths.gaps

    def explain(at: int) -> str:
        ttft, tpot, floor = float(ttft_s[at]), float(tpot_s[at]), float(floor_s[at])
        values = (
            ("TTFT", ttft, demand.ttft_s), ("TPOT", tpot, demand.tpot_s), ("E2E", ttft + gaps * tpot, demand.e2e_s),
            ("TTFA", ttft + demand.think_tokens * tpot, demand.ttfa_s),
        )  # fmt: skip
        missed = "; ".join(f"{name} {value:.3g} s > {bound:.3g} s" for name, value, bound in values if value > bound)
        text = f"one user alone already gets {missed} at {variant.cut}"
        if floor > demand.tpot_s or gaps * floor > demand.e2e_s:
            text += f": beyond physics, reading the weights once takes {floor * 1e3:.3g} ms there"
        return text

    return explain


def load_reason(variant: Variant, replicas: Floats) -> Explain:
    """Say that the limits are missed under the load although one user alone would meet them."""

    def explain(at: int) -> str:
        return f"queues at the stated rate miss the limits with {replicas[at]:,.0f} replicas of {variant.cut}"

    return explain


def bound_reason(variant: Variant, values: Floats, bound: float, unit: str) -> Explain:
    """Say how much of something the cheapest member takes and how much was allowed."""

    def explain(at: int) -> str:
        value = _figure(values[at]) if values[at] < float("inf") else "an unknown number of"
        return f"takes {value} {unit} at {variant.cut}, limit {_figure(bound)}"

    return explain


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def simulated_reason(found: Outcome) -> str:
    """Say which limits a simulation missed."""
    scored = found.score
    missed = [limit for limit in scored.limits if not limit.held]
    if found.overloaded and not missed:
        return "simulated: more comes than is served at once, and waits"
    if not missed:
        return f"{scored.offered - scored.ok} of {scored.offered} simulated requests are not served"
    values = (
        f"{one.name} {'none' if one.value_s is None else f'{one.value_s:.3g} s'} > {one.limit_s:.3g} s"
        for one in missed
    )
    return f"simulated: {'; '.join(values)}"
