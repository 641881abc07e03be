"""The step times of one replica as arrays that compiled code reads: `costs.step.price`, tabulated once.

    step = max(latency + slowest stage × (work + gaps) + host, slowest stage × launches + host, front end)
           where steps overlap what the host does for sequences is no part of `host` but a bound like launches
    work = tokens(T) + experts(all ranks' T) + head(rows) + expansion(T + cached) + state(T, sequences)
           + decode attention(sequences, context) + prefill attention(sequences, chunk, visible) + selection

Each term is one table made by `costs.tabulate`. Functions here are plain Python over tuples of arrays and floats, so
that a compiler can take them unchanged.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

from sizewell.costs.axis import FIELDS, GAPS, LAST, SECONDS, Tables, on_line, on_sheet, on_stack, place

(
    TOKENS, EXPERTS, SAMPLED, EXPANSION, DRAFTS, DRAFT_EXPERTS, STATE, SELECTION, DECODE, DECODE_ALONE, PREFILL,
) = range(11)  # fmt: skip
"""Numbers of the tables. `DECODE` is attention over the cache, `DECODE_ALONE` the same with what a step selects by
index when it prefills nothing."""


class StepBatch(NamedTuple):
    """What one rank computes in a step; sums over its sequences, not means.

    `prefill_pairs` = Σ chunk × (cached + chunk/2). `elsewhere_tokens` and `elsewhere_sequences` are what the other
    data-parallel ranks compute in the same step, for the experts and the front end they share.
    """

    decode_sequences: float
    decode_context_tokens: float
    prefill_tokens: float
    prefill_sequences: float
    prefill_context_tokens: float
    prefill_pairs: float
    elsewhere_tokens: float = 0.0
    elsewhere_sequences: float = 0.0


class Issue(NamedTuple):
    """Seconds and counts by which steps are issued; `eager_launch_s` and `front_token_s` are 0 where they never bind.

    `inside_token_s` is the front end's where it is no process of its own; `overlapped` is 1 where the host looks after
    sequences while the accelerator works. `prefill_launch_s` is that of steps with prompts or of more than
    `recorded_tokens`, which no recorded graph fits; of those with no more than `pieced_tokens` recorded pieces hold
    everything but attention: `decode_pieces` and `prefill_launches`.

    A step has `launches`, and `decode_launches` or `prefill_launches` more when it decodes or prefills; `eager_apart`
    more where every one is issued. `chunk_s` is what another chunk costs for being one.
    """

    launches: float
    decode_launches: float
    prefill_launches: float
    gap_s: float
    eager_launch_s: float
    prefill_launch_s: float
    host_step_s: float
    host_sequence_s: float
    front_token_s: float
    inside_token_s: float
    fixed_s: float
    chunk_s: float
    slowest_stage: float
    stages: float
    overlapped: float
    pieced_tokens: float
    recorded_tokens: float
    decode_pieces: float
    eager_apart: float


class StepSurface(NamedTuple):
    """The seconds of one replica's rank: tables, how steps are issued, and the `query_tokens` (1 + drafts) that are
    computed for each decoding sequence.
    """

    tables: Tables
    issue: Issue
    query_tokens: float


def step_s(surface: StepSurface, batch: StepBatch) -> float:
    """Return the seconds of one step; under pipeline parallelism the trip of one micro-batch through all stages."""
    if batch.decode_sequences + batch.prefill_tokens + batch.elsewhere_tokens <= 0.0:
        return 0.0
    work, latency = _steady_s(surface, batch)
    if batch.prefill_tokens > 0.0:
        work += _prefill_s(surface, batch)
    if batch.decode_sequences > 0.0:
        table = DECODE if batch.prefill_tokens > 0.0 else DECODE_ALONE
        work += on_sheet(
            surface.tables, table, batch.decode_sequences, batch.decode_context_tokens / batch.decode_sequences
        )
    working, least = _issue_s(surface.issue, batch, surface.query_tokens)
    return max(latency + surface.issue.slowest_stage * work + working, least)


def interval_s(surface: StepSurface, batch: StepBatch) -> float:
    """Return the seconds from the start of one micro-batch to that of the next; without stages, the whole step."""
    return step_s(surface, batch) / surface.issue.stages


def decode_run_s(
    surface: StepSurface, sequences: float, context_tokens_sum: float, steps: int,
    elsewhere_tokens: float = 0.0, elsewhere_sequences: float = 0.0,
) -> float:  # fmt: skip
    """Return the sum of `steps` consecutive steps that only decode; every sequence grows by a token each step."""
    run = _run(surface, sequences, context_tokens_sum, elsewhere_tokens, elsewhere_sequences)
    total, done = 0.0, 0
    while done < steps:
        length, first_s, growth_s = _piece(surface, run, done, steps - done)
        total += length * first_s + growth_s * (0.5 * length * (length - 1))
        done += length
    return total


def decode_steps_within(
    surface: StepSurface, sequences: float, context_tokens_sum: float, seconds: float, most: int,
    elsewhere_tokens: float = 0.0, elsewhere_sequences: float = 0.0,
) -> int:  # fmt: skip
    """Return how many of at most `most` steps that only decode start before `seconds` have gone by."""
    run = _run(surface, sequences, context_tokens_sum, elsewhere_tokens, elsewhere_sequences)
    gone, done = 0.0, 0
    while done < most and gone < seconds:
        length, first_s, growth_s = _piece(surface, run, done, most - done)
        starting = _starting(first_s, growth_s, seconds - gone, length)
        if starting < length:
            return done + starting
        gone += length * first_s + growth_s * (0.5 * length * (length - 1))
        done += length
    return done


class _Run(NamedTuple):
    """Steps that only decode: step k takes max(slope × attention(context + k) + constant, least)."""

    row: int
    beyond: float
    context_tokens: float
    slope: float
    constant_s: float
    least_s: float


def _run(
    surface: StepSurface, sequences: float, context_tokens_sum: float, elsewhere_tokens: float,
    elsewhere_sequences: float,
) -> _Run:  # fmt: skip
    batch = StepBatch(
        sequences, context_tokens_sum, 0.0, 0.0, 0.0, 0.0, elsewhere_tokens, elsewhere_sequences
    )  # fmt: skip
    work, latency = _steady_s(surface, batch)
    working, least = _issue_s(surface.issue, batch, surface.query_tokens)
    slope = surface.issue.slowest_stage
    row, beyond = place(surface.tables, surface.tables.places[DECODE_ALONE * FIELDS], sequences)
    return _Run(row, beyond, context_tokens_sum / sequences, slope, latency + slope * work + working, least)


def _piece(surface: StepSurface, run: _Run, done: int, most: int) -> tuple[int, float, float]:
    """Return how many of the next steps (1 to `most`) lie on one line, the first's seconds and each one's growth."""
    values, places = surface.tables.values, surface.tables.places
    columns = places[DECODE_ALONE * FIELDS + 1]
    context = run.context_tokens + done
    at, past = place(surface.tables, columns, context)
    width = places[columns + LAST] + 2
    corner = places[DECODE_ALONE * FIELDS + SECONDS] + run.row * width + at
    low = values[corner] + run.beyond * (values[corner + width] - values[corner])
    high = values[corner + 1] + run.beyond * (values[corner + 1 + width] - values[corner + 1])
    first = run.slope * (low + past * (high - low)) + run.constant_s
    growth = run.slope * (high - low) * values[places[columns + GAPS] + at]
    length = most
    if at < places[columns + LAST]:
        length = max(1, min(most, ceil(values[places[columns] + at + 1] - context)))
    return _bent(run, first, growth, length)


def _bent(run: _Run, first_s: float, growth_s: float, length: int) -> tuple[int, float, float]:
    """Return the piece up to where the line of working time crosses the least a step takes."""
    room = run.least_s - first_s
    if room > 0.0:
        if growth_s * (length - 1) > room:
            length = max(1, ceil(room / growth_s))
        return length, run.least_s, 0.0
    if growth_s * (length - 1) < room:
        length = max(1, int(room / growth_s) + 1)
    return length, first_s, growth_s


def _starting(first_s: float, growth_s: float, seconds: float, length: int) -> int:
    """Return how many of `length` steps start before `seconds`: step j starts at first·j + growth·j(j−1)/2."""
    linear = first_s - 0.5 * growth_s
    inside = linear * linear + 2.0 * growth_s * seconds
    guess = 2.0 * seconds / (linear + sqrt(inside)) if inside > 0.0 else float(length)
    count = max(1, min(length, ceil(min(guess, float(length)))))
    while count > 1 and first_s * (count - 1) + growth_s * (0.5 * (count - 1) * (count - 2)) >= seconds:
        count -= 1
    while count < length and first_s * count + growth_s * (0.5 * count * (count - 1)) < seconds:
        count += 1
    return count


def _steady_s(surface: StepSurface, batch: StepBatch) -> tuple[float, float]:
    """Return the work and the latency of everything that does not depend on a decoded context."""
    decoded = batch.decode_sequences * surface.query_tokens
    # A rank with nothing to do keeps its neighbours company with one token.
    tokens = max(decoded + batch.prefill_tokens, 1.0)
    everywhere = tokens + batch.elsewhere_tokens
    sequences = max(batch.decode_sequences + batch.prefill_sequences, 1.0)
    work, latency = on_line(surface.tables, TOKENS, tokens)
    routed, routed_latency = on_line(surface.tables, EXPERTS, everywhere)
    head, head_latency = on_line(surface.tables, SAMPLED, decoded + batch.prefill_sequences)
    expanded, _ = on_line(surface.tables, EXPANSION, tokens + batch.prefill_context_tokens)
    work += routed + head + expanded + on_sheet(surface.tables, STATE, tokens / sequences, sequences)
    latency += routed_latency + head_latency
    if surface.query_tokens > 1.0 and batch.decode_sequences > 0.0:
        proposing, proposing_latency = _proposing_s(surface, batch)
        work += proposing
        latency += proposing_latency
    return work, latency


def _proposing_s(surface: StepSurface, batch: StepBatch) -> tuple[float, float]:
    """Return work and latency of drafts; of the sequences elsewhere as many decode as here."""
    own, own_latency = on_line(surface.tables, DRAFTS, batch.decode_sequences)
    decoding = batch.decode_sequences / (batch.decode_sequences + batch.prefill_sequences)
    everywhere = batch.decode_sequences + decoding * batch.elsewhere_sequences
    routed, routed_latency = on_line(surface.tables, DRAFT_EXPERTS, everywhere)
    return own + routed, own_latency + routed_latency


def _prefill_s(surface: StepSurface, batch: StepBatch) -> float:
    """Return attention of the chunks: unequal ones cost what equal ones with the same pairs and cached rows do, but
    for their number.
    """
    visible = batch.prefill_pairs / batch.prefill_tokens
    held = batch.prefill_context_tokens + batch.prefill_tokens
    alike = max((held - 0.5 * batch.prefill_tokens) / visible, 1.0)
    found = on_stack(surface.tables, PREFILL, alike, batch.prefill_tokens / alike, visible)
    found += surface.issue.chunk_s * (batch.prefill_sequences - alike)
    pairs = batch.decode_context_tokens * surface.query_tokens + batch.prefill_pairs
    held += batch.decode_context_tokens
    return found + on_sheet(surface.tables, SELECTION, pairs / held, held)


def _issue_s(issue: Issue, batch: StepBatch, query_tokens: float) -> tuple[float, float]:
    """Return what the host adds to the work of a step, and the least a step takes beside latency."""
    launches = issue.launches
    if batch.decode_sequences > 0.0:
        launches += issue.decode_launches
    if batch.prefill_tokens > 0.0:
        launches += issue.prefill_launches
    sequences = batch.decode_sequences + batch.prefill_sequences + batch.elsewhere_sequences
    host = issue.host_step_s + issue.fixed_s
    # Each data-parallel rank schedules its own; they share a front end.
    tended = issue.host_sequence_s * (batch.decode_sequences + batch.prefill_sequences)
    tended += issue.inside_token_s * sequences
    issued = (launches + issue.eager_apart) * issue.eager_launch_s
    # Steps of one token a sequence fit the recorded graphs, be it the last of a prompt whose rest came from elsewhere.
    tokens = batch.decode_sequences * query_tokens + batch.prefill_tokens
    if batch.prefill_tokens > batch.prefill_sequences or tokens > issue.recorded_tokens:
        issued = max(issued, _unrecorded(issue, batch, launches, query_tokens) * issue.prefill_launch_s)
    issued *= issue.slowest_stage
    sent = issue.front_token_s * sequences
    gaps = issue.slowest_stage * launches * issue.gap_s
    if issue.overlapped > 0.0:
        return gaps + host, max(max(issued, tended) + host, sent)
    return gaps + tended + host, max(issued + tended + host, sent)


def _unrecorded(issue: Issue, batch: StepBatch, launches: float, query_tokens: float) -> float:
    """Return the launches of a step with prompts that no recorded piece holds."""
    if batch.decode_sequences * query_tokens + batch.prefill_tokens > issue.pieced_tokens:
        return launches
    return issue.prefill_launches + (issue.decode_pieces if batch.decode_sequences > 0.0 else 0.0)
