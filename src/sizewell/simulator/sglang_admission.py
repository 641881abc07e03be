"""Whom SGLang lets in: budgets of tokens and of memory for one batch of prompts, filled in order of arrival.

A request is admitted when its prompt and its output fit beside what running ones are still expected to generate. Where
outputs are known to be as long as was asked for and no prefix is kept, admission plays out instead who ends when.
"""

from __future__ import annotations

from sizewell.simulator.arriving import comes_computed, expect
from sizewell.simulator.batches import add_chunk
from sizewell.simulator.cache import free_tokens, place_prefix
from sizewell.simulator.log import SCHEDULED, note
from sizewell.simulator.prefix import find_prefix, seek
from sizewell.simulator.radix import touch_hits, unused_hits
from sizewell.simulator.state import NO_ROOM, NO_SEAT, NONE, OPEN, PRIORITY, Engine
from sizewell.simulator.vllm import start_running
from sizewell.simulator.waiting import first_waiting, withdraw

MOST_EXPECTED = 4096
"""Output tokens of one request beyond which no memory is set aside for it."""
TOUCH_LOOKS, MOST_TOUCHED = 32, 128
"""Looks at the queue from one touch of what waits there to the next, and of how many requests."""


def open_budgets(engine: Engine, decoding: int) -> None:
    """Set what a batch of prompts may use beside the first running sequences, which decode."""
    rules, state = engine.rules[0], engine.state[0]
    state.unheld = free_tokens(engine)
    state.room = state.unheld - _expected(engine, decoding)
    state.budget = rules.max_num_batched_tokens
    state.ordered = NONE


def go_on(engine: Engine, ring: int) -> None:
    """Compute the next chunk of the prompt that is computed in part."""
    state = engine.state[0]
    request = engine.running[state.running - 1]
    sequence = engine.sequences[request]
    tokens = min(sequence.input_tokens + sequence.generated - sequence.computed, state.budget)
    if state.room >= 1.0:
        tokens = min(tokens, int(state.room))
    _run_chunk(engine, ring, request, tokens)


def admit(engine: Engine, ring: int) -> None:
    """Admit waiting requests in order until one does not fit."""
    state = engine.state[0]
    if state.spare > 0 or engine.batches[ring].entries > 0:
        _touch_waiting(engine)
    while state.heard > 0:
        state.blocked = NO_SEAT
        if state.budget <= 0:
            return
        if state.spare == 0:
            state.full = 1
            return
        request = first_waiting(engine)
        taken = _await(engine, request) if comes_computed(engine, request) else _take_in(engine, ring, request)
        if not taken:
            return
        if state.room <= 0.0:
            state.full = 1
            return
    state.blocked = OPEN


def _take_in(engine: Engine, ring: int, request: int) -> bool:
    """Admit a request if it fits, and compute its first chunk."""
    rules, state, sequence = engine.rules[0], engine.state[0], engine.sequences[request]
    found = find_prefix(engine, request)
    touch_hits(engine)
    loaded = state.hit_on_host * rules.block_tokens
    rest = sequence.input_tokens + sequence.generated - found - loaded
    _set_aside(engine, unused_hits(engine) * rules.block_tokens + loaded, 0)
    state.blocked = NO_ROOM
    if not _fits(engine, request, rest):
        state.full = int(state.running > 0)
        return False
    state.blocked = NO_SEAT
    tokens = _first_chunk(engine, ring, rest)
    if tokens == 0 or not place_prefix(engine, request, found, found + loaded):
        return False
    withdraw(engine, request)
    start_running(engine, request, found + loaded)
    state.heard -= 1
    engine.batches[ring].load_s += loaded * rules.host_token_s
    _run_chunk(engine, ring, request, tokens)
    return True


def _await(engine: Engine, request: int) -> bool:
    """Ask for the cache of a prompt that was computed elsewhere, if it fits."""
    state, sequence = engine.state[0], engine.sequences[request]
    output = min(sequence.output_tokens, MOST_EXPECTED)
    state.blocked = NO_ROOM
    if sequence.input_tokens + output + _page(engine) >= state.room or not expect(engine, request):
        return False
    _set_aside(engine, sequence.input_tokens, output)
    state.heard -= 1
    return True


def _fits(engine: Engine, request: int, rest: int) -> bool:
    state, sequence = engine.state[0], engine.sequences[request]
    if _plays(engine):
        return _plays_out(engine, request, _paged(engine, rest) + _page(engine))
    ahead = min(sequence.output_tokens - sequence.generated, MOST_EXPECTED)
    return bool(rest + ahead + _page(engine) < state.room)


