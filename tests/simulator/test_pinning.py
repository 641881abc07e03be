"""Pinned prefixes stay, whatever comes after them; everything else stays evictable, and no block is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from simulator.conftest import small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator import engine
from sizewell.simulator.compiled import Twin
from sizewell.simulator.facts import BlockGroup, Fleet, ReplicaFacts
from sizewell.simulator.pinning import Pins
from sizewell.simulator.simulate import Options, play
from sizewell.simulator.state import FULL
from sizewell.simulator.world import make_world
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED

both = pytest.mark.parametrize("compiled", [False, True])


def between() -> Requests:
    """A prefix of two blocks, then three prompts that fill the cache, then the prefix again."""
    return replace(
        Requests.of(np.arange(5) * 10.0, [9, 20, 20, 20, 9], 1), session=np.array([0, 2, 3, 4, 1]),
        segment_start=np.array([0, 1, 1, 1, 1, 2]), segment_id=np.array([7, 7]), segment_tokens=np.array([8, 8]),
    )  # fmt: skip


def pinning(seed: int) -> ReplicaFacts:
    return replica(seed, groups=(BlockGroup(),), prefix_caching=True, blocks=60, pin_prefixes=True)


def shared(seed: int) -> Requests:
    """What is offered, each request a session of its own, no prefix so long that all of them fill the cache."""
    requests = offered(seed, 30)
    return replace(requests, session=np.arange(len(requests)))


@both
def test_a_pinned_prefix_is_there_when_everything_else_has_gone(compiled: bool) -> None:
    facts = small(blocks=9, max_num_batched_tokens=32)
    run = play(facts, between(), Options(compiled=compiled)).run
    assert run.cached_tokens.tolist() == [0, 0, 0, 0, 0]
    run = play(replace(facts, pin_prefixes=True), between(), Options(compiled=compiled)).run
    assert run.cached_tokens.tolist() == [0, 0, 0, 0, 8]


def test_what_one_session_repeats_is_not_pinned() -> None:
    alone = replace(between(), session=np.zeros(5, dtype=np.int64))
    assert Pins.of(alone, 4, 8).total == 0
    assert Pins.of(between(), 4, 8).blocks.tolist() == [2, 0, 0, 0, 2]
    assert Pins.of(between(), 4, 8).total == 2


def test_pins_leave_room_or_are_refused() -> None:
    with pytest.raises(BadInputError, match="2 blocks cannot be pinned in a cache of 2"):
        Pins.of(between(), 4, 2)
    run = play(small(blocks=7, pin_prefixes=True, max_num_batched_tokens=32), between()).run
    assert run.status.tolist() == [OK, REJECTED, REJECTED, REJECTED, OK]
    with pytest.raises(BadInputError, match="all layers keep every token"):
        small(pin_prefixes=True, groups=(BlockGroup(), BlockGroup(kind="window", span_tokens=4, most_blocks=3)))


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_pinned_block_is_computed_once(seed: int) -> None:
    """Whoever comes after a request with the same beginning has been served finds all of its pinned blocks."""
    facts, requests = pinning(seed), shared(seed)
    run = play(facts, requests).run
    pins = Pins.of(requests, facts.block_tokens, facts.blocks - 1)
    assert set(run.status) <= {OK, REJECTED}
    first = requests.segment_start[:-1]
    name = [int(requests.segment_id[at]) if pins.blocks[i] else -1 for i, at in enumerate(first)]
    for later in np.flatnonzero(run.served & (pins.blocks > 0)):
        before = [
            pins.blocks[i]
            for i in np.flatnonzero(run.served)
            if name[i] == name[later] and run.first_token_s[i] < run.sent_s[later]
        ]
        kept = min(max(before, default=0), pins.blocks[later], (requests.input_tokens[later] - 1) // 4)
        kept -= facts.lookahead_tokens > 0 and kept > 0
        assert run.cached_tokens[later] >= kept * 4


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_blocks_are_free_held_or_pinned(seed: int) -> None:
    facts, requests = pinning(seed), shared(seed)
    world = make_world(Fleet(replica=facts), requests)
    go = Twin(engine.play).on(world)
    while go() == engine.MORE:
        pass
    state, blocks = world.states[0], world.blocks[0]
    users = Counter(int(b) for table in world.tables[0, FULL] for b in table if b)
    assert not users
    pinned = [b for b in range(1, facts.blocks) if blocks[b].users]
    assert all(blocks[b].users == 1 for b in pinned)
    assert len({int(blocks[b].key) for b in pinned}) == len(pinned)
    assert state.free == facts.blocks - 1 - len(pinned)
    assert len(pinned) <= Pins.of(requests, facts.block_tokens, facts.blocks - 1).total


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree(seed: int) -> None:
    facts, requests = pinning(seed), shared(seed)
    plain, fast = play(facts, requests, Options(compiled=False, log=True)), play(facts, requests, Options(log=True))
    assert fast.log == plain.log
    same(play(facts, requests).run, fast.run, rel=1e-9)
