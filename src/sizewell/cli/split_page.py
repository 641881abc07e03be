"""What `sizewell plan --split` adds: the best plans of two pools, and what they gain or why they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object
from sizewell.cli.output import duration, table
from sizewell.cli.plan_document import plan_object
from sizewell.cli.plan_page import best_lines, detail_lines, plan_cells

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.planner.plan import Plan, PoolUse, SplitAnswer

HEADS = ("", "|accelerators", "prefill", "decode", "weights", ">TTFT", ">TPOT", ">tok/s", ">USD/h", ">USD/Mtok")


def split_parts(found: SplitAnswer) -> Iterator[Table | str]:
    """Yield the verdict, the plans of two pools and the best of them in words."""
    verdict, *more = found.reasons
    yield f"SPLIT POOLS: {verdict}"
    yield from (f"- {reason}" for reason in more)
    if found.plans:
        yield table("", HEADS, [_row(rank, plan) for rank, plan in enumerate(found.plans, start=1)])
    if not found.helps:
        return
    best = found.plans[0]
    yield from best_lines(best, "BEST SPLIT")
    if best.pool_use:
        yield _use(best.pool_use)
    yield from detail_lines(best)


def split_object(found: SplitAnswer | None) -> Object:
    """Return the plans of two pools as `splits`, and the verdict as `split`; none and null where nothing was asked."""
    if found is None:
        return {"splits": [], "split": None}
    verdict = {
        "helps": found.helps,
        "reasons": found.reasons,
        "candidates": found.candidates,
        "one_pool": plan_object(found.one_pool) if found.one_pool else None,
    }
    return {"splits": [plan_object(plan) for plan in found.plans], "split": verdict}


def _row(rank: int, plan: Plan) -> tuple[str, ...]:
    return plan_cells(rank, plan, *(f"{pool.replicas} × {pool.parallelism}" for pool in plan.deployment.pools))


def _use(use: PoolUse) -> str:
    return (
        f"the prefill pool is busy {use.prefill_busy_fraction:.0%} of what it can do, the decode pool "
        f"{use.decode_busy_fraction:.0%}; a prompt's cache travels {duration(use.handover_s)} over {use.network}"
    )
