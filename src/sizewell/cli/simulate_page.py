"""What `sizewell simulate` prints for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sizewell.cli.explain_page import headline, memory_table, memory_verdict
from sizewell.cli.output import amount, duration, show, table
from sizewell.cli.plots import Page

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.cli.simulations import Simulation
    from sizewell.traffic.distribution import Distribution
    from sizewell.traffic.score import Score
    from sizewell.traffic.throughput import Throughput

HEADS = ("latency", ">n", ">mean", ">p50", ">p90", ">p95", ">p99", ">limit")
NAMES = {
    "ttft": "TTFT, to the first token",
    "ttfa": "TTFA, to the first answer token",
    "tpot": "TPOT, per output token",
    "itl": "ITL, between tokens",
    "e2e": "E2E, to the last token",
}


def show_simulation(found: Simulation) -> None:
    """Print a simulation: what was played, how it was served; or why it cannot be."""
    if found.score is None:
        longest = found.deployment.pools[0].settings.max_model_len_tokens
        show(*headline(found.deployment), memory_table(found.memory), *memory_verdict(found.memory, (longest,)))
        return
    show(
        *headline(found.deployment, found.calibrated_by),
        load_line(found),
        table("Latencies of served requests", HEADS, list(latency_rows(found, found.score))),
        *_measured(found),
        *outcome_lines(found, found.score),
    )


def _measured(found: Simulation) -> tuple[Table, ...]:
    """Return what the trace says happened, where it does, with the simulated means over the measured ones."""
    really, played = found.measured, found.score
    if really is None or played is None:
        return ()
    rows = []
    for key, row in zip(_shown(found), latency_rows(found, really), strict=True):
        mean, truth = getattr(played, key).mean_s, getattr(really, key).mean_s
        ratio = f"× {mean / truth:.3f}" if mean and truth else ""
        rows.append((*row[:-1], ratio) if getattr(really, key).n else (row[0], *("",) * 7))
    heads = (*HEADS[:-1], ">simulated")
    return (table("Measured, as the trace says; simulated mean over it", heads, rows),)


def page(found: Simulation) -> Page:
    """Return the words and numbers around plots."""
    if found.score is None:
        return Page(title=found.deployment.model.name, lines=(), rows=(HEADS,))
    lines = [line for line in headline(found.deployment) if line]
    return Page(
        title=f"{found.deployment.model.name}, simulated",
        lines=(*lines, load_line(found), *outcome_lines(found, found.score)),
        rows=(tuple(head.lstrip(">") for head in HEADS), *latency_rows(found, found.score)),
    )


def load_line(found: Simulation) -> str:
    """Return what was offered."""
    offered, replicas = found.offered, [pool.replicas for pool in found.deployment.pools]
    these = offered.requests
    rate = offered.rate_per_s
    how = f"{rate:.3g} requests/s" if rate is not None else f"{offered.users:,.0f} at a time"
    where = f"seed {offered.seed}" if offered.source == "flags" else f"{offered.source} trace"
    think = f" + {these.think_tokens.mean():,.0f} thought" if these.think_tokens.any() else ""
    return (
        f"Load: {len(these):,} requests, {how}, {these.input_tokens.mean():,.0f} tokens in, "
        f"{these.answer_tokens.mean():,.0f} out{think}; {where}"
        + (f"; {found.router} over {' + '.join(map(str, replicas))} replicas" if sum(replicas) > 1 else "")
    )


def latency_rows(found: Simulation, score: Score) -> Iterator[tuple[str, ...]]:
    """Yield a row for each latency; think time makes TTFA differ from TTFT."""
    for key in _shown(found):
        limit = getattr(found.slo, f"{key}_s", None)
        yield (NAMES[key], *_cells(getattr(score, key)), "" if limit is None else duration(limit))


def _shown(found: Simulation) -> tuple[str, ...]:
    thinks = bool(found.offered.requests.think_tokens.any())
    return tuple(key for key in NAMES if key != "ttfa" or thinks)


def _cells(values: Distribution) -> tuple[str, ...]:
    times = (values.mean_s, values.p50_s, values.p90_s, values.p95_s, values.p99_s)
    return (f"{values.n:,}", *("–" if time is None else duration(time) for time in times))


def outcome_lines(found: Simulation, score: Score) -> Iterator[str]:
    """Yield how many were served, how fast, how well, and every named outcome."""
    yield from dict.fromkeys(felt.refused for felt in (score.ttft, score.tpot, score.itl) if felt.n and felt.refused)
    yield f"served {score.ok:,} of {score.offered:,} requests" + _unserved(score)
    if score.rejected:
        yield why_rejected(found)
    if len(found.offered.requests) > score.offered:
        never = len(found.offered.requests) - score.offered
        yield f"{never:,} more were not due within {duration(found.offered.until_s)}, so not offered"
    if score.wall is not None:
        yield f"throughput: {_rates(score.wall)} over {duration(score.wall.window_s)}"
    yield (
        f"in steady state: {_rates(score.steady)} over {duration(score.steady.window_s)}"
        if score.steady is not None
        else f"in steady state: none, {score.no_steady_because}"
    )
    if score.limits and score.attainment_fraction is not None and score.goodput_requests_per_s is not None:
        yield (
            f"attainment {score.attainment_fraction:.1%} of offered requests met every limit; goodput "
            f"{amount(score.goodput_requests_per_s)} requests/s"
        )
    if score.cached_fraction is not None:
        yield f"prefix cache held {score.cached_fraction:.1%} of prompt tokens; {score.preemptions:,} preemptions"
    yield from _network_lines(found)
    yield from _loss_lines(found)
    yield from (f"assumed: {fact}" for fact in found.assumed)
    if found.overload:
        yield f"OVERLOADED: {found.overload}"
    for held in score.limits:
        if held.held is False and held.value_s is not None:
            yield f"LIMIT MISSED: {held.name} {duration(held.value_s)}, limit {duration(held.limit_s)}"
        elif held.held is None:
            yield f"LIMIT UNDECIDED: there is no {held.name}"


def why_rejected(found: Simulation) -> str:
    """Return what is longer than the deployment takes."""
    context = min(pool.settings.max_model_len_tokens for pool in found.deployment.pools)
    these = found.offered.requests
    return (
        f"rejected is what is longer than the context of {context:,} tokens or than the whole cache of "
        f"{min(memory.kv_tokens for memory in found.memories):,}; the longest request has "
        f"{int((these.input_tokens + these.output_tokens).max()):,}"
    )


def _network_lines(found: Simulation) -> Iterator[str]:
    use = found.network
    if use is not None:
        yield (
            f"KV network {use.name}: {use.prompts:,} caches moved, each {duration(use.waited_s)} in line and "
            f"{duration(use.travelled_s)} on the way on average; its busiest line {use.busiest_fraction:.0%} busy"
        )


def _loss_lines(found: Simulation) -> Iterator[str]:
    for loss in found.losses:
        which = "replica" if loss.pool == "both" else f"{loss.pool} replica"
        if loss.score is None:
            yield f"without one {which}: there is only one, all service is lost"
            continue
        missed = [held.name for held in loss.score.limits if held.held is not True]
        times = (f"{name} {_mean(getattr(loss.score, name.lower()))}" for name in ("TTFT", "TPOT", "E2E"))
        yield (
            f"without one {which}, on {loss.replicas_left}: served {loss.score.ok:,} of {loss.score.offered:,}"
            f"{_unserved(loss.score)}; means {', '.join(times)}"
            + (f"; misses {', '.join(missed)}" if missed else "")
            + ("; OVERLOADED" if loss.overload else "")
        )


def _mean(values: Distribution) -> str:
    return "–" if values.mean_s is None else duration(values.mean_s)


def _unserved(score: Score) -> str:
    words = (("rejected", score.rejected), ("unfinished", score.unfinished), ("failed", score.failed))
    return "".join(f", {count:,} {word.upper()}" for word, count in words if count)


def _rates(rates: Throughput) -> str:
    return (
        f"{amount(rates.output_tokens_per_s)} output tokens/s, {amount(rates.total_tokens_per_s)} with input, "
        f"{rates.requests_per_s:.3g} requests/s"
    )
