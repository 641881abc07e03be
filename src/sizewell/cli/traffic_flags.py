"""Flags that say which requests are offered, one by one, and the requests they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import Decorator, quantity, stack, workload_of
from sizewell.cli.quantities import COUNT, DURATION, FACTOR, RATE, SEED, SIGMA
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.traffic.arrivals import Arrivals
    from sizewell.traffic.lengths import Lengths
    from sizewell.traffic.offer import Traffic
    from sizewell.traffic.requests import Requests
    from sizewell.traffic.workload import Workload

DEFAULT_REQUESTS = 1000
ARRIVALS = ("poisson", "constant", "at-once", "ramp", "diurnal")
DESCRIBED = (
    "users", "input", "answer", "think", "shared_prefix", "growth", "arrivals", "burstiness", "length_sigma", "pause",
    "turns", "prefix_copies", "ramp_from", "ramp_over", "peak",
)  # fmt: skip
"""Flags that describe what a trace has recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Requests, where they come from (`flags` or the kind of a trace file), and what was changed in reading them."""

    requests: Requests
    source: str
    seed: int | None = None
    notes: tuple[str, ...] = field(default=())

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
        if these.concurrency is not None or len(free) < 2 or free[-1] <= free[0]:
            return None
        return (len(these) - 1) / float(free[-1] - free[0])

    @property
    def users(self) -> float:
        """Requests in flight of a closed loop; all of them where they come at once."""
        return float(self.requests.concurrency or len(self.requests))


def traffic_flags() -> Decorator:
    """Return the flags that say how many requests come, when, and how alike they are."""
    return stack(
        quantity("--requests", COUNT, f"Requests to offer [{DEFAULT_REQUESTS}, or all of a trace]."),
        quantity("--duration", DURATION, "Offer requests for so long, instead of a number."),
        quantity("--until", DURATION, "Stop then; what is not served counts as unfinished."),
        quantity("--seed", SEED, "Seed of everything drawn at random [0]."),
        click.option("--arrivals", type=click.Choice(ARRIVALS), help="How requests of a --rate come [poisson]."),
        quantity("--burstiness", FACTOR, "Shape of gamma gaps: 1 Poisson, below 1 bunched [1]."),
        quantity("--ramp-from", RATE, "Rate a ramp starts from; it ends at --rate."),
        quantity("--ramp-over", DURATION, "Time a ramp takes."),
        quantity("--peak", FACTOR, "Peak over the mean rate of a diurnal load, 1 to 2 [1.5]."),
        quantity("--pause", DURATION, "Pause of a user between an answer and the next request [0]."),
        quantity("--length-sigma", SIGMA, "Spread of lengths: sigma of a lognormal about the means [0, all alike]."),
        quantity("--turns", COUNT, "Requests of a conversation, each quoting what was said before [1]."),
        quantity("--prefix-copies", COUNT, "Different shared prefixes, each as likely [1]."),
        click.option("--trace", metavar="FILE", help="Recorded requests instead (docs/traffic.md); --rate stretches."),
    )


def offered(ctx: click.Context, given: Mapping[str, Any]) -> Offered:
    """Return the requests the flags ask for; raises BadInputError where they contradict each other."""
    if given["requests"] is not None and given["duration"] is not None:
        raise BadInputError("--requests and --duration both say how much is offered: give one of the two")
    return _recorded(given) if given["trace"] is not None else _described(ctx, given)


def _described(ctx: click.Context, given: Mapping[str, Any]) -> Offered:
    from sizewell.traffic.offer import offer, requests_within

    traffic = _traffic(workload_of(ctx, given), given)
    count = given["requests"] or DEFAULT_REQUESTS
    if given["duration"] is not None:
        count = requests_within(traffic, given["duration"])
    seed = given["seed"] or 0
    return Offered(requests=offer(traffic, count, seed), source="flags", seed=seed)


def _recorded(given: Mapping[str, Any]) -> Offered:
    from sizewell.catalog.traces import read_trace
    from sizewell.traffic.replay import at_mean_rate

    for name in DESCRIBED:
        if given[name] is not None:
            raise BadInputError(f"--trace says what --{name.replace('_', '-')} would: give one of the two")
    trace = read_trace(Path(given["trace"]))
    requests = trace.requests
    if given["rate"] is not None:
        requests = at_mean_rate(requests, given["rate"])
    if given["duration"] is not None:
        requests = requests.first(max(1, int((requests.arrival_s <= given["duration"]).sum())))
    if given["requests"] is not None:
        if given["requests"] > len(requests):
            raise BadInputError(f"{given['trace']} holds {len(requests)} requests: ask for no more")
        requests = requests.first(given["requests"])
    return Offered(requests=requests, source=trace.kind, notes=trace.notes)


def _traffic(workload: Workload, given: Mapping[str, Any]) -> Traffic:
    from sizewell.traffic.arrivals import Pause
    from sizewell.traffic.classes import RequestClass
    from sizewell.traffic.lengths import Fixed
    from sizewell.traffic.offer import Traffic
    from sizewell.traffic.prefixes import SharedPrefix
    from sizewell.traffic.sessions import Sessions

    sigma, pause = given["length_sigma"] or 0.0, Pause(mean_s=given["pause"] or 0.0, spread="exponential")
    text = workload.input_tokens - workload.shared_prefix_tokens
    prefix = SharedPrefix(tokens=Fixed(workload.shared_prefix_tokens), copies=given["prefix_copies"] or 1)
    if given["prefix_copies"] and not workload.shared_prefix_tokens:
        raise BadInputError("--prefix-copies without --shared-prefix: say how long the shared prefixes are")
    kind = RequestClass(
        text=_lengths(text, sigma),
        think=_lengths(workload.think_tokens, sigma),
        answer=_lengths(workload.answer_tokens, sigma),
    )
    return Traffic(
        arrivals=_arrivals(workload, given, pause.mean_s),
        classes=(kind,),
        prefixes=(prefix,) if workload.shared_prefix_tokens >= 1 else (),
        sessions=Sessions(turns=Fixed(given["turns"] or 1), pause=pause),
    )


def _lengths(mean_tokens: float, sigma: float) -> Lengths:
    from sizewell.traffic.lengths import Fixed, Lognormal

    return Lognormal(mean_tokens=mean_tokens, sigma=sigma) if sigma and mean_tokens > 1 else Fixed(mean_tokens)


def _arrivals(workload: Workload, given: Mapping[str, Any], pause_s: float) -> Arrivals:
    from sizewell.traffic.arrivals import AllAtOnce, Constant, Gamma, Pause, Users, Varying
    from sizewell.traffic.profile import diurnal, ramp

    shape, burstiness = given["arrivals"] or "poisson", given["burstiness"] or 1.0
    if shape == "at-once":
        return AllAtOnce()
    if workload.rate_per_s is None:
        _refuse_open_loop(given)
        users = max(1, round((workload.users or 1) * workload.growth))
        return Users(users=users, pause=Pause(mean_s=pause_s, spread="exponential"))
    rate = workload.rate_per_s * workload.growth
    if shape == "constant":
        return Constant(rate_per_s=rate)
    if shape == "ramp":
        if given["ramp_over"] is None:
            raise BadInputError("--arrivals ramp needs --ramp-over: say how long the ramp takes")
        profile = ramp(given["ramp_from"] or 0.0, rate, given["ramp_over"])
        return Varying(profile=profile, burstiness=burstiness)
    if shape == "diurnal":
        return Varying(profile=diurnal(rate, given["peak"] or 1.5), burstiness=burstiness)
    return Gamma(rate_per_s=rate, burstiness=burstiness)


def _refuse_open_loop(given: Mapping[str, Any]) -> None:
    for name in ("arrivals", "burstiness", "ramp_from", "ramp_over", "peak"):
        if given[name] is not None:
            raise BadInputError(
                f"users send their next request when they have an answer: --{name.replace('_', '-')} needs --rate"
            )