def _first_chunk(engine: Engine, ring: int, rest: int) -> int:
    """Return how many of a prompt's tokens are computed at once: whole pages, where it does not fit whole; 0: none."""
    budget, alone = engine.state[0].budget, engine.batches[ring].entries == 0
    if not engine.rules[0].chunked_prefill:
        return rest if alone or _paged(engine, rest) < budget else 0
    # The engine refuses to start with chunks smaller than a page.
    if _plays(engine) or (alone and budget < _page(engine)):
        return int(min(rest, budget))
    return rest if _paged(engine, rest) <= budget else int(budget // _page(engine) * _page(engine))


def _run_chunk(engine: Engine, ring: int, request: int, tokens: int) -> None:
    """Compute the next chunk of a prompt; others find what it fills when it has come back."""
    state, sequence = engine.state[0], engine.sequences[request]
    add_chunk(engine, ring, request, tokens)
    note(engine, SCHEDULED, request, tokens)
    whole = sequence.computed == sequence.input_tokens + sequence.generated
    state.amid = int(not whole)
    _set_aside(engine, _paged(engine, tokens) + _page(engine), min(sequence.output_tokens, MOST_EXPECTED) * int(whole))
    state.budget -= _paged(engine, tokens)


def _set_aside(engine: Engine, now: int, later: int) -> None:
    """Count tokens as held now, and others as expected later."""
    engine.state[0].unheld -= now
    engine.state[0].room -= now + later


def _page(engine: Engine) -> int:
    rules = engine.rules[0]
    return 1 if rules.pool_tokens > 0 else int(rules.block_tokens)


def _paged(engine: Engine, tokens: int) -> int:
    page = _page(engine)
    return int((tokens + page - 1) // page * page)


def _expected(engine: Engine, decoding: int) -> float:
    """Return the tokens that the first running sequences are expected to generate yet."""
    rules, state, expected = engine.rules[0], engine.state[0], 0.0
    ratio = 1.0 if rules.fixed_lengths and rules.expects_fixed_whole else state.ratio
    for place in range(decoding):
        sequence = engine.sequences[engine.running[place]]
        expected += min(sequence.output_tokens - sequence.generated, MOST_EXPECTED) * ratio
    return expected


def _touch_waiting(engine: Engine) -> None:
    """Count what waiting requests will find as used, once in so many looks at the queue: the first in it last."""
    state = engine.state[0]
    state.looks += 1
    if not engine.rules[0].touches_waiting or (state.looks - 1) % TOUCH_LOOKS > 0:
        return
    request, most = state.first, min(state.heard, MOST_TOUCHED)
    if engine.rules[0].policy == PRIORITY:
        # The heap is in order but roughly; its first is the first.
        for place in range(most - 1, -1, -1):
            _touch(engine, engine.heap[place])
        return
    for _ in range(1, most):
        request = engine.sequences[request].behind
    while request != NONE:
        _touch(engine, request)
        request = engine.sequences[request].before


def _touch(engine: Engine, request: int) -> None:
    sequence = engine.sequences[request]
    seek(engine, request, (sequence.input_tokens + sequence.generated) // engine.rules[0].block_tokens)
    touch_hits(engine)


def _plays(engine: Engine) -> bool:
    return bool(engine.rules[0].fixed_lengths and not engine.rules[0].prefix_caching)


def _plays_out(engine: Engine, request: int, now: int) -> bool:
    """Return whether nobody runs out of memory if all go on to their ends, beside a request that takes `now`."""
    state, order = engine.state[0], engine.order
    if now > state.unheld or now > state.room:
        return False
    _put_in_order(engine, request)
    free = state.unheld - now
    for place in range(state.ordered):
        sequence = engine.sequences[order[place]]
        together = state.ordered - place
        if free - (sequence.output_tokens - sequence.generated) * together <= together:
            return False
        free += sequence.input_tokens + sequence.generated
    return True


def _put_in_order(engine: Engine, request: int) -> None:
    """Order a request and all running ones by what they have left to generate; one more goes before its equals, and at
    the latest before the last.
    """
    state, order = engine.state[0], engine.order
    if state.ordered != NONE:
        at = 0
        while at < state.ordered - 1 and _left(engine, request) > _left(engine, order[at]):
            at += 1
        for place in range(state.ordered, at, -1):
            order[place] = order[place - 1]
        order[at] = request
        state.ordered += 1
        return
    order[0] = request
    for place in range(state.running):
        other, at = engine.running[place], place + 1
        while at > 0 and _left(engine, order[at - 1]) > _left(engine, other):
            order[at] = order[at - 1]
            at -= 1
        order[at] = other
    state.ordered = state.running + 1


def _left(engine: Engine, request: int) -> int:
    return int(engine.sequences[request].output_tokens - engine.sequences[request].generated)
