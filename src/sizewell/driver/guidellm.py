"""Reports of GuideLLM, of 0.2 and 0.3 and of those since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import nan
from typing import Any

from sizewell.driver.gates import Gate
from sizewell.driver.imported import MOST_ERROR_CHARACTERS, Imported, as_imported, as_stated, failed_status
from sizewell.driver.recording import Recording
from sizewell.driver.replies import Usage
from sizewell.driver.summaries import guidellm_figures
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import FAILED, OK, UNFINISHED

CLOSED = ("synchronous", "concurrent", "throughput")
"""Strategies whose `targeted_start` is the beginning of the load for all requests: a free place calls the next."""
KINDS = (("successful", OK), ("errored", FAILED), ("incomplete", UNFINISHED))


def from_guidellm(found: Mapping[str, Any]) -> tuple[Imported, ...]:
    """Return the loads of a GuideLLM report; it keeps first and last token of a request, and when it was to start.

    Of a report that keeps a sample of its requests, the figures of all are taken; where it has none, a gate says what
    share it is: its times hold, its throughput does not.
    """
    loads = []
    for number, load in enumerate(found["benchmarks"]):
        closed = _strategy(load).get("type_") in CLOSED
        sampled = tuple(_sampled(load))
        if "metrics" in load and "duration" in load and not all(gate.held for gate in sampled):
            at_once, rate = (_at_once(load), None) if closed else (None, _strategy(load).get("rate"))
            loads.append(as_stated("GuideLLM", guidellm_figures(load), concurrency=at_once, rate=rate))
            continue
        rows = [_row(one, status, closed) for kind, status in KINDS for one in load["requests"].get(kind) or ()]
        if rows:
            read = as_imported("GuideLLM", _label(load, number), rows, gaps_known=False)
            loads.append(replace(read, concurrency=_at_once(load) if closed else None, gates=sampled))
    if not loads:
        raise BadInputError("the GuideLLM report holds no request: write it with all requests kept")
    return tuple(loads)


def _strategy(load: Mapping[str, Any]) -> Mapping[str, Any]:
    return (load.get("config") or load.get("args") or {}).get("strategy") or {}


def _label(load: Mapping[str, Any], number: int) -> str:
    """Return streams, or the rate: one that is offered has a bound of connections besides, which is no load."""
    rate = _strategy(load).get("rate")
    return f"{rate:.3g}/s" if rate else str(_at_once(load) or number)


def _at_once(load: Mapping[str, Any]) -> int | None:
    strategy = _strategy(load)
    alone = 1 if strategy.get("type_") == "synchronous" else None
    found: int | None = strategy.get("streams") or strategy.get("max_concurrency") or alone
    return found


def _sampled(load: Mapping[str, Any]) -> Iterator[Gate]:
    totals = load.get("request_totals") or (load.get("metrics") or {}).get("request_totals")
    if totals:
        whole = sum(totals[kind] for kind, _ in KINDS)
        kept = sum(min(len(load["requests"].get(kind) or ()), totals[kind]) for kind, _ in KINDS)
        share = kept / whole if whole else 1.0
        says = "of what was measured: throughput and load are of this sample (GuideLLM's --sample-requests)"
        yield Gate(name="requests kept", held=share == 1.0, value=share, limit=1.0, says=says)


def _row(one: Mapping[str, Any], status: int, closed: bool) -> Recording:
    times = one["info"]["timings"] if "info" in one else _old_times(one)
    error = one.get("info", one).get("error")
    sent_s = times.get("request_start") or times.get("resolve_start")
    due_s = min(filter(None, (None if closed else times.get("targeted_start"), sent_s)), default=nan)
    tokens = int(one.get("output_tokens") or times.get("token_iterations") or 0)
    ends = [times.get("first_token_iteration"), times.get("last_token_iteration")]
    known, words = [at for at in ends if at is not None], str(error or "")
    status = status if status != OK or (known and tokens) else FAILED
    return Recording(
        row=0, scheduled_s=due_s, sent_s=sent_s or due_s, asked_tokens=max(1, tokens), token_s=known[: max(1, tokens)],
        first_answer_s=times.get("first_output_token_iteration") or nan,
        usage=Usage(input_tokens=int(one.get("prompt_tokens") or 0), output_tokens=tokens),
        status=failed_status(words) if status == FAILED else status, error=words[:MOST_ERROR_CHARACTERS],
    )  # fmt: skip


def _old_times(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the times of a request as GuideLLM 0.2 and 0.3 write them, under today's names."""
    return {
        "targeted_start": one["scheduler_info"].get("targeted_start_time"),
        "request_start": one["start_time"],
        "first_token_iteration": one.get("first_token_time"),
        "last_token_iteration": one.get("last_token_time"),
    }
