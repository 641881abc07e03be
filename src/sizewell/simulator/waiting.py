"""The waiting queue of one engine: first come first served with preempted sequences in front, or by priority."""

from __future__ import annotations

from sizewell.simulator.state import NONE, PRIORITY, WAITING, Engine


def enqueue(engine: Engine, request: int) -> None:
    """Let a new sequence wait behind all others, or where its priority puts it."""
    state, sequences = engine.state[0], engine.sequences
    sequences[request].place = WAITING
    if engine.rules[0].policy == PRIORITY:
        _push(engine, request)
        return
    sequences[request].before = state.last
    sequences[request].behind = NONE
    if state.last == NONE:
        state.first = request
    else:
        sequences[state.last].behind = request
    state.last = request
    state.waiting += 1


def return_to_front(engine: Engine, request: int) -> None:
    """Let a preempted sequence wait in front of all others, or where its priority puts it."""
    state, sequences = engine.state[0], engine.sequences
    sequences[request].place = WAITING
    if engine.rules[0].policy == PRIORITY:
        _push(engine, request)
        return
    sequences[request].before = NONE
    sequences[request].behind = state.first
    if state.first == NONE:
        state.last = request
    else:
        sequences[state.first].before = request
    state.first = request
    state.waiting += 1


def first_waiting(engine: Engine) -> int:
    """Return the sequence to be admitted next."""
    if engine.rules[0].policy == PRIORITY:
        return int(engine.heap[0])
    return int(engine.state[0].first)


def withdraw(engine: Engine, request: int) -> None:
    """Take a sequence out of the queue."""
    state, sequences = engine.state[0], engine.sequences
    if engine.rules[0].policy == PRIORITY:
        _pull(engine, request)
        return
    before, behind = sequences[request].before, sequences[request].behind
    if before == NONE:
        state.first = behind
    else:
        sequences[before].behind = behind
    if behind == NONE:
        state.last = before
    else:
        sequences[behind].before = before
    state.waiting -= 1


def comes_before(engine: Engine, one: int, other: int) -> bool:
    """Return whether `one` is served before `other`: by priority, then time of arrival, then order of the requests."""
    first, second = engine.requests[one].priority, engine.requests[other].priority
    if first != second:
        return bool(first < second)
    sent, later = engine.sequences[one].sent_s, engine.sequences[other].sent_s
    if sent != later:
        return bool(sent < later)
    return one < other


def _push(engine: Engine, request: int) -> None:
    state = engine.state[0]
    engine.heap[state.waiting] = request
    state.waiting += 1
    _rise(engine, state.waiting - 1)


def _pull(engine: Engine, request: int) -> None:
    state, heap = engine.state[0], engine.heap
    at = 0
    while heap[at] != request:
        at += 1
    state.waiting -= 1
    heap[at] = heap[state.waiting]
    _sink(engine, at)
    _rise(engine, at)


def _rise(engine: Engine, at: int) -> None:
    heap = engine.heap
    while at > 0 and comes_before(engine, heap[at], heap[(at - 1) // 2]):
        above = (at - 1) // 2
        heap[at], heap[above] = heap[above], heap[at]
        at = above


def _sink(engine: Engine, at: int) -> None:
    heap, count = engine.heap, engine.state[0].waiting
    while 2 * at + 1 < count:
        below = 2 * at + 1
        if below + 1 < count and comes_before(engine, heap[below + 1], heap[below]):
            below += 1
        if not comes_before(engine, heap[below], heap[at]):
            return
        heap[at], heap[below] = heap[below], heap[at]
        at = below
