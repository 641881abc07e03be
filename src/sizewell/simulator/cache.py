"""What sequences hold of the block pool: one table of blocks for each group of layers that cache alike.

A sequence takes blocks from every group. Full attention keeps all of them; a sliding window and a chunk give back
what no later token sees; a recurrent state takes the same few blocks at any length. Where no block could ever be found
by its content they are only counted (`rules.counted`): how many, not which.
"""

from __future__ import annotations

from sizewell.simulator.blocks import (
    NO_KEY,
    NULL,
    PRIVATE,
    reclaim,
    release_blocks,
    remember,
    share_block,
    take_block,
)
from sizewell.simulator.content import Cursor, one_block_on
from sizewell.simulator.nodes import adopt, pin
from sizewell.simulator.offload import keep_on_host
from sizewell.simulator.state import CHUNK, SGLANG, STATE, WINDOW, Engine


def place_prefix(engine: Engine, request: int, computed: int, tokens: int) -> bool:
    """Give an admitted sequence a slot, the prefix just found and blocks for `tokens` in all; False: no room.

    Of the first `computed` tokens only what later ones see takes blocks: a prompt that another engine computed has
    passed windows that it never filled here.
    """
    state, rules, sequence = engine.state[0], engine.rules[0], engine.sequences[request]
    kept = rules.watermark_blocks if state.running > 0 else 0
    tokens = min(tokens + rules.lookahead_tokens, rules.max_model_len_tokens)
    if _missing(engine, computed, tokens, False) + kept > state.free:
        return False
    if rules.reserve_prompt:
        prompt = sequence.input_tokens + sequence.generated
        if _missing(engine, computed, prompt, True) + kept > state.free:
            return False
    state.spare -= 1
    slot = engine.spare[state.spare]
    sequence.slot = slot
    engine.slots[slot].keyed = engine.slots[slot].key_block = state.hit_blocks
    engine.slots[slot].key = state.hit_key
    engine.slots[slot].segment, engine.slots[slot].segment_from = state.hit_segment, state.hit_segment_from
    for group in range(len(engine.groups)):
        table, unseen = engine.tables[group, slot], _unseen(engine, group, computed)
        engine.held[group, slot] = max(unseen, state.hit_blocks)
        engine.passed[group, slot] = unseen
        if rules.counted:
            continue
        for place in range(unseen):
            table[place] = NULL
        for place in range(unseen, state.hit_blocks):
            block = engine.hits[group, place]
            table[place] = block
            if block != NULL:
                share_block(engine, block)
    return grow(engine, slot, tokens)


def grow(engine: Engine, slot: int, tokens: int) -> bool:
    """Give a sequence blocks so that `tokens` have a place; False and nothing taken where the pool lacks them."""
    if not engine.rules[0].windowed and tokens <= engine.held[0, slot] * engine.rules[0].block_tokens:
        return True
    missing = 0
    for group in range(len(engine.groups)):
        missing += max(0, _wanted(engine, group, tokens) - engine.held[group, slot])
    if missing == 0:
        return True
    if missing > engine.state[0].free:
        return False
    if engine.rules[0].scheduler == SGLANG:
        reclaim(engine, missing)
    for group in range(len(engine.groups)):
        held, wanted = engine.held[group, slot], _wanted(engine, group, tokens)
        if wanted <= held:
            continue
        engine.held[group, slot] = wanted
        if engine.rules[0].counted:
            engine.state[0].free -= wanted - held
            continue
        for place in range(held, wanted):
            engine.tables[group, slot, place] = take_block(engine)
    return True


def free_tokens(engine: Engine) -> int:
    """Return the tokens a pool has left; one of single tokens counts what blocks of running sequences do not hold."""
    rules, state = engine.rules[0], engine.state[0]
    size = rules.block_tokens
    if rules.pool_tokens == 0:
        return int(state.free * size)
    used = (rules.usable_blocks - state.free) * size
    for place in range(state.running):
        sequence = engine.sequences[engine.running[place]]
        used -= engine.held[0, sequence.slot] * size - sequence.computed
    return int(rules.pool_tokens - used)


def drop_unseen(engine: Engine, slot: int, computed: int) -> None:
    """Give back the blocks that no token after the first `computed` attends to."""
    for group in range(len(engine.groups)):
        last = min(_unseen(engine, group, computed), engine.held[group, slot])
        if engine.rules[0].counted:
            _pass(engine, group, slot, last)
            continue
        table = engine.tables[group, slot]
        first = last
        while first > 0 and table[first - 1] != NULL:
            first -= 1
        release_blocks(engine, table, first, last)


