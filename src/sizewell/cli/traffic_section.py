"""The `traffic` section of a workload file: what flags cannot say of arrivals, lengths, classes and conversations.

docs/traffic.md shows one. What the section leaves out is as the flags say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import click

from sizewell.catalog.traces import read_trace
from sizewell.cli.quantities import COUNT, DURATION, FACTOR, FRACTION, RATE, TOKENS, Measure
from sizewell.cli.tables import Table
from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import (
    AllAtOnce,
    Arrivals,
    Constant,
    Gamma,
    Pause,
    Users,
    Varying,
    Window,
    poisson,
)
from sizewell.traffic.classes import Kind, Observed, RequestClass
from sizewell.traffic.lengths import NOTHING, Fixed, Lengths, Lognormal, Uniform
from sizewell.traffic.means import mean_workload
from sizewell.traffic.offer import Traffic, at_rate, grown, traffic_of
from sizewell.traffic.prefixes import SharedPrefix
from sizewell.traffic.profile import DAY_S, RateProfile, diurnal, ramp
from sizewell.traffic.requests import MOST_TOKENS
from sizewell.traffic.sessions import ONE, SINGLE, Sessions
from sizewell.traffic.workload import Workload

MEANT = "sizewell.traffic"
"""Where the context of a command keeps what its workload file says."""

_FLAGS = ("users", "rate", "input", "answer", "think", "shared_prefix")
_NUMBER = Measure(name="number", units={"": 1.0}, low=0.0, high=1e6, example="1.2")
_PRIORITY = Measure(name="priority", units={"": 1.0}, low=-1e6, high=1e6, example="0", whole=True)
_LENGTH = Measure(name="token count", units=TOKENS.units, low=0.0, high=MOST_TOKENS, example="400", whole=True)
_PAUSE = Measure(name="duration", units=DURATION.units, low=0.0, high=1e6, example="20s")
_CALM = Measure(name="rate", units=RATE.units, low=0.0, high=1e6, example="20/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedTraffic:
    """What a file's section says: how requests come, and what they are; each may be left to the flags."""

    arrivals: Arrivals | None
    classes: tuple[Kind, ...]
    prefixes: tuple[SharedPrefix, ...]
    sessions: Sessions

    def completed(self, workload: Workload) -> Traffic:
        """Return the traffic, with what the section leaves out as the plain workload has it."""
        plain = traffic_of(workload)
        arrivals = self.arrivals or plain.arrivals
        if not self.classes:
            return replace(plain, arrivals=arrivals)
        return Traffic(arrivals=arrivals, classes=self.classes, prefixes=self.prefixes, sessions=self.sessions)

    @property
    def left_out(self) -> str:
        """What makes a plan for its means larger than it need be; empty where nothing does."""
        arrivals, said = self.arrivals, []
        pause_s = arrivals.pause.mean_s if isinstance(arrivals, Users) else 0.0
        pause_s = arrivals.pause_s if isinstance(arrivals, Window) else pause_s
        if pause_s:
            said.append(f"pauses of {pause_s:g} s (users × E2E ÷ (E2E + pause) are at work: say so with --users)")
        if self.sessions.turns.mean_tokens > 1:
            said.append("what later turns find of earlier ones in the cache")
        return f"plans leave out {' and '.join(said)}, and ask for more; simulate plays it all" if said else ""

    def means(self) -> dict[str, float]:
        """Return flags with the same means: of lengths where classes are given, of load where arrivals are."""
        plain = Workload(input_tokens=1, answer_tokens=1, rate_per_s=1)
        found: dict[str, float] = {}
        if self.classes:
            mean = mean_workload(replace(self.completed(plain), arrivals=poisson(1.0)))
            found = {
                "input": mean.input_tokens, "think": mean.think_tokens, "answer": mean.answer_tokens,
                "shared_prefix": mean.shared_prefix_tokens,
            }  # fmt: skip
        if self.arrivals is not None and not isinstance(self.arrivals, AllAtOnce):
            mean = mean_workload(replace(traffic_of(plain), arrivals=self.arrivals))
            found |= {"users": mean.users} if mean.users is not None else {"rate": mean.rate_per_s or 0.0}
        return found


def offered_traffic(ctx: click.Context, workload: Workload) -> Traffic:
    """Return the traffic the file's section and the flags mean together; `growth` multiplies its rate or users.

    Raises BadInputError for a length given as a flag against the section's classes.
    """
    stated: StatedTraffic | None = ctx.meta.get(MEANT)
    if stated is None:
        return traffic_of(workload)
    spoken = {name for name in _FLAGS if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE}
    if stated.classes and spoken - {"users", "rate"}:
        flag = sorted(spoken - {"users", "rate"})[0].replace("_", "-")
        raise BadInputError(f"--{flag} and the classes of the workload file contradict each other: keep one of the two")
    if "rate" in spoken and stated.arrivals is not None and workload.rate_per_s is not None:
        return at_rate(stated.completed(workload), workload.rate_per_s * workload.growth)
    if "users" in spoken or stated.arrivals is None:
        return replace(stated, arrivals=None).completed(workload)
    return grown(stated.completed(workload), workload.growth)


def read_section(table: Table, folder: Path) -> StatedTraffic:
    """Return what a `traffic` section says; traces are named relative to `folder`. Raises BadInputError."""
    classes = tuple(_class(one, folder) for one in table.tables("classes"))
    if "classes" in table and not classes:
        raise BadInputError(f"{table.place('classes')}: names no class: give one, or leave it out")
    for key in ("prefixes", "sessions"):
        if key in table and not classes:
            raise BadInputError(
                f"{table.place(key)}: needs classes beside it, whose text is the user's own part of a prompt"
            )
    return table.only(
        StatedTraffic(
            arrivals=_arrivals(table.table("arrivals")) if "arrivals" in table else None,
            classes=classes,
            prefixes=tuple(_prefix(one) for one in table.tables("prefixes")),
            sessions=_sessions(table.table("sessions")) if "sessions" in table else SINGLE,
        )
    )


