"""A bench from flags to answer: the loads measured, scored, and set beside what was predicted for the same requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sizewell.cli.bench_loads import next_offer, probes
from sizewell.cli.output import talk
from sizewell.driver.bench import BenchJob, Measured, Offer, run_bench
from sizewell.driver.saturation import answer as searched_for
from sizewell.driver.saturation import unknown_above
from sizewell.specs.deployment import Deployment
from sizewell.specs.errors import BadInputError
from sizewell.traffic.overload import overload
from sizewell.traffic.requests import NONE, Requests
from sizewell.traffic.score import Score, score
from sizewell.traffic.stated import Stated, stated_score
from sizewell.traffic.workload import Slo

if TYPE_CHECKING:
    from sizewell.cli.simulations import Simulation
    from sizewell.driver.imported import Imported

NEED_REQUESTS = ("rows", "record", "plots", "keep")
"""Flags that a file of figures cannot serve."""
SAY_EVERY = 10
"""Parts of a load after each of which progress is told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """One load: as it was measured, its score, and what was predicted on which deployment, where it was.

    `overload`: in words that the queue grew as long as requests came; empty where it did not. `played` is the
    simulation behind the prediction.
    """

    measured: Measured
    score: Score
    overload: str = ""
    played: Simulation | None = None

    @property
    def predicted(self) -> Score | None:
        """What was predicted for the same requests."""
        return self.played.score if self.played else None

    @property
    def deployment(self) -> Deployment | None:
        """On which deployment."""
        return self.played.deployment if self.played else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """All loads. `found_concurrency`: what a search found; None where none was made, or no limit held anywhere.

    `stated`: of another tool's figures, no request known.
    `unknown_above`: the concurrency above it that cannot be judged, and the gate that was missed there.
    """

    url: str
    model: str
    salt: int
    slo: Slo
    points: tuple[Point, ...]
    stated: bool = False
    searched: bool = False
    found_concurrency: int | None = None
    unknown_above: Mapping[int, str] = field(default_factory=dict)


def bench(ctx: click.Context, given: dict[str, Any], job: BenchJob, slo: Slo) -> Answer:
    """Return the answer to a bench's flags; talks about its progress."""
    offers = next_offer(ctx, given, slo)
    predicts = given["machine"] is not None
    if predicts:
        _stated(given, None)  # a name that is not known is better refused before minutes of load than after
    model, found = run_bench(job, offers, _told)
    points = tuple(_point(given, one, slo, predicts) for one in found)
    seen = probes(found, slo) if given["saturate"] else {}
    at_once = searched_for(seen, bool(slo.limits)) if seen else None
    return Answer(
        url=", ".join(job.urls), model=model, salt=job.salt, slo=slo, points=points, searched=given["saturate"],
        found_concurrency=at_once, unknown_above=unknown_above(seen, at_once),
    )  # fmt: skip


def imported(given: dict[str, Any], slo: Slo) -> Answer:
    """Return what another tool measured, scored by our definitions; predicted for the same arrivals and lengths."""
    from sizewell.driver.other_tools import read_results

    predicts = given["machine"] is not None
    loads = read_results(Path(given["imported"]))
    stated = any(load.stated for load in loads)
    needing = next((flag for flag in NEED_REQUESTS if given[flag] is not None), None)
    if stated and needing:
        raise BadInputError(f"--{needing} needs each request's times, and {given['imported']} holds figures only")
    points = tuple(_point(given, _as_measured(load), slo, predicts, load.stated) for load in loads)
    return Answer(url=given["imported"], model=loads[0].tool, salt=0, slo=slo, points=points, stated=stated)


def _as_measured(load: Imported) -> Measured:
    from sizewell.driver.counters import Counters

    return Measured(
        offer=Offer(label=load.label, requests=_stated_requests(load.stated, load) if load.stated else _requests(load)),
        run=load.run, recordings=load.recordings, gates=load.gates, counters=Counters(), cpu_fraction=0.0,
        begun_unix_s=None,
    )  # fmt: skip


def _stated_requests(stated: Stated, load: Imported) -> Requests:
    """Return as many requests of the mean lengths, in a closed loop, at the rate (Poisson's), or all at once."""
    from sizewell.traffic.arrivals import AllAtOnce, Arrivals, Window, poisson

    arrivals: Arrivals = AllAtOnce()
    if load.concurrency:
        arrivals = Window(concurrency=load.concurrency)
    elif load.rate and isfinite(load.rate):
        arrivals = poisson(load.rate)
    count, served = stated.offered, max(1, stated.ok)
    into, out = (max(1, round(tokens / served)) for tokens in (stated.input_tokens, stated.output_tokens))
    due_s = arrivals.starts(count, count, np.random.default_rng(0))
    return Requests.of(due_s, into, out, concurrency=load.concurrency)


def _requests(load: Imported) -> Requests:
    from sizewell.traffic.arrivals import Window

    run = load.run
    think, whole = run.think_tokens, np.maximum(run.output_tokens, 1)
    due_s = run.scheduled_s
    if load.concurrency:
        due_s = Window(concurrency=load.concurrency).starts(len(run), len(run), np.random.default_rng(0))
    return Requests.of(due_s, np.maximum(run.input_tokens, 1), whole - think, think, load.concurrency)


def _point(given: dict[str, Any], one: Measured, slo: Slo, predicts: bool, stated: Stated | None = None) -> Point:
    played = _predicted(given, one.offer, slo) if predicts else None
    return Point(
        measured=one,
        score=stated_score(stated, slo) if stated else score(one.run, slo),
        overload=_overload(one),
        played=played,
    )


def _overload(one: Measured) -> str:
    """Return what an open loop's queue did; requests that were never due are left out of it."""
    requests = one.offer.requests
    if len(one.run) < len(requests) and (requests.after != NONE).any():
        return ""
    return overload(requests.first(len(one.run)), one.run) if len(one.run) else ""


def _told(offer: Offer, ended: int) -> None:
    count = len(offer.requests)
    if ended * SAY_EVERY // count > (ended - 1) * SAY_EVERY // count:
        talk(f"{offer.label}: {ended:,} of {count:,} requests ended")


def _predicted(given: dict[str, Any], offer: Offer, slo: Slo) -> Simulation:
    """Return the simulation of the same requests on the deployment the flags state."""
    from sizewell.cli.simulations import simulate_deployment
    from sizewell.cli.traffic_flags import Offered

    same = Offered(requests=offer.requests, seed=given["seed"] or 0, until_s=offer.until_s)
    return simulate_deployment(_stated(given, same), same, slo)


def _stated(given: dict[str, Any], load: Any) -> Deployment:
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions, simulations
    from sizewell.cli.options import setup_of
    from sizewell.cli.traffic_flags import Offered

    setup = setup_of(given)
    place = questions.machine(given["machine"], given["nodes"], given["node"], setup.stated.replicas or 1)
    load = load or Offered(requests=Requests.of(0.0, 1, 1))
    return simulations.stated_for(read_model(given["model"], assume=given["assume"]), place, load, setup)
