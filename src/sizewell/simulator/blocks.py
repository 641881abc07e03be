"""The block pool: a free list in the order of reuse, and the map from the key of a full block to the block.

Block 0 is the null block: it stands where a table needs an entry and no memory, and is the sentinel of the free list.
Freed blocks wait at the back, still findable by their key, until they are the oldest; blocks that were never full go
to the front where the engine's version does so.
"""

from __future__ import annotations

from sizewell.simulator.state import HoldsBlocks, Smalls

NULL = 0
NO_KEY = 0
PRIVATE = -1
"""Key of a full block whose content only its own sequence can name: it is worked out if that loses its blocks."""


def take_block(pool: HoldsBlocks) -> int:
    """Take the block at the front of the free list; what it held is forgotten."""
    blocks = pool.blocks
    block = blocks[NULL].next
    if blocks[block].key == PRIVATE:
        blocks[block].key = NO_KEY
    elif blocks[block].key != NO_KEY:
        forget(pool, block)
    _unlink(pool, block)
    blocks[block].users = 1
    return int(block)


def reclaim(pool: HoldsBlocks, count: int) -> None:
    """Evict whole nodes of SGLang's radix tree, least recently used first, until so many free blocks hold nothing."""
    blocks = pool.blocks
    block = blocks[NULL].next
    while count > 0 and block != NULL:
        if blocks[block].key != NO_KEY:
            _evict_node(pool, block)
        block = blocks[block].next
        count -= 1


def share_block(pool: HoldsBlocks, block: int) -> None:
    """Let one more sequence use a block found by its key."""
    if pool.blocks[block].users == 0:
        _unlink(pool, block)
    pool.blocks[block].users += 1


def release_blocks(pool: HoldsBlocks, table: Smalls, first: int, last: int) -> None:
    """Give back `table[first:last]`, the tail first; entries become null blocks."""
    blocks = pool.blocks
    to_front = pool.rules[0].unhashed_first
    front = NULL
    for place in range(last - 1, first - 1, -1):
        block = table[place]
        table[place] = NULL
        if block == NULL:
            continue
        blocks[block].users -= 1
        if blocks[block].users == 0:
            if to_front and blocks[block].key == NO_KEY:
                _link_behind(pool, block, front)
                front = block
            else:
                _link_behind(pool, block, blocks[NULL].previous)


def make_latest(pool: HoldsBlocks, block: int) -> None:
    """Put a block at the back of the free list: of all blocks it is forgotten last."""
    if pool.blocks[block].users == 0:
        _unlink(pool, block)
    pool.blocks[block].users = 0
    _link_behind(pool, block, pool.blocks[NULL].previous)


def find_block(pool: HoldsBlocks, key: int) -> int:
    """Return the block that was longest remembered under this key, or the null block."""
    places = pool.places
    mask = len(places) - 1
    at = key & mask
    while places[at].block != NULL:
        if places[at].key == key:
            return int(places[at].block)
        at = (at + 1) & mask
    return NULL


def remember(pool: HoldsBlocks, block: int, key: int) -> None:
    """Make a full block findable; several blocks may carry one key."""
    places = pool.places
    mask = len(places) - 1
    at = key & mask
    while places[at].block != NULL:
        at = (at + 1) & mask
    places[at].block, places[at].key = block, key
    pool.blocks[block].key = key


def forget(pool: HoldsBlocks, block: int) -> None:
    """Take a block out of the map; entries behind it move up so that every one stays reachable from its home."""
    places, blocks = pool.places, pool.blocks
    mask = len(places) - 1
    hole = blocks[block].key & mask
    while places[hole].block != block:
        hole = (hole + 1) & mask
    blocks[block].key = NO_KEY
    at = (hole + 1) & mask
    while places[at].block != NULL:
        home = places[at].key & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            places[hole].block, places[hole].key = places[at].block, places[at].key
            hole = at
        at = (at + 1) & mask
    places[hole].block = NULL


def _evict_node(pool: HoldsBlocks, block: int) -> None:
    """Forget a free node: from its last block on, the free list holds the others up to the end of another node."""
    blocks = pool.blocks
    blocks[block].ends_node = 0
    while block != NULL and blocks[block].key != NO_KEY and not blocks[block].ends_node:
        if blocks[block].key == PRIVATE:
            blocks[block].key = NO_KEY
        else:
            forget(pool, block)
        block = blocks[block].next


def _unlink(pool: HoldsBlocks, block: int) -> None:
    blocks = pool.blocks
    before, behind = blocks[block].previous, blocks[block].next
    blocks[before].next = behind
    blocks[behind].previous = before
    pool.state[0].free -= 1


def _link_behind(pool: HoldsBlocks, block: int, before: int) -> None:
    blocks = pool.blocks
    behind = blocks[before].next
    blocks[block].previous = before
    blocks[block].next = behind
    blocks[before].next = block
    blocks[behind].previous = block
    pool.state[0].free += 1
