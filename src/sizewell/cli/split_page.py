"""What `sizewell plan --split` prints, and its JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object, deployment_object
from sizewell.cli.output import duration, table
from sizewell.cli.rehearsal_text import rehearsal_object
from sizewell.planner.splitting import unsplittable

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.planner.plan import Plan
    from sizewell.planner.rehearsal import Rehearsal
    from sizewell.planner.splitting import Split

HEADS = ("pools", ">TTFT", ">TTFT p95", ">TPOT", ">TPOT p95", ">holds up to", "limits")


def splits_table(best: Plan, found: Sequence[Split]) -> Table | str:
    """Return the best plan as it is, then its splits; or why there are none."""
    if not found:
        return f"NOT SPLIT: {unsplittable(best.deployment)}"
    whole = best.rehearsal
    rows = [("as planned", *_cells(whole))] if whole else []
    rows += [(_pools(split), *_cells(split.rehearsal)) for split in found]
    return table("The best plan split into pools, simulated", HEADS, rows)


def splits_object(found: Sequence[Split]) -> Sequence[Object]:
    """Return each split with its simulation."""
    return [
        {"deployment": deployment_object(split.deployment), "rehearsal": rehearsal_object(split.rehearsal)}
        for split in found
    ]


def _pools(split: Split) -> str:
    return " + ".join(f"{pool.replicas} {pool.role}" for pool in split.deployment.pools)


def _cells(found: Rehearsal) -> tuple[str, ...]:
    score, edge = found.stated.score, found.saturation
    times = (score.ttft.mean_s, score.ttft.p95_s, score.tpot.mean_s, score.tpot.p95_s)
    return (
        *("–" if time is None else duration(time) for time in times),
        f"{edge.holds:,.3g} {found.unit}" if edge.holds else "–",
        "kept" if found.stated.holds else "MISSED",
    )
