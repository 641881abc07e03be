"""Which loads a bench offers, one after another: those the flags list, or those a search asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.output import talk
from sizewell.cli.quantities import COUNT, RATE, Measure
from sizewell.cli.traffic_flags import Offered, offered
from sizewell.driver.bench import Measured, NextOffer, Offer
from sizewell.driver.client import most_connections, require_room
from sizewell.driver.gates import LEAST_ROUNDS, spoiled
from sizewell.driver.saturation import Probe, next_concurrency
from sizewell.specs.errors import BadInputError
from sizewell.traffic.distribution import LEAST_FOR_P99
from sizewell.traffic.score import Score, score

if TYPE_CHECKING:
    from sizewell.traffic.workload import Slo

ROUNDS, LEAST_REQUESTS, OPEN_LOOP_S = 8, 16, 60.0
"""Requests for each one in flight of a closed loop, the fewest of any, and how long an open loop lasts."""
LEAST_FOR = {"mean": 1, "p50": 1, "p90": 20, "p95": 40, "p99": LEAST_FOR_P99}
"""Requests of a load from which a statistic can be told: where one or two of them lie above it."""


def next_offer(ctx: click.Context, given: dict[str, Any], slo: Slo) -> NextOffer:
    """Return what says which load comes next; raises BadInputError for flags that make none."""
    if given["saturate"]:
        limits = bool(slo.limits)
        _check_requests(given, slo)

        def searched(found: Sequence[Measured]) -> Offer | None:
            concurrency = next_concurrency(probes(found, slo), limits)
            if concurrency is None or concurrency > most_connections():
                return None
            return _closed(ctx, given, concurrency, math.ceil(LEAST_ROUNDS))

        return searched
    offers = _listed(ctx, given)
    return lambda found: offers[len(found)] if len(found) < len(offers) else None


def probes(found: Sequence[Measured], slo: Slo) -> dict[int, Probe]:
    """Return what a search has seen, by concurrency."""
    return {int(one.offer.requests.concurrency or 0): _probe(one, score(one.run, slo)) for one in found}


def _probe(one: Measured, seen: Score) -> Probe:
    speed = seen.steady or seen.wall
    held = seen.ok == seen.offered and all(limit.held for limit in seen.limits)
    times = any(limit.name.endswith(" tpot") for limit in seen.limits)
    why = spoiled(one.gates, times=times) if seen.ok == seen.offered or not seen.limits else ""
    return Probe(tokens_per_s=speed.output_tokens_per_s if speed else 0.0, held=held, spoiled=why)


def _listed(ctx: click.Context, given: dict[str, Any]) -> list[Offer]:
    if given["concurrency"] is not None:
        return [_closed(ctx, given, int(many)) for many in _values("--concurrency", given["concurrency"], COUNT)]
    if given["rates"] is not None:
        return [_open(ctx, given, rate) for rate in _values("--rates", given["rates"], RATE)]
    if given["trace"] is not None:
        found = offered(ctx, given)
        for note in found.notes:
            talk(f"{given['trace']}: {note}")
        return [_offer(f"{found.source} trace", found)]
    if given["rate"] is not None and given["users"] is None:
        return [_open(ctx, given, given["rate"])]
    return [_closed(ctx, given, int(given["users"] or 1))]


def _check_requests(given: dict[str, Any], slo: Slo) -> None:
    least = LEAST_FOR[slo.statistic]
    if slo.limits and given["requests"] is not None and given["requests"] < least:
        raise BadInputError(
            f"--requests {given['requests']:g} has no {slo.statistic} to bind: ask for {least} or more, or leave it out"
        )


def _least(given: dict[str, Any]) -> int:
    """Return the fewest requests of a load that is not told how many."""
    return max(LEAST_REQUESTS, LEAST_FOR[given["statistic"]])


def _closed(ctx: click.Context, given: dict[str, Any], concurrency: int, least_rounds: int = 0) -> Offer:
    require_room(concurrency)
    count = given["requests"] or max(_least(given), ROUNDS * concurrency)
    if count < least_rounds * concurrency:
        count = least_rounds * concurrency
        talk(f"{concurrency}: {count:,} requests, or few would be sent while all {concurrency} are in flight")
    found = offered(ctx, {**given, "users": float(concurrency), "rate": None, "requests": count})
    return _offer(str(concurrency), found)


def _open(ctx: click.Context, given: dict[str, Any], rate_per_s: float) -> Offer:
    count = given["requests"]
    if count is None and given["duration"] is None:
        count = max(_least(given), round(rate_per_s * OPEN_LOOP_S))
    found = offered(ctx, {**given, "users": None, "rate": rate_per_s, "requests": count})
    return _offer(f"{rate_per_s:.3g}/s", found)


def _offer(label: str, found: Offered) -> Offer:
    return Offer(label=label, requests=found.requests, until_s=found.until_s)


def _values(flag: str, text: str, measure: Measure) -> list[float]:
    found = [measure.parse(word) for word in text.split(",") if word.strip()]
    if not found:
        raise BadInputError(f"{flag} {text!r}: list values, e.g. {measure.example.split(' or ')[0]}")
    return found