def _arrivals(table: Table) -> Arrivals:
    process = table.choice("process", tuple(_PROCESSES))
    with table.naming():
        return table.only(_PROCESSES[process](table))


def _steps(table: Table) -> Arrivals:
    profile = RateProfile(
        at_s=table.numbers("at", _PAUSE), rate_per_s=table.numbers("rates", _CALM), repeats=table.flag("repeats")
    )
    return Varying(profile=profile, burstiness=_burstiness(table))


def _ramp(table: Table) -> Arrivals:
    profile = ramp(table.number("from", _CALM), table.number("to", _CALM), table.number("over", DURATION))
    return Varying(profile=profile, burstiness=_burstiness(table))


def _diurnal(table: Table) -> Arrivals:
    day_s = table.number("day", DURATION, DAY_S)
    peak_s = table.number("peak_at", _PAUSE, day_s / 2)
    profile = diurnal(table.number("rate", RATE), table.number("peak_over_mean", FACTOR), peak_s, day_s)
    if "begin" in table:
        return Varying(profile=profile, burstiness=_burstiness(table), begin_s=table.number("begin", _PAUSE))
    return Varying(profile=profile, burstiness=_burstiness(table), middle_s=peak_s)


def _burstiness(table: Table) -> float:
    return table.number("burstiness", _NUMBER, 1.0)


_PROCESSES: Mapping[str, Callable[[Table], Arrivals]] = {
    "poisson": lambda table: poisson(table.number("rate", RATE)),
    "gamma": lambda table: Gamma(rate_per_s=table.number("rate", RATE), burstiness=table.number("burstiness", _NUMBER)),
    "constant": lambda table: Constant(rate_per_s=table.number("rate", RATE)),
    "ramp": _ramp,
    "diurnal": _diurnal,
    "steps": _steps,
    "window": lambda table: Window(
        concurrency=table.count("concurrency", COUNT), pause_s=table.number("pause", _PAUSE, 0.0)
    ),
    "users": lambda table: Users(
        users=table.count("users", COUNT), pause=_pause(table), start_over_s=table.number("start_over", _PAUSE, 0.0)
    ),
    "at-once": lambda table: AllAtOnce(),
}


def _pause(table: Table) -> Pause:
    spread = table.choice("spread", ("fixed", "exponential"), "fixed")
    return Pause(mean_s=table.number("pause", _PAUSE, 0.0), spread=cast(Literal["fixed", "exponential"], spread))


def _class(table: Table, folder: Path) -> Kind:
    weight, priority = table.number("weight", _NUMBER, 1.0), table.count("priority", _PRIORITY, 0)
    if "name" in table:
        table.text("name")
    if "trace" in table:
        recorded = read_trace(folder / table.text("trace")).requests
        return table.only(Observed(recorded=recorded, weight=weight, priority=priority))
    made = RequestClass(
        text=_lengths(table, "text"), think=_lengths(table, "think", NOTHING), answer=_lengths(table, "answer"),
        weight=weight, priority=priority,
    )  # fmt: skip
    return table.only(made)


def _prefix(table: Table) -> SharedPrefix:
    with table.naming():
        return table.only(
            SharedPrefix(
                tokens=_lengths(table, "tokens"), copies=table.count("copies", COUNT, 1),
                zipf=table.number("zipf", _NUMBER, 0.0), fraction=table.number("fraction", FRACTION, 1.0),
            )
        )  # fmt: skip


def _sessions(table: Table) -> Sessions:
    return table.only(
        Sessions(
            turns=_lengths(table, "turns", ONE), pause=_pause(table),
            later_text=_lengths(table, "later_text", NOTHING) if "later_text" in table else None,
            keep_thinking=table.flag("keep_thinking"),
            most_context_tokens=table.count("most_context", COUNT) if "most_context" in table else None,
        )
    )  # fmt: skip


def _lengths(table: Table, key: str, default: Lengths | None = None) -> Lengths:
    """Return lengths: one number, or a section with mean and sigma, p50 and p99, least and most, or nominal."""
    if key not in table and default is not None:
        table.raw(key)
        return default
    if not isinstance(table.raw(key), Mapping):
        return Fixed(table.number(key, TOKENS))
    inner = table.table(key)
    with table.naming(key):
        return inner.only(_spread(inner))


def _spread(inner: Table) -> Lengths:
    if "nominal" in inner:
        return Uniform.within(
            inner.number("nominal", TOKENS), inner.number("low", FRACTION, 0.8), inner.number("high", FRACTION, 1.0)
        )
    most = inner.count("most", _LENGTH, MOST_TOKENS) if "most" in inner else MOST_TOKENS
    if "p50" in inner:
        return Lognormal.through(inner.number("p50", TOKENS), inner.number("p99", TOKENS), most)
    if "mean" in inner:
        least = inner.count("least", _LENGTH, 1)
        mean, sigma = inner.number("mean", TOKENS), inner.number("sigma", _NUMBER)
        return Lognormal(mean_tokens=mean, sigma=sigma, least_tokens=least, most_tokens=most)
    return Uniform(least_tokens=inner.count("least", _LENGTH), most_tokens=inner.count("most", _LENGTH))
