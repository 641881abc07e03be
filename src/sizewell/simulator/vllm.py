"""vLLM's V1 scheduler: one token budget a step; running sequences first, then the waiting ones that fit.

There is no prefill and no decode phase. Every sequence has tokens that are known (`input` + `generated`, and
placeholders for those in flight) and tokens that are computed; a step computes more of them, in chunks. Where the
pool lacks blocks the last running sequence loses all of its own and goes back to the front of the waiting queue.
"""

from __future__ import annotations

from sizewell.simulator.arriving import comes_computed, expect, strike_moved
from sizewell.simulator.batches import add_chunk, clear_batch, remove_chunk
from sizewell.simulator.cache import (
    drop_unseen,
    free_sequence,
    grow,
    offer_full_blocks,
    place_prefix,
    reveal,
)
from sizewell.simulator.log import ADMITTED, PREEMPTED, SCHEDULED, STEP, note
from sizewell.simulator.prefix import find_prefix
from sizewell.simulator.radix import checkpoint
from sizewell.simulator.state import ENDED, NO_ROOM, NO_SEAT, NONE, OPEN, PRIORITY, RUNNING, SGLANG, WAITING, Engine
from sizewell.simulator.waiting import comes_before, first_waiting, return_to_front, withdraw


def schedule(engine: Engine, ring: int) -> int:
    """Form the next batch in a place of the ring; return its tokens."""
    state = engine.state[0]
    clear_batch(engine, ring)
    state.blocked = OPEN
    budget = engine.rules[0].max_num_batched_tokens
    preempted = state.preemptions
    place = 0
    while place < state.running and budget > 0:
        request = engine.running[place]
        tokens = min(_wanted(engine, request), budget)
        if tokens <= 0:
            place += 1
            continue
        budget += _make_room(engine, ring, request, tokens)
        if engine.sequences[request].place != RUNNING:
            break
        # Victims may have stood before this sequence in the list.
        while engine.running[place] != request:
            place -= 1
        _run_chunk(engine, ring, request, tokens)
        budget -= tokens
        place += 1
    if state.preemptions == preempted:
        _admit(engine, ring, budget)
    return close_batch(engine, ring)


def leave(engine: Engine, request: int) -> None:
    """End a sequence that has all its tokens, running or preempted in the meantime."""
    sequence, state = engine.sequences[request], engine.state[0]
    if sequence.place == WAITING:
        withdraw(engine, request)
    else:
        # In step, blocks are offered when the next step is formed: drafts accepted in the last one come too late.
        if engine.rules[0].scheduler == SGLANG:
            checkpoint(engine, request, sequence.computed - sequence.placeholders)
        elif engine.rules[0].async_scheduling or engine.rules[0].drafts == 0:
            offer_full_blocks(engine, request, sequence.computed - sequence.placeholders)
        if not engine.rules[0].hands_over:
            free_sequence(engine, request)
    sequence.place = ENDED
    engine.ended[state.ended] = request
    state.ended += 1


def take_from_running(engine: Engine, request: int) -> None:
    """Take a sequence out of the running list."""
    state, running = engine.state[0], engine.running
    place = state.running - 1
    while running[place] != request:
        place -= 1
    for behind in range(place + 1, state.running):
        running[behind - 1] = running[behind]
    state.running -= 1
    state.roster += 1


def _wanted(engine: Engine, request: int) -> int:
    """Return the tokens a running sequence could compute next."""
    rules, sequence = engine.rules[0], engine.sequences[request]
    certain = sequence.computed + 2 - sequence.placeholders
    if sequence.placeholders > 0 and certain >= sequence.input_tokens + sequence.output_tokens:
        return 0
    known = sequence.input_tokens + sequence.generated + sequence.placeholders
    if rules.drafts > 0 and sequence.computed + 1 >= known > sequence.input_tokens:
        known += rules.drafts
    tokens = _limited(engine, known - sequence.computed)
    return int(min(tokens, rules.max_model_len_tokens - 1 - sequence.computed))


def _limited(engine: Engine, tokens: int) -> int:
    rules, state = engine.rules[0], engine.state[0]
    if 0 < rules.long_prefill_tokens < tokens and (rules.long_prefill_alone or state.running + state.waiting > 1):
        return int(rules.long_prefill_tokens)
    return tokens


def _make_room(engine: Engine, ring: int, request: int, tokens: int) -> int:
    """Preempt until the next tokens of a sequence have blocks, or it is itself the victim; return budget freed."""
    rules, sequence = engine.rules[0], engine.sequences[request]
    if rules.windowed:
        drop_unseen(engine, sequence.slot, max(0, sequence.computed - rules.windows_wait * sequence.in_flight))
    needed = min(sequence.computed + tokens + rules.lookahead_tokens, rules.max_model_len_tokens)
    freed = 0
    while not grow(engine, sequence.slot, needed):
        victim = _victim(engine)
        note(engine, PREEMPTED, victim, engine.sequences[victim].computed)
        freed += remove_chunk(engine, ring, victim) if rules.policy == PRIORITY else 0
        _preempt(engine, victim)
        if victim == request:
            break
    return freed


