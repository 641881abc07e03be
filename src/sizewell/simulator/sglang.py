"""SGLang's scheduler over the same parts: prefill goes first, decoding pauses for it, and memory is a forecast.

Once a waiting request does not fit beside what running ones are still expected to generate, nobody is admitted until
one of those has gone (`full`). The expected share (`ratio`) falls while all goes well; where the pool runs out all the
same, sequences are retracted and the share is set anew from what the others have generated so far.
"""

from __future__ import annotations

from sizewell.simulator.arriving import strike_moved
from sizewell.simulator.batches import add_chunk, clear_batch
from sizewell.simulator.blocks import reclaim
from sizewell.simulator.cache import free_sequence, free_tokens, grow, reveal
from sizewell.simulator.log import PREEMPTED, SCHEDULED, note
from sizewell.simulator.sglang_admission import admit, go_on, open_budgets
from sizewell.simulator.state import NO_SEAT, OPEN, Engine
from sizewell.simulator.vllm import close_batch, start_running, take_from_running
from sizewell.simulator.waiting import enqueue

RETRACTED_STEPS = 20
"""Steps every sequence should be able to go on for after a retraction."""


def schedule_sglang(engine: Engine, ring: int) -> int:
    """Form the next batch: prompts if any can be computed, else one token for each running sequence."""
    clear_batch(engine, ring)
    state = engine.state[0]
    state.blocked = OPEN
    _listen(engine)
    # The mark is one of the batch of running sequences, which prompts join and thereby renew when it is empty.
    if state.amid or state.running == 0:
        state.full = 0
    if not state.amid:
        _join(engine)
    _prefill(engine, ring)
    if engine.batches[ring].entries == 0:
        _decode(engine, ring)
    else:
        state.deaf = engine.rules[0].receive_steps
    return close_batch(engine, ring)


def _listen(engine: Engine) -> None:
    """Take notice of requests that have come: once in so many decoding steps, at once after prompts and when idle."""
    state = engine.state[0]
    state.deaf += 1
    if state.deaf >= engine.rules[0].receive_steps or state.running == 0:
        state.deaf = 0
        state.heard = state.waiting


def _prefill(engine: Engine, ring: int) -> None:
    """Go on with the prompt computed in part, and admit others beside it."""
    state, batch = engine.state[0], engine.batches[ring]
    if state.heard == 0 and not state.amid:
        return
    if state.full:
        state.blocked = NO_SEAT
        return
    decoding = state.running - state.amid
    open_budgets(engine, decoding)
    if state.amid:
        go_on(engine, ring)
    if state.heard > 0:
        admit(engine, ring)
    if batch.entries > 0:
        batch.prompts = 1
        _give_blocks(engine, ring)
        if decoding == 0:
            state.full = 0


def _give_blocks(engine: Engine, ring: int) -> None:
    """Give all chunks of a batch of prompts their blocks, after everybody's prefix has been found."""
    batch, size = engine.batches[ring], engine.rules[0].block_tokens
    reclaim(engine, _blocks(engine, batch.tokens + (batch.entries * size if size > 1 else 0)))
    for place in range(batch.entries):
        sequence = engine.sequences[engine.entries[ring, place].request]
        grow(engine, sequence.slot, sequence.computed)


def _join(engine: Engine) -> None:
    """Let prompts run whose cache has come; they take part in the next step that decodes."""
    state = engine.state[0]
    for place in range(state.moved):
        request = engine.moved[place]
        start_running(engine, request, engine.sequences[request].input_tokens - 1)
    strike_moved(engine, state.moved)


def _decode(engine: Engine, ring: int) -> None:
    """Let every running sequence compute a token and its drafts; retract some if there are no blocks for all."""
    rules, state = engine.rules[0], engine.state[0]
    if state.running == 0:
        return
    if _lacks_room(engine):
        _retract(engine)
    else:
        state.ratio = max(state.ratio - rules.ratio_decay, rules.ratio_least)
    # The engine makes room for a page of every sequence, whoever needs one.
    if rules.pool_tokens == 0:
        reclaim(engine, state.running)
    for place in range(state.running):
        request = engine.running[place]
        sequence = engine.sequences[request]
        grow(engine, sequence.slot, sequence.computed + 1 + rules.drafts)
        add_chunk(engine, ring, request, 1 + rules.drafts)
        note(engine, SCHEDULED, request, 1 + rules.drafts)


def _retract(engine: Engine) -> None:
    """Take everything from sequences with the fewest output tokens, longest prompts first, until the rest can go on."""
    state, sequences = engine.state[0], engine.sequences
    _sort_running(engine)
    lacking = True
    while state.running > 1 and lacking:
        victim = engine.running[state.running - 1]
        note(engine, PREEMPTED, victim, sequences[victim].computed)
        take_from_running(engine, victim)
        reveal(engine, victim)
        free_sequence(engine, victim)
        reclaim(engine, _blocks(engine, state.running * RETRACTED_STEPS))
        sequences[victim].computed = 0
        sequences[victim].preemptions += 1
        state.preemptions += 1
        enqueue(engine, victim)
        state.heard += 1
        lacking = _lacks_room(engine)
    generated = asked = 0
    for place in range(state.running):
        generated += sequences[engine.running[place]].generated
        asked += sequences[engine.running[place]].output_tokens
    state.ratio = min(1.0, (generated + RETRACTED_STEPS * state.running) / (asked + 1))
    state.full = 0
    # A seat and blocks are free that were not when the queue was last looked at.
    state.blocked = OPEN


def _blocks(engine: Engine, tokens: int) -> int:
    size = engine.rules[0].block_tokens
    return int((tokens + size - 1) // size)


def _sort_running(engine: Engine) -> None:
    """Put the sequences that are retracted first last."""
    running = engine.running
    for place in range(1, engine.state[0].running):
        request, at = running[place], place
        while at > 0 and _goes_before(engine, running[at - 1], request):
            running[at] = running[at - 1]
            at -= 1
        running[at] = request


def _goes_before(engine: Engine, one: int, other: int) -> bool:
    """Return whether one sequence is retracted before another."""
    first, second = engine.sequences[one], engine.sequences[other]
    if first.generated != second.generated:
        return bool(first.generated < second.generated)
    return bool(first.input_tokens > second.input_tokens)


def _lacks_room(engine: Engine) -> bool:
    """Return whether one more token of every running sequence and its drafts do not fit."""
    rules = engine.rules[0]
    if rules.pool_tokens > 0:
        return bool(engine.state[0].running * (1 + rules.drafts) > free_tokens(engine))
    size, needed = engine.rules[0].block_tokens, 0
    more = size + engine.rules[0].drafts
    for place in range(engine.state[0].running):
        sequence = engine.sequences[engine.running[place]]
        needed += max(0, (sequence.computed + more) // size - engine.held[0, sequence.slot])
    return bool(needed > engine.state[0].free)
