"""The identity of a block's tokens: a key chained over everything before it, from the contents its request names.

Two residues modulo primes near 2^31 make a key of 62 bits; no product leaves 64 bits, so that plain Python, numpy
and compiled code agree. Content nobody else can name is keyed by the request itself.
"""

from __future__ import annotations

from typing import NamedTuple

from sizewell.simulator.state import Engine

HIGH_PRIME, LOW_PRIME = 2147483647, 2147483629
HIGH_FACTOR, LOW_FACTOR = 1566083941, 1812433253
LOW_BITS = 31
LOW_MASK = (1 << LOW_BITS) - 1
LENGTH_BITS = 16
ROOT = 1
"""Key of the empty prefix."""


class Cursor(NamedTuple):
    """A place at a block border of a request: the key of all before it, and the content segment it lies in."""

    key: int
    block: int
    segment: int
    segment_from: int


def start_of(engine: Engine, request: int) -> Cursor:
    """Return the cursor before the first block."""
    return Cursor(ROOT, 0, engine.segment_start[request], 0)


def one_block_on(engine: Engine, request: int, cursor: Cursor) -> Cursor:
    """Return the cursor behind the next block."""
    size = engine.rules[0].block_tokens
    key, segment, segment_from = cursor.key, cursor.segment, cursor.segment_from
    position = cursor.block * size
    stop = position + size
    last = engine.segment_start[request + 1]
    while position < stop:
        if segment < last:
            segment_end = segment_from + engine.segment_tokens[segment]
            end = min(stop, segment_end)
            key = _with_piece(key, engine.segment_id[segment], position - segment_from, end - position)
            if end == segment_end:
                segment += 1
                segment_from = end
        else:
            name, offset, end = _own_piece(engine, request, position, stop)
            key = _with_piece(key, name, offset, end - position)
        position = end
    return Cursor(key, cursor.block + 1, segment, segment_from)


def _own_piece(engine: Engine, request: int, position: int, stop: int) -> tuple[int, int, int]:
    """Return (name, offset, end) of what the request brings or generates itself."""
    asked, sequence = engine.requests[request], engine.sequences[request]
    think_from = sequence.input_tokens
    answer_from = think_from + sequence.think_tokens
    if position < think_from:
        return -1 - request, position, min(stop, think_from)
    if position < answer_from:
        if asked.think_id >= 0:
            return asked.think_id, position - think_from, min(stop, answer_from)
        return -1 - request, position, min(stop, answer_from)
    if asked.output_id >= 0:
        return asked.output_id, position - answer_from, stop
    return -1 - request, position, stop


def _with_piece(key: int, name: int, offset: int, length: int) -> int:
    return _mixed(_mixed(key, name), (offset << LENGTH_BITS) + length)


def _mixed(key: int, value: int) -> int:
    high = ((key >> LOW_BITS) * HIGH_FACTOR + value % HIGH_PRIME + 1) % HIGH_PRIME
    low = ((key & LOW_MASK) * LOW_FACTOR + value % LOW_PRIME + 1) % LOW_PRIME
    # Keys are never 0, which means "no key".
    return (high << LOW_BITS) + low + 1
