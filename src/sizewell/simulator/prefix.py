"""The longest cached prefix of a sequence: full blocks that every group of layers can go on from."""

from __future__ import annotations

from sizewell.simulator.blocks import NULL, find_block
from sizewell.simulator.content import Cursor, one_block_on, start_of
from sizewell.simulator.offload import follow_on_host
from sizewell.simulator.state import CHUNK, FULL, STATE, Engine


def find_prefix(engine: Engine, request: int) -> int:
    """Return the tokens of the longest prefix in full cached blocks, short of the last token; note where they are."""
    sequence = engine.sequences[request]
    return seek(engine, request, (sequence.input_tokens + sequence.generated - 1) // engine.rules[0].block_tokens)


def seek(engine: Engine, request: int, most: int) -> int:
    """Return the tokens of the longest prefix in at most so many full cached blocks; note where they are."""
    rules, state, sequence = engine.rules[0], engine.state[0], engine.sequences[request]
    cursor = start_of(engine, request)
    if rules.prefix_caching and not rules.counted:
        if sequence.preemptions == 0:
            most = min(most, engine.requests[request].private_from)
        cursor = _follow(engine, request, cursor, most)
        state.hit_on_host = follow_on_host(engine, request, cursor, most)
        longest = cursor.block
        common = _common_hit(engine, longest) if rules.windowed else longest
        common -= rules.drop_last_hit if common > 0 else 0
        sequence.junction = longest * rules.block_tokens if rules.windowed and common < longest else 0
        if common < longest:
            cursor = start_of(engine, request)
            while cursor.block < common:
                cursor = one_block_on(engine, request, cursor)
    state.hit_blocks, state.hit_key = cursor.block, cursor.key
    state.hit_segment, state.hit_segment_from = cursor.segment, cursor.segment_from
    return int(cursor.block * rules.block_tokens)


def _follow(engine: Engine, request: int, cursor: Cursor, most: int) -> Cursor:
    """Return the cursor behind the last of at most `most` blocks that every full group holds."""
    while cursor.block < most:
        ahead = one_block_on(engine, request, cursor)
        for group in range(len(engine.groups)):
            if engine.groups[group].kind == FULL:
                block = find_block(engine, ahead.key + group)
                if block == NULL:
                    return cursor
                engine.hits[group, cursor.block] = block
        engine.keys[cursor.block] = ahead.key
        cursor = ahead
    return cursor


def _common_hit(engine: Engine, most: int) -> int:
    """Return the longest prefix of at most `most` blocks that every group can go on from."""
    common = most
    group = 0
    while group < len(engine.groups):
        shorter = _group_hit(engine, group, common)
        # A shorter prefix must suit the groups already asked.
        group = 0 if shorter < common else group + 1
        common = shorter
    return common


def _group_hit(engine: Engine, group: int, most: int) -> int:
    kind = engine.groups[group].kind
    if kind == FULL:
        return most
    if kind == STATE:
        return 0
    if kind == CHUNK:
        return _chunk_hit(engine, group, most)
    size = engine.rules[0].block_tokens
    seen = (engine.groups[group].span_tokens - 1 + size - 1) // size
    end, run = most, 0
    for place in range(most - 1, -1, -1):
        block = find_block(engine, engine.keys[place] + group)
        engine.hits[group, place] = block
        if block == NULL:
            end, run = place, 0
        else:
            run += 1
            if run >= seen:
                _clear_hits(engine, group, place)
                return end
    return end


def _chunk_hit(engine: Engine, group: int, most: int) -> int:
    size, span = engine.rules[0].block_tokens, engine.groups[group].span_tokens
    place = most * size // span * span // size
    _clear_hits(engine, group, place)
    while place < most:
        block = find_block(engine, engine.keys[place] + group)
        if block == NULL:
            return int(place)
        engine.hits[group, place] = block
        place += 1
    return most


def _clear_hits(engine: Engine, group: int, count: int) -> None:
    for place in range(count):
        engine.hits[group, place] = NULL
