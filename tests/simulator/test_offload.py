"""Cache in host memory: what the accelerators forgot comes back over the host link."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from simulator.conftest import said, small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator import engine
from sizewell.simulator.compiled import Twin
from sizewell.simulator.facts import BlockGroup, Fleet
from sizewell.simulator.simulate import Options, play
from sizewell.simulator.world import make_world
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests

both = pytest.mark.parametrize("compiled", [False, True])


def repeated() -> Requests:
    """A, then B, which takes A's blocks, then A's prompt again."""
    return replace(
        Requests.of([0.0, 10.0, 20.0], [17, 17, 17], [1, 1, 1]), segment_start=np.arange(4),
        segment_id=np.array([1, 2, 1]), segment_tokens=np.full(3, 16),
    )  # fmt: skip


@both
def test_forgotten_blocks_come_back_from_the_host(compiled: bool) -> None:
    """Five blocks: B's prompt overwrites A's. With a host of eight blocks A's four come back, 16 tokens at 0.01 s."""
    facts = small(blocks=6, max_num_batched_tokens=64)
    without = play(facts, repeated(), Options(compiled=compiled)).run
    assert without.cached_tokens.tolist() == [0, 0, 0]
    kept = replace(facts, host_blocks=8, host_token_s=0.01)
    run = play(kept, repeated(), Options(compiled=compiled)).run
    assert run.cached_tokens.tolist() == [0, 0, 16]
    assert run.first_token_s[2] == pytest.approx(21.16)


@both
def test_the_oldest_blocks_leave_the_host_first(compiled: bool) -> None:
    facts = small(blocks=6, max_num_batched_tokens=64, host_blocks=4)
    assert play(facts, repeated(), Options(compiled=compiled)).run.cached_tokens.tolist() == [0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree(seed: int) -> None:
    facts = replica(seed, groups=(BlockGroup(),), host_blocks=20, host_token_s=0.0031, prefix_caching=True)
    requests = offered(seed)
    plain, fast = play(facts, requests, Options(compiled=False, log=True)), play(facts, requests, Options(log=True))
    assert fast.log == plain.log
    same(play(facts, requests).run, fast.run, rel=1e-9)
    assert len(said(fast.log, "finished")) == fast.run.served.sum()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_host_holds_each_block_once_and_no_more_than_it_has(seed: int) -> None:
    facts = replica(seed, groups=(BlockGroup(),), host_blocks=20, host_token_s=0.0031, prefix_caching=True)
    world = make_world(Fleet(replica=facts), offered(seed, 30))
    go = Twin(engine.play).on(world)
    while go() == engine.MORE:
        pass
    blocks, ring = world.host_blocks[0], []
    block = int(blocks[0].next)
    while block:
        ring.append(block)
        block = int(blocks[block].next)
    assert sorted(ring) == list(range(1, facts.host_blocks + 1))
    keys = [int(blocks[b].key) for b in ring if blocks[b].key]
    assert len(set(keys)) == len(keys)
    mapped = [int(b) for b in world.host_places[0].block if b]
    assert sorted(mapped) == sorted(b for b in ring if blocks[b].key)
    assert world.host_states[0].free == facts.host_blocks


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_more_host_memory_is_never_found_less_often_when_requests_come_one_by_one(seed: int) -> None:
    """Oldest out first: what a smaller memory holds a larger one holds as well."""
    requests = offered(seed, 30)
    alone = replace(requests, after=np.full(len(requests), -1), arrival_s=1e3 * np.arange(len(requests)),
                    concurrency=None)  # fmt: skip
    facts = replica(seed, groups=(BlockGroup(),), prefix_caching=True, host_token_s=0.0031)
    found = [play(replace(facts, host_blocks=many), alone).run.cached_tokens for many in (0, 5, 20, 80)]
    for fewer, more in pairwise(found):
        assert (more >= fewer).all()


def test_unlike_groups_are_not_kept_on_the_host() -> None:
    with pytest.raises(BadInputError, match="groups"):
        small(host_blocks=4, groups=(BlockGroup(), BlockGroup()))
