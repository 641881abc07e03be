"""What `sizewell bench` says: the scaling table, the latencies, the gates; predicted beside measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object, deployment_object
from sizewell.cli.output import amount, duration, print_json, show, table, talk
from sizewell.cli.simulations import IN_STEP

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.cli.bench_runs import Answer, Point
    from sizewell.traffic.distribution import Distribution
    from sizewell.traffic.score import Held, Score
    from sizewell.traffic.throughput import Throughput
    from sizewell.traffic.workload import Slo

DUE = "from when a request was due"
MEASURED = ("load", ">n", ">tok/s", ">per seq.", ">TTFT p50", ">p99", ">TPOT p50", ">p99", ">E2E p50")


def say(answer: Answer, *, as_json: bool) -> None:
    """Print the answer; what spoils it goes to stderr as well."""
    if as_json:
        print_json("bench", bench_object(answer))
    else:
        show(*page(answer))
    if any(point.measured.offer.requests.keep_step for point in answer.points):
        talk(IN_STEP)
    for line in missed(answer):
        talk(f"warning: {line}")


def page(answer: Answer) -> Iterator[str | Table]:
    """Yield the answer's parts."""
    clock = "as the tool states them, from when it sent; predicted for mean lengths" if answer.stated else DUE
    yield f"{answer.model} at {answer.url}; latencies {clock}"
    if answer.slo.limits:
        yield f"limits: {terms(answer.slo)}; over the served requests of each load"
    yield table("Measured: in flight or requests/s", MEASURED, [measured_row(point) for point in answer.points])
    if any(point.predicted is not None for point in answer.points):
        yield _beside(answer)
    for point in answer.points:
        yield from _outcome(point)
    if answer.searched:
        yield _found(answer)


def missed(answer: Answer) -> list[str]:
    """Return what a strict reader objects to: gates and limits missed, queues that grew."""
    found = []
    for point in answer.points:
        label = point.measured.offer.label
        found += [
            f"{label}: {gate.name} is {gate.value:.3g}, limit {gate.limit:.3g} ({gate.says})"
            for gate in point.measured.gates
            if gate.held is False and gate.value is not None
        ]
        found += [f"{label}: {_unheld(held, point.score)}" for held in point.score.limits if not held.held]
        found += [f"{label}: overloaded, {point.overload}"] if point.overload else []
    return found


def terms(slo: Slo) -> str:
    """Return the limits, each with the statistic it binds."""
    return ", ".join(f"{slo.statistic} {name.upper()} at most {duration(limit)}" for name, limit in slo.limits.items())


def _unheld(held: Held, score: Score) -> str:
    statistic, _, name = held.name.partition(" ")
    if held.value_s is None:
        return f"{statistic} {name.upper()} is not known: {getattr(score, name).refused or 'no values'}"
    return f"{statistic} {name.upper()} is {duration(held.value_s)}, limit {duration(held.limit_s)}"


def speed(score: Score) -> Throughput | None:
    """Return the throughput that is compared: in steady state where there was one."""
    return score.steady or score.wall


def per_sequence_tokens_per_s(score: Score) -> float | None:
    """Return the tokens one user sees per second."""
    return 1 / score.tpot.mean_s if score.tpot.mean_s else None


def measured_row(point: Point) -> tuple[str, ...]:
    """Return one load as a row of the scaling table."""
    score = point.score
    fast, one = speed(score), per_sequence_tokens_per_s(score)
    return (
        point.measured.offer.label,
        f"{score.ok:,}",
        "–" if fast is None else amount(fast.output_tokens_per_s),
        "–" if one is None else amount(one),
        *(_time(value) for value in (score.ttft.p50_s, score.ttft.p99_s, score.tpot.p50_s, score.tpot.p99_s)),
        _time(score.e2e.p50_s),
    )


def _time(value_s: float | None) -> str:
    return "–" if value_s is None else duration(value_s)


