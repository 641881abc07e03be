"""What comes back from a batch: tokens, the gaps between them, sequences that end."""

from __future__ import annotations

from math import log

from sizewell.simulator.cache import offer_full_blocks
from sizewell.simulator.log import FINISHED, note
from sizewell.simulator.radix import checkpoint
from sizewell.simulator.state import ENDED, RUNNING, Engine
from sizewell.simulator.vllm import leave

GAP_BINS_PER_E = 2000
"""Gaps between tokens are counted in bins of 0.05 %, each with its exact sum."""
GAP_LOG_START = -16.0


def land_batch(engine: Engine, ring: int, now_s: float) -> None:
    """Give every sequence of a batch its tokens at `now_s`; those that have them all leave."""
    batch, state = engine.batches[ring], engine.state[0]
    state.ended = 0
    for place in range(batch.entries):
        entry = engine.entries[ring, place]
        engine.sequences[entry.request].in_flight -= entry.tokens
        if batch.prompts and engine.sequences[entry.request].place == RUNNING:
            checkpoint(engine, entry.request, engine.sequences[entry.request].computed)
        if entry.emits and engine.sequences[entry.request].place != ENDED:
            _deliver(engine, entry.request, entry.emits, now_s)
    if state.ended > 0:
        _close_ranks(engine)


def count_gap(engine: Engine, seconds: float, count: int) -> None:
    """Count gaps between successive tokens of a sequence."""
    clock = engine.clock[0]
    if seconds != clock.gap_s:
        place = int((log(max(seconds, 1e-300)) - GAP_LOG_START) * GAP_BINS_PER_E)
        clock.gap_s, clock.gap_bin = seconds, min(max(place, 0), len(engine.gaps) - 1)
    gap = engine.gaps[clock.gap_bin]
    gap.count += count
    gap.total_s += seconds * count


def speaks(engine: Engine, request: int) -> bool:
    """Return whether the gaps between a sequence's tokens are counted."""
    return bool(engine.rules[0].silences == 0 or engine.requests[request].silent == 0)


def _deliver(engine: Engine, request: int, emits: int, now_s: float) -> None:
    rules, sequence = engine.rules[0], engine.sequences[request]
    if rules.hands_over and sequence.place != RUNNING:
        # Preempted while its prompt was computed: there is no cache to hand over, so it is computed again.
        sequence.placeholders = 0
        return
    gained = 1
    if emits > 1:
        gained += _accepted(engine, request, emits - 1 - sequence.padding)
        sequence.padding = 0
        if sequence.place == RUNNING:
            sequence.computed -= emits - gained
    kept = min(gained, sequence.output_tokens - sequence.generated)
    if rules.async_scheduling:
        # Tokens behind the last one asked for stay unknown.
        sequence.placeholders -= emits - (gained - kept)
    _add_tokens(engine, request, kept, now_s)
    if rules.async_scheduling and sequence.place == RUNNING:
        offer_full_blocks(engine, request, sequence.computed - sequence.placeholders)
    if sequence.generated == sequence.output_tokens:
        note(engine, FINISHED, request, sequence.generated)
        leave(engine, request)


def _add_tokens(engine: Engine, request: int, gained: int, now_s: float) -> None:
    sequence = engine.sequences[request]
    before = sequence.generated
    sequence.generated += gained
    engine.state[0].tokens += gained
    if before == 0:
        sequence.first_s = now_s
    elif speaks(engine, request):
        count_gap(engine, now_s - sequence.last_s, 1)
    if gained > 1 and speaks(engine, request):
        count_gap(engine, 0.0, gained - 1)
    if before <= sequence.think_tokens < sequence.generated:
        sequence.first_answer_s = now_s
    sequence.last_s = now_s


def _accepted(engine: Engine, request: int, drafts: int) -> int:
    """Return how many of a sequence's drafts are accepted."""
    drawn = engine.draws[(request * 8191 + engine.sequences[request].generated) % len(engine.draws)]
    return int(min(drawn, drafts))


def _close_ranks(engine: Engine) -> None:
    """Take ended sequences out of the running list."""
    state, kept = engine.state[0], 0
    for place in range(state.running):
        if engine.sequences[engine.running[place]].place == RUNNING:
            engine.running[kept] = engine.running[place]
            kept += 1
    state.running = kept
    state.roster += 1
    state.full = 0
