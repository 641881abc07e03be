"""Flags that say which requests are offered, one by one, and the requests they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import PLANNED_LOAD, Decorator, quantity, stack, workload_of
from sizewell.cli.quantities import COUNT, DURATION, FACTOR, SEED, SIGMA
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.traffic.arrivals import Arrivals
    from sizewell.traffic.lengths import Lengths
    from sizewell.traffic.offer import Traffic
    from sizewell.traffic.requests import Requests
    from sizewell.traffic.run import Run
    from sizewell.traffic.workload import Workload

DEFAULT_REQUESTS = 1000
ROUNDS, MOST_REQUESTS = 4, 1_000_000
"""Requests of each user of a closed loop, so that all are there for most of it, and the most so offered unasked."""
ARRIVALS = ("poisson", "constant", "at-once")
DESCRIBED = (
    "users", "input", "answer", "think", "shared_prefix", "growth", "arrivals", "burstiness", "length_sigma",
)  # fmt: skip
"""Flags that describe what a trace has recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Requests, where they come from (`flags` or the kind of a trace file), and what was changed in reading them.

    Playing stops at `until_s`. `measured` is what happened to the same requests where a trace says it.
    """

    requests: Requests
    source: str = "flags"
    seed: int | None = None
    notes: tuple[str, ...] = field(default=())
    until_s: float = inf
    measured: Run | None = None

    @property
    def workload(self) -> Workload:
        """The load in means, as a plan would state it."""
        from sizewell.traffic.workload import Workload

        these = self.requests
        rate, users = self.rate_per_s, self.users
        return Workload(
            input_tokens=float(these.input_tokens.mean()),
            answer_tokens=max(1.0, float(these.answer_tokens.mean())),
            think_tokens=float(these.think_tokens.mean()),
            users=None if rate else users,
            rate_per_s=rate,
        )

    @property
    def rate_per_s(self) -> float | None:
        """Mean rate of an open loop; None where requests wait for others, or come at once."""
        from sizewell.traffic.requests import NONE

        these = self.requests
        free = these.arrival_s[these.after == NONE]
        if these.in_flight is not None or len(free) < 2 or free[-1] <= free[0]:
            return None
        return (len(these) - 1) / float(free[-1] - free[0])

    @property
    def users(self) -> float:
        """Requests in flight of a closed loop; all of them where they come at once."""
        return float(self.requests.in_flight or len(self.requests))


def traffic_flags() -> Decorator:
    """Return the flags that say how many requests come, when, and how alike they are."""
    return stack(
        quantity("--requests", COUNT, f"Requests to offer [{DEFAULT_REQUESTS}, {ROUNDS} a user, or all of a trace]."),
        quantity("--duration", DURATION, "Offer requests for so long, instead of a number."),
        quantity("--until", DURATION, "Stop then; what was due and is not served counts as unfinished."),
        quantity("--seed", SEED, "Seed of everything drawn at random [0]."),
        click.option("--arrivals", type=click.Choice(ARRIVALS), help="How requests come at a --rate [poisson]."),
        quantity("--burstiness", FACTOR, "Shape of gamma gaps: 1 Poisson, below 1 bunched [1]."),
        quantity("--length-sigma", SIGMA, "Spread of lengths: sigma of a lognormal about the means [0, all alike]."),
        click.option("--trace", metavar="FILE", help="Recorded requests instead (docs/traffic.md); --rate stretches."),
    )


def offered(ctx: click.Context, given: Mapping[str, Any]) -> Offered:
    """Return the requests the flags ask for; raises BadInputError where they contradict each other."""
    if given["requests"] is not None and given["duration"] is not None:
        raise BadInputError("--requests and --duration both say how much is offered: give one of the two")
    found = _recorded(_unplanned(ctx, given)) if given["trace"] is not None else _described(ctx, given)
    return replace(found, until_s=given["until"] or inf)


def _described(ctx: click.Context, given: Mapping[str, Any]) -> Offered:
    from sizewell.cli.traffic_section import offered_traffic
    from sizewell.traffic.offer import offer, requests_within

    traffic = _shaped(offered_traffic(ctx, workload_of(ctx, given)), _shape(ctx, given))
    count = given["requests"] or _enough(traffic.arrivals)
    if given["duration"] is not None:
        count = requests_within(traffic, given["duration"])
    seed = given["seed"] or 0
    return Offered(requests=offer(traffic, count, seed), seed=seed, notes=_busiest_only(traffic.arrivals, count))


def _enough(arrivals: Arrivals) -> int:
    """Return how many requests are offered unasked: fewer than a closed loop has users would be a smaller load."""
    from sizewell.traffic.arrivals import Window

    people = arrivals.concurrency if isinstance(arrivals, Window) else 0
    return max(DEFAULT_REQUESTS, min(ROUNDS * people, MOST_REQUESTS))


def _busiest_only(arrivals: Arrivals, requests: int) -> tuple[str, ...]:
    from sizewell.traffic.arrivals import Varying

    if not isinstance(arrivals, Varying) or arrivals.middle_s is None or arrivals.is_whole(requests):
        return ()
    profile = arrivals.profile
    return (
        f"the busiest part of the day is offered: at {profile.mean_per_s:.3g} requests/s on average a day has "
        f"{profile.round_requests:,.0f} (--duration {profile.at_s[-1] / 3600:g}h)",
    )


def _unplanned(ctx: click.Context, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the flags without the load of a plan, which a trace replaces."""
    spoken = click.core.ParameterSource.COMMANDLINE
    planned = {name for name in ctx.meta.get(PLANNED_LOAD, ()) if ctx.get_parameter_source(name) != spoken}
    return {name: None if name in planned else value for name, value in given.items()}


