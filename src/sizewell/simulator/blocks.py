"""The block pool: a free list in the order of reuse, and the map from the key of a full block to the block.

Block 0 is the null block: it stands where a table needs an entry and no memory, and is the sentinel of the free list.
Freed blocks wait at the back, still findable by their key, until they are the oldest; blocks that were never full go
to the front where the engine's version does so.
"""

from __future__ import annotations

from sizewell.simulator.state import Engine, Smalls

NULL = 0
NO_KEY = 0


def take_block(engine: Engine) -> int:
    """Take the block at the front of the free list; what it held is forgotten."""
    blocks = engine.blocks
    block = blocks[NULL].next
    if blocks[block].key != NO_KEY:
        forget(engine, block)
    _unlink(engine, block)
    blocks[block].users = 1
    return int(block)


def share_block(engine: Engine, block: int) -> None:
    """Let one more sequence use a block found by its key."""
    if engine.blocks[block].users == 0:
        _unlink(engine, block)
    engine.blocks[block].users += 1


def release_blocks(engine: Engine, table: Smalls, first: int, last: int) -> None:
    """Give back `table[first:last]`, the tail first; entries become null blocks."""
    blocks = engine.blocks
    to_front = engine.rules[0].unhashed_first
    front = NULL
    for place in range(last - 1, first - 1, -1):
        block = table[place]
        table[place] = NULL
        if block == NULL:
            continue
        blocks[block].users -= 1
        if blocks[block].users == 0:
            if to_front and blocks[block].key == NO_KEY:
                _link_behind(engine, block, front)
                front = block
            else:
                _link_behind(engine, block, blocks[NULL].previous)


def find_block(engine: Engine, key: int) -> int:
    """Return the block that was longest remembered under this key, or the null block."""
    mask = len(engine.places) - 1
    place = key & mask
    while engine.places[place] != NULL:
        if engine.blocks[engine.places[place]].key == key:
            return int(engine.places[place])
        place = (place + 1) & mask
    return NULL


def remember(engine: Engine, block: int, key: int) -> None:
    """Make a full block findable; several blocks may carry one key."""
    mask = len(engine.places) - 1
    place = key & mask
    while engine.places[place] != NULL:
        place = (place + 1) & mask
    engine.places[place] = block
    engine.blocks[block].key = key


def forget(engine: Engine, block: int) -> None:
    """Take a block out of the map; entries behind it move up so that every one stays reachable from its home."""
    places, blocks = engine.places, engine.blocks
    mask = len(places) - 1
    hole = blocks[block].key & mask
    while places[hole] != block:
        hole = (hole + 1) & mask
    blocks[block].key = NO_KEY
    place = (hole + 1) & mask
    while places[place] != NULL:
        home = blocks[places[place]].key & mask
        if ((place - home) & mask) >= ((place - hole) & mask):
            places[hole] = places[place]
            hole = place
        place = (place + 1) & mask
    places[hole] = NULL


def _unlink(engine: Engine, block: int) -> None:
    blocks = engine.blocks
    before, behind = blocks[block].previous, blocks[block].next
    blocks[before].next = behind
    blocks[behind].previous = before
    engine.state[0].free -= 1


def _link_behind(engine: Engine, block: int, before: int) -> None:
    blocks = engine.blocks
    behind = blocks[before].next
    blocks[block].previous = before
    blocks[block].next = behind
    blocks[before].next = block
    blocks[behind].previous = block
    engine.state[0].free += 1