def _victim(engine: Engine) -> int:
    """Return the running sequence to preempt: the last one, or the last by priority and arrival."""
    last = engine.running[engine.state[0].running - 1]
    if engine.rules[0].policy == PRIORITY:
        for place in range(engine.state[0].running):
            if comes_before(engine, last, engine.running[place]):
                last = engine.running[place]
    return int(last)


def _preempt(engine: Engine, request: int) -> None:
    """Take everything from a running sequence: it is computed again from its first token when it is admitted again."""
    state, sequence = engine.state[0], engine.sequences[request]
    take_from_running(engine, request)
    reveal(engine, request)
    free_sequence(engine, request)
    sequence.computed = 0
    sequence.preemptions += 1
    state.preemptions += 1
    return_to_front(engine, request)


def _admit(engine: Engine, ring: int, budget: int) -> None:
    """Move waiting sequences into the running list, in order, until one does not fit."""
    state, rules, batch = engine.state[0], engine.rules[0], engine.batches[ring]
    running, drafts = batch.entries, _drafts_at_once(engine, ring)
    budget = _join(engine, ring, budget, drafts)
    if state.holds > 0:
        return
    while state.waiting > 0:
        state.blocked = NO_SEAT
        if budget <= 0 or state.spare == 0:
            return
        request = first_waiting(engine)
        if request == NONE:
            break
        if comes_computed(engine, request):
            state.blocked = NO_ROOM
            if not expect(engine, request):
                return
            continue
        sequence = engine.sequences[request]
        cached = find_prefix(engine, request) + state.hit_on_host * rules.block_tokens
        tokens = sequence.input_tokens + sequence.generated - cached
        sequence.padding = _padding(engine, cached, running, drafts) if tokens == 1 else 0
        if sequence.padding + 1 > budget:
            return
        tokens = _limited(engine, tokens + sequence.padding)
        if not rules.chunked_prefill and tokens > budget:
            return
        tokens = min(tokens, budget)
        state.blocked = NO_ROOM
        if not place_prefix(engine, request, cached, cached + tokens):
            return
        withdraw(engine, request)
        start_running(engine, request, cached)
        batch.load_s += state.hit_on_host * rules.block_tokens * rules.host_token_s
        _run_chunk(engine, ring, request, tokens)
        budget -= tokens
    if state.moved == 0:
        state.blocked = OPEN


def _join(engine: Engine, ring: int, budget: int, drafts: int) -> int:
    """Let prompts run whose cache has come: each computes its last token; return what is left of the budget."""
    state, running, joined = engine.state[0], engine.batches[ring].entries, 0
    while joined < state.moved:
        request = engine.moved[joined]
        sequence = engine.sequences[request]
        cached = sequence.input_tokens - 1
        sequence.padding = _padding(engine, cached, running, drafts)
        if sequence.padding + 1 > budget:
            state.blocked = NO_SEAT
            break
        start_running(engine, request, cached)
        _run_chunk(engine, ring, request, sequence.padding + 1)
        budget -= sequence.padding + 1
        joined += 1
    strike_moved(engine, joined)
    return budget if state.moved == 0 else 0


def _drafts_at_once(engine: Engine, ring: int) -> int:
    """Return the drafts for which a sequence admitted with one token left is padded; none where no step holds them."""
    rules = engine.rules[0]
    fits = rules.pads_drafts and rules.drafts < rules.max_num_batched_tokens
    return int(rules.drafts) if fits and engine.batches[ring].prefill_sequences == 0 else 0


def _padding(engine: Engine, cached: int, running: int, drafts: int) -> int:
    fits = running + cached > 0 and cached + drafts + 2 <= engine.rules[0].max_model_len_tokens
    return drafts if fits else 0


def start_running(engine: Engine, request: int, cached: int) -> None:
    """Put a sequence that has its blocks into the running list, with so many tokens computed already."""
    state, sequence = engine.state[0], engine.sequences[request]
    engine.running[state.running] = request
    state.running += 1
    state.roster += 1
    sequence.place = RUNNING
    sequence.computed = cached
    if sequence.cached == NONE:
        sequence.cached = cached
    note(engine, ADMITTED, request, cached)


def _run_chunk(engine: Engine, ring: int, request: int, tokens: int) -> None:
    sequence = engine.sequences[request]
    add_chunk(engine, ring, request, tokens)
    offer_full_blocks(engine, request, min(sequence.computed, sequence.input_tokens + sequence.generated))
    note(engine, SCHEDULED, request, tokens)


def close_batch(engine: Engine, ring: int) -> int:
    """Mark a batch in which every running sequence decodes: as long as the list stays, the next one is the same."""
    batch, state = engine.batches[ring], engine.state[0]
    everyone = batch.entries == state.running == batch.emitting and batch.beginning == 0
    if everyone and batch.decode_sequences == batch.entries and engine.rules[0].drafts == 0:
        batch.roster = state.roster
    if batch.tokens > 0:
        state.steps += 1
        note(engine, STEP, batch.entries, batch.tokens)
    return int(batch.tokens)