def _recorded(given: Mapping[str, Any]) -> Offered:
    from sizewell.catalog.traces import read_trace
    from sizewell.traffic.replay import at_mean_rate

    for name in DESCRIBED:
        if given[name] is not None:
            raise BadInputError(f"--trace says what --{name.replace('_', '-')} would: give one of the two")
    trace = read_trace(Path(given["trace"]))
    requests = trace.requests
    whole = all(given[name] is None for name in ("rate", "duration", "requests"))
    if given["rate"] is not None:
        requests = at_mean_rate(requests, given["rate"])
    if given["duration"] is not None:
        requests = requests.first(max(1, int((requests.arrival_s <= given["duration"]).sum())))
    if given["requests"] is not None:
        if given["requests"] > len(requests):
            raise BadInputError(f"{given['trace']} holds {len(requests)} requests: ask for no more")
        requests = requests.first(given["requests"])
    measured = trace.measured if whole else None
    return Offered(requests=requests, source=trace.kind, notes=trace.notes, measured=measured)


def _shape(ctx: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that shape plain traffic, as far as given; raises BadInputError against a file's own section."""
    from sizewell.cli.traffic_section import MEANT

    said = {name: given[name] for name in ("arrivals", "burstiness", "length_sigma") if given[name] is not None}
    if said and MEANT in ctx.meta:
        flag = next(iter(said)).replace("_", "-")
        raise BadInputError(f"the traffic section of the workload file says what --{flag} would: keep one of the two")
    return said


def _shaped(traffic: Traffic, said: Mapping[str, Any]) -> Traffic:
    from sizewell.traffic.classes import RequestClass

    sigma = said.get("length_sigma", 0.0)
    classes = tuple(
        replace(
            kind,
            text=_spread(kind.text, sigma),
            think=_spread(kind.think, sigma),
            answer=_spread(kind.answer, sigma),
        )
        if isinstance(kind, RequestClass)
        else kind
        for kind in traffic.classes
    )
    return replace(traffic, arrivals=_arrivals(traffic.arrivals, said), classes=classes)


def _spread(lengths: Lengths, sigma: float) -> Lengths:
    from sizewell.traffic.lengths import Lognormal

    mean = lengths.mean_tokens
    return Lognormal(mean_tokens=mean, sigma=sigma) if sigma and mean > 1 else lengths


def _arrivals(plain: Arrivals, said: Mapping[str, Any]) -> Arrivals:
    from sizewell.traffic.arrivals import AllAtOnce, Constant, Gamma

    how = said.get("arrivals", "poisson")
    if how == "at-once":
        return AllAtOnce()
    if not isinstance(plain, Gamma):
        for name in ("arrivals", "burstiness"):
            if name in said:
                raise BadInputError(f"users send their next request when they have an answer: --{name} needs --rate")
        return plain
    if how == "constant":
        if "burstiness" in said:
            raise BadInputError("constant gaps have no --burstiness: give one of the two")
        return Constant(rate_per_s=plain.rate_per_s)
    return replace(plain, burstiness=said.get("burstiness", plain.burstiness))
