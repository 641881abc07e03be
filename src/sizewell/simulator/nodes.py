"""SGLang's radix tree over blocks: which free blocks make a node, that is used, split and evicted as one.

No tree is kept. The free list holds the blocks of a free node side by side, its last one first and marked, in the order
in which nodes were last used; so the first node in it is the leaf that is evicted next.
"""

from __future__ import annotations

from sizewell.simulator.blocks import NULL, find_block, make_latest, release_blocks, share_block
from sizewell.simulator.state import Engine


def end_node(engine: Engine, slot: int, blocks: int) -> None:
    """Let a node of the radix tree end behind the first blocks of a sequence."""
    if blocks > 0 and engine.rules[0].prefix_caching:
        engine.blocks[engine.tables[0, slot, blocks - 1]].ends_node = 1


def split_node(engine: Engine, below: int) -> None:
    """Count the lower part of a free node as used just now, from the first block below the cut."""
    blocks, last = engine.blocks, below
    while last != NULL and not blocks[last].ends_node:
        last = blocks[last].previous
    while last != NULL:
        above = blocks[last].next
        make_latest(engine, last)
        last = NULL if last == below else above


def adopt(engine: Engine, slot: int, place: int, key: int) -> bool:
    """Let a sequence use the block that others filled with the same meanwhile, and give back its own."""
    block = find_block(engine, key)
    if block == NULL:
        return False
    ends = engine.blocks[block].users > 0 or engine.blocks[block].ends_node
    engine.state[0].below = NULL if ends else engine.blocks[block].previous
    share_block(engine, block)
    table = engine.tables[0, slot]
    release_blocks(engine, table, place, place + 1)
    table[place] = block
    engine.state[0].adopted = place + 1
    return True


def pin(engine: Engine, block: int, key: int) -> None:
    """Let a block that is about to be remembered stay for good, unless another already does under its key."""
    if find_block(engine, key) == NULL:
        share_block(engine, block)
