"""What a rehearsal says, in words and as a JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object
from sizewell.cli.output import amount, duration
from sizewell.planner.reasons import simulated_reason

if TYPE_CHECKING:
    from sizewell.planner.rehearsal import Rehearsal
    from sizewell.traffic.distribution import Distribution
    from sizewell.traffic.score import Score

FELT = ("ttft", "ttfa", "tpot", "e2e")


def rehearsal_lines(found: Rehearsal) -> Iterator[str]:
    """Return the percentiles of the simulated load, where it would saturate, and what a lost replica does."""
    felt = "; ".join(
        f"{name.upper()} {_percentiles(getattr(found.stated.score, name))}" for name in ("ttft", "tpot", "e2e")
    )
    yield f"simulated, {found.stated.score.offered:,} requests: {felt}"
    yield f"{_saturation(found)}; {_lost(found)}"


def _percentiles(felt: Distribution) -> str:
    known = (("p50", felt.p50_s), ("p95", felt.p95_s), ("p99", felt.p99_s))
    return ", ".join(f"{name} {duration(value)}" for name, value in known if value is not None) or "–"


def _saturation(found: Rehearsal) -> str:
    edge = found.saturation
    if not edge.holds:
        return "no load was found at which it holds"
    more = "" if isfinite(edge.breaks) else " and more"
    return f"holds up to {amount(edge.holds)} {found.unit}{more}: {found.headroom_fraction:.0%} of that is headroom"


def _lost(found: Rehearsal) -> str:
    if found.without_one is None:
        return "a replica lost is all service lost"
    if found.without_one.holds:
        return f"with {found.replicas - 1} of {found.replicas} replicas left it still holds"
    return f"with {found.replicas - 1} of {found.replicas} replicas left, {simulated_reason(found.without_one)}"


def rehearsal_object(found: Rehearsal | None) -> Object | None:
    """Return a rehearsal."""
    if found is None:
        return None
    edge = found.saturation
    return {
        "load": found.load,
        "unit": found.unit,
        "replicas": found.replicas,
        "holds": found.stated.holds,
        **_felt(found.stated.score),
        "saturation": {"holds": edge.holds, "breaks": edge.breaks},
        "headroom_fraction": found.headroom_fraction,
        "without_one_replica": None
        if found.without_one is None
        else {"holds": found.without_one.holds, **_felt(found.without_one.score)},
    }


def _felt(scored: Score) -> Object:
    return {
        "requests": scored.offered,
        "served": scored.ok,
        **{f"{name}_s": _object(getattr(scored, name)) for name in FELT},
    }


def _object(felt: Distribution) -> Object:
    return {
        "n": felt.n, "mean": felt.mean_s, "p50": felt.p50_s, "p90": felt.p90_s, "p95": felt.p95_s, "p99": felt.p99_s,
    }  # fmt: skip