def offer_full_blocks(engine: Engine, request: int, tokens: int) -> None:
    """Make the blocks that the first `tokens` of a sequence fill findable by others."""
    rules = engine.rules[0]
    if not rules.prefix_caching or rules.counted:
        return
    sequence = engine.sequences[request]
    slot = engine.slots[sequence.slot]
    private_from = engine.requests[request].private_from
    while (slot.keyed + 1) * rules.block_tokens <= tokens:
        if slot.keyed >= private_from:
            block = engine.tables[0, sequence.slot, slot.keyed]
            if engine.blocks[block].key == NO_KEY:
                engine.blocks[block].key = PRIVATE
            slot.keyed += 1
            continue
        cursor = Cursor(slot.key, slot.keyed, slot.segment, slot.segment_from)
        cursor = one_block_on(engine, request, cursor)
        for group in range(len(engine.groups)):
            block = engine.tables[group, sequence.slot, slot.keyed]
            if block != NULL and engine.blocks[block].key == NO_KEY and _findable(engine, group, request, slot.keyed):
                if rules.scheduler == SGLANG and group == 0 and adopt(engine, sequence.slot, slot.keyed, cursor.key):
                    continue
                if slot.keyed < engine.requests[request].pinned_blocks:
                    pin(engine, block, cursor.key + group)
                remember(engine, block, cursor.key + group)
                keep_on_host(engine, cursor.key + group)
        slot.keyed = slot.key_block = cursor.block
        slot.key = cursor.key
        slot.segment, slot.segment_from = cursor.segment, cursor.segment_from


def reveal(engine: Engine, request: int) -> None:
    """Make the private blocks of a sequence findable: it is about to lose them, and will look for them again.

    Which of them are still there then, only those know that follow every block: what is only counted ends here.
    """
    if engine.rules[0].counted:
        engine.clock[0].lost = engine.rules[0].prefix_caching
        return
    slot, row = engine.slots[engine.sequences[request].slot], engine.sequences[request].slot
    cursor = Cursor(slot.key, slot.key_block, slot.segment, slot.segment_from)
    while cursor.block < slot.keyed:
        block = engine.tables[0, row, cursor.block]
        cursor = one_block_on(engine, request, cursor)
        if engine.blocks[block].key == PRIVATE:
            remember(engine, block, cursor.key)


def _findable(engine: Engine, group: int, request: int, place: int) -> bool:
    """Return whether a full block of a group is worth finding again: any but those no prompt can go on from."""
    rules, groups = engine.rules[0], engine.groups
    if groups[group].kind == STATE:
        return False
    if groups[group].kind != WINDOW or not rules.sparse_windows:
        return True
    sequence, size = engine.sequences[request], rules.block_tokens
    seen = (groups[group].span_tokens - 1 + size - 1) // size
    end, junction = (sequence.input_tokens - 1) // size, sequence.junction // size
    return bool(end - seen <= place < end or junction - seen <= place < junction)


def free_sequence(engine: Engine, request: int) -> None:
    """Give back a sequence's slot and all its blocks, the tail first."""
    state, slot = engine.state[0], engine.sequences[request].slot
    for group in range(len(engine.groups)):
        if engine.rules[0].counted:
            _pass(engine, group, slot, engine.held[group, slot])
        else:
            release_blocks(engine, engine.tables[group, slot], 0, engine.held[group, slot])
        engine.held[group, slot] = 0
    engine.spare[state.spare] = slot
    state.spare += 1


def _pass(engine: Engine, group: int, slot: int, last: int) -> None:
    """Give back the counted blocks of a table up to `last`."""
    given_back = max(0, last - engine.passed[group, slot])
    engine.passed[group, slot] += given_back
    engine.state[0].free += given_back


def _wanted(engine: Engine, group: int, tokens: int) -> int:
    """Return the entries a group's table needs for `tokens`."""
    if engine.groups[group].kind == STATE:
        return int(engine.groups[group].most_blocks)
    size = engine.rules[0].block_tokens
    return int((tokens + size - 1) // size)


def _missing(engine: Engine, computed: int, tokens: int, capped: bool) -> int:
    """Return the free blocks an admission takes: new ones, and found ones that nobody uses at the moment."""
    found = engine.state[0].hit_blocks
    missing = 0
    for group in range(len(engine.groups)):
        wanted, unseen = _wanted(engine, group, tokens), _unseen(engine, group, computed)
        if capped:
            wanted = min(wanted, engine.groups[group].most_blocks)
        missing += max(0, wanted - max(found, unseen))
        for place in range(unseen, found):
            block = engine.hits[group, place]
            if block != NULL and engine.blocks[block].users == 0:
                missing += 1
    return missing


def _unseen(engine: Engine, group: int, computed: int) -> int:
    """Return how many blocks no token after the first `computed` attends to."""
    size, span = engine.rules[0].block_tokens, engine.groups[group].span_tokens
    if engine.groups[group].kind == CHUNK:
        return int(computed // span * span // size)
    if engine.groups[group].kind == WINDOW:
        return int(max(0, computed - span + 1) // size)
    return 0
