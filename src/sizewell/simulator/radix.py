"""What SGLang does with its radix tree: keep what a sequence has computed, and count what was found as used."""

from __future__ import annotations

from sizewell.simulator.blocks import make_latest
from sizewell.simulator.cache import offer_full_blocks
from sizewell.simulator.nodes import end_node, split_node
from sizewell.simulator.state import Engine


def checkpoint(engine: Engine, request: int, tokens: int) -> None:
    """Keep the first `tokens` of a sequence in SGLang's radix tree: a node for what is new of the prompt, and another
    for the answer.
    """
    sequence = engine.sequences[request]
    engine.state[0].adopted = engine.state[0].below = 0
    offer_full_blocks(engine, request, tokens)
    split_node(engine, engine.state[0].below)
    end_node(engine, sequence.slot, engine.state[0].adopted)
    last, prompt = engine.slots[sequence.slot].keyed, sequence.input_tokens // engine.rules[0].block_tokens
    end_node(engine, sequence.slot, last)
    if prompt < last:
        end_node(engine, sequence.slot, prompt)


def touch_hits(engine: Engine) -> None:
    """Count the prefix found last as used just now. Where it ends within a node, the node is split, and what is below
    counts as used, too.
    """
    blocks, hits, last = engine.blocks, engine.hits[0], engine.state[0].hit_blocks - 1
    if last < 0:
        return
    if blocks[hits[last]].users == 0 and not blocks[hits[last]].ends_node:
        split_node(engine, blocks[hits[last]].previous)
    blocks[hits[last]].ends_node = 1
    for place in range(last, -1, -1):
        if blocks[hits[place]].users == 0:
            make_latest(engine, hits[place])


def unused_hits(engine: Engine) -> int:
    """Return how many blocks of the prefix found last nobody uses."""
    count = 0
    for place in range(engine.state[0].hit_blocks):
        count += int(engine.blocks[engine.hits[0, place]].users == 0)
    return count
