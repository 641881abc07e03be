"""Cache kept in host memory: full blocks are copied there when they are computed, and the oldest ones go first.

A prompt whose blocks are gone from the accelerators but still on the host brings them back over the host link instead
of computing them again; the step that admits it takes that much longer.
"""

from __future__ import annotations

from sizewell.simulator.blocks import NULL, find_block, make_latest, remember, take_block
from sizewell.simulator.content import Cursor, one_block_on
from sizewell.simulator.state import Engine, Pool


def host_of(engine: Engine) -> Pool:
    """Return the pool of blocks in host memory."""
    return Pool(engine.rules, engine.host_state, engine.host_blocks, engine.host_places)


def keep_on_host(engine: Engine, key: int) -> None:
    """Copy a block that has just been filled to the host, unless it is there."""
    if engine.rules[0].host_blocks == 0:
        return
    host = host_of(engine)
    block = find_block(host, key)
    if block == NULL:
        block = take_block(host)
        remember(host, block, key)
    make_latest(host, block)


def follow_on_host(engine: Engine, request: int, cursor: Cursor, most: int) -> int:
    """Return how many blocks behind a cursor, of at most `most` in all, the host holds in a row."""
    found = 0
    if engine.rules[0].host_blocks == 0:
        return 0
    host = host_of(engine)
    while cursor.block < most:
        cursor = one_block_on(engine, request, cursor)
        block = find_block(host, cursor.key)
        if block == NULL:
            return found
        make_latest(host, block)
        found += 1
    return found