def _beside(answer: Answer) -> Table:
    heads = ("load", ">tok/s", ">predicted", ">", ">TTFT", ">predicted", ">", ">TPOT", ">predicted", ">")
    rows: list[tuple[str, ...]] = []
    for point in answer.points:
        pairs = ("–",) * 9 if point.predicted is None else tuple(_pairs(point.score, point.predicted))
        rows.append((point.measured.offer.label, *pairs))
    title = "Measured, predicted for the same requests, and predicted over measured (means)"
    return table(title, heads, rows)


def _pairs(really: Score, played: Score) -> Iterator[str]:
    speeds = [None if fast is None else fast.output_tokens_per_s for fast in map(speed, (really, played))]
    yield from ("–" if value is None else amount(value) for value in speeds)
    yield _ratio(*speeds)
    for name in ("ttft", "tpot"):
        means = [_mean(getattr(score, name)) for score in (really, played)]
        yield from map(_time, means)
        yield _ratio(*means)


def _mean(values: Distribution) -> float | None:
    return values.mean_s


def _ratio(measured: float | None, predicted: float | None) -> str:
    return f"× {predicted / measured:.2f}" if measured and predicted else "–"


def _outcome(point: Point) -> Iterator[str]:
    score, measured = point.score, point.measured
    unserved = (("rejected", score.rejected), ("unfinished", score.unfinished), ("failed", score.failed))
    words = "".join(f", {count:,} {word.upper()}" for word, count in unserved if count)
    state = (
        f"steady for {duration(score.steady.window_s)}" if score.steady else f"not steady: {score.no_steady_because}"
    )
    yield f"{measured.offer.label}: served {score.ok:,} of {score.offered:,}{words}; {state}"
    errors = [one.error for one in measured.recordings if one.error]
    if errors:
        yield f"{measured.offer.label}: the first error: {errors[0]}"
    if score.limits and score.attainment_fraction is not None:
        yield f"{measured.offer.label}: attainment {score.attainment_fraction:.1%} of offered requests met every limit"


def _found(answer: Answer) -> str:
    unknown = "".join(f"{level:,} at once says nothing: {gate}" for level, gate in answer.unknown_above.items())
    if answer.found_concurrency is None:
        return f"search: {unknown or f'not even one at a time holds {terms(answer.slo)}'}"
    limited = answer.slo.limits
    what = f"is the most that holds {terms(answer.slo)}" if limited else "gives nearly all the throughput"
    least = "at least " if unknown else ""
    found = f"search: {least}{answer.found_concurrency:,} at once {what}, in {len(answer.points)} probes"
    return f"{found}; {unknown}" if unknown else found


def bench_object(answer: Answer) -> Object:
    """Return the answer as a JSON object."""
    return {
        "url": answer.url,
        "model": answer.model,
        "salt": answer.salt,
        "limits": answer.slo,
        "figures_only": answer.stated,
        "points": [_point_object(point) for point in answer.points],
        "searched": answer.searched,
        "found_concurrency": answer.found_concurrency,
        "unknown_above": {str(level): gate for level, gate in answer.unknown_above.items()},
        "missed": missed(answer),
    }


def _point_object(point: Point) -> Object:
    requests = point.measured.offer.requests
    return {
        "load": point.measured.offer.label,
        "concurrency": requests.in_flight,
        "requests": len(requests),
        "mean_input_tokens": float(requests.input_tokens.mean()),
        "mean_output_tokens": float(requests.output_tokens.mean()),
        "output_tokens_per_s_per_sequence": per_sequence_tokens_per_s(point.score),
        "score": point.score,
        "predicted": point.predicted,
        "deployment": None if point.deployment is None else deployment_object(point.deployment),
        "overload": point.overload,
        "gates": point.measured.gates,
        "client_cpu_fraction": point.measured.cpu_fraction,
        "preemptions": point.measured.counters.preemptions,
        "errors": sorted({one.error for one in point.measured.recordings if one.error})[:10],
    }
