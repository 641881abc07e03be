"""Whether a measurement is one: what must hold before its numbers say anything about the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sizewell.driver.counters import Counters
from sizewell.driver.recording import Recording
from sizewell.traffic.requests import NONE, Requests
from sizewell.traffic.run import OK

LEAST_RATE_FRACTION = 0.98
MOST_DELAY_P50_S, MOST_DELAY_P99_S = 0.010, 0.500
MOST_CPU_FRACTION = 0.80
MOST_HIT_FRACTION = 0.01
MOST_LENGTH_FRACTION = 0.05
LEAST_ROUNDS = 5
FLOW = "tokens in bunches"
BUNCHED_S, MOST_BUNCHED_FRACTION = 1e-4, 0.2
"""No engine has a step as short: what comes closer together was held up on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition: its value beside its limit; `held` is None where nobody could say."""

    name: str
    held: bool | None
    value: float | None
    limit: float
    says: str


def gates(
    requests: Requests, recordings: Sequence[Recording], cpu_fraction: float, counted: Counters, *, exact: bool = True
) -> tuple[Gate, ...]:
    """Return every gate of one measurement; `exact` says whether answers were to be as long as asked."""
    sent = [one for one in recordings if one.sent_s == one.sent_s]
    return (
        *_sending(requests, sent),
        _most("client CPU", cpu_fraction, MOST_CPU_FRACTION, "of one core: above it the client is what is measured"),
        _flow(recordings),
        *_cache(requests, counted),
        *_lengths(requests, recordings, exact),
        *_outcome(requests, recordings),
    )  # fmt: skip


def _sending(requests: Requests, sent: Sequence[Recording]) -> Iterator[Gate]:
    delays = np.array([one.sent_s - one.scheduled_s for one in sent])
    for name, share, limit in (("p50", 50, MOST_DELAY_P50_S), ("p99", 99, MOST_DELAY_P99_S)):
        value = float(np.percentile(delays, share)) if len(delays) else None
        yield _most(f"schedule delay {name}", value, limit, "seconds from due to sent")
    if requests.concurrency is None and (requests.after == NONE).all() and len(sent) > 1:
        due, went = (np.sort([getattr(one, name) for one in sent]) for name in ("scheduled_s", "sent_s"))
        asked, took = float(due[-1] - due[0]), float(went[-1] - went[0])
        value = min(1.0, asked / took) if took > 0 and asked > 0 else None
        yield _least("achieved rate", value, LEAST_RATE_FRACTION, "of the rate asked for")


def _flow(recordings: Sequence[Recording]) -> Gate:
    """Return whether tokens came one after the other: held up and let go together they have no time of their own."""
    gaps = [np.diff(one.token_s) for one in recordings if one.status == OK and len(one.token_s) > 1]
    value = float(np.mean(np.concatenate(gaps) < BUNCHED_S)) if gaps else None
    says = "of gaps between tokens are none: a proxy buffers, drafts come piece by piece, or the client is starved"
    return _most(FLOW, value, MOST_BUNCHED_FRACTION, says)


def _cache(requests: Requests, counted: Counters) -> Iterator[Gate]:
    shared = float(requests.shared_tokens.sum() / requests.input_tokens.sum())
    known = counted.queried and counted.hits is not None
    value = (counted.hits or 0.0) / counted.queried if known and counted.queried else None
    says = "of prompt tokens, beyond what prompts share: it was run before with the same prompts"
    yield _most("prefix cache hits", value, shared + MOST_HIT_FRACTION, says)


def _lengths(requests: Requests, recordings: Sequence[Recording], exact: bool) -> Iterator[Gate]:
    served = [one for one in recordings if one.status == OK]
    rows = [one.row for one in served]
    if not served:
        return
    asked_in = float(requests.input_tokens[rows].sum())
    got_in = float(sum(one.usage.input_tokens for one in served))
    asked, got = float(sum(one.asked_tokens for one in served)), float(sum(one.output_tokens for one in served))
    says = "mean difference from what was asked"
    input_off = abs(got_in / asked_in - 1) if got_in else None
    yield _most("input lengths", input_off, MOST_LENGTH_FRACTION, says)
    if exact:
        counted = any(one.usage.output_tokens for one in served)
        said = says if counted else f"{says}: the server counts no tokens, so pieces of its streams were taken for them"
        yield _most("output lengths", abs(got / asked - 1), MOST_LENGTH_FRACTION, said)


def _outcome(requests: Requests, recordings: Sequence[Recording]) -> Iterator[Gate]:
    missed = sum(one.status != OK for one in recordings) / max(1, len(recordings))
    yield _most("requests not served", missed, 0.0, "share of the requests that were due")
    if requests.in_flight is not None:
        rounds = len(requests) / requests.in_flight
        yield _least("rounds", rounds, LEAST_ROUNDS, "requests for each one in flight: fewer see mostly start and end")


def spoiled(found: Sequence[Gate], *, times: bool) -> str:
    """Return the first gate that takes from a load what a search compares, empty where none does.

    Bunched tokens have no times of their own, and their number per second all the same: `times` says whether it counts.
    """
    missed = (gate.name for gate in found if gate.held is False and (times or gate.name != FLOW))
    return next(missed, "")


def _most(name: str, value: float | None, limit: float, says: str) -> Gate:
    return Gate(name=name, held=None if value is None else value <= limit, value=value, limit=limit, says=says)


def _least(name: str, value: float | None, limit: float, says: str) -> Gate:
    return Gate(name=name, held=None if value is None else value >= limit, value=value, limit=limit, says=says)
