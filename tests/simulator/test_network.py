"""The network between two pools: caches wait in line, hold blocks on both sides, and nothing of either is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from simulator.conftest import flat_surface, small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator import disaggregated, engine
from sizewell.simulator.compiled import Twin
from sizewell.simulator.facts import ROUTERS, Disaggregated, Fleet, Network
from sizewell.simulator.simulate import Options, play
from sizewell.simulator.world import make_pair, make_world
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, UNFINISHED

both = pytest.mark.parametrize("compiled", [False, True])


def pools(prefills: int = 1, decodes: int = 1, network: Network | None = None, **changes: object) -> Disaggregated:
    one = small(**changes)
    return Disaggregated(
        prefill=Fleet(replica=one, replicas=prefills), decode=Fleet(replica=one, replicas=decodes),
        network=network or Network(),
    )  # fmt: skip


def any_pools(seed: int) -> Disaggregated:
    draw = np.random.default_rng(seed)
    drafts = int(draw.integers(0, 3))
    more = {"drafts": drafts, "acceptance": 0.6, "surface": flat_surface(0.25117, 0.031391, 0.0021737, drafts)}
    more["ranks"], more["stages"] = int(draw.integers(1, 3)), int(draw.integers(1, 3))
    if draw.integers(3) == 0:
        more |= {"scheduler": "sglang", "groups": small().groups, "policy": "fcfs", "drafts": 0, "stages": 1}
        more["surface"] = flat_surface(0.25117, 0.031391, 0.0021737)
    router = ROUTERS[draw.integers(len(ROUTERS))]
    return Disaggregated(
        prefill=Fleet(replica=replica(seed, **more), replicas=int(draw.integers(1, 4)), router=router),
        decode=Fleet(replica=replica(seed + 1, **more), replicas=int(draw.integers(1, 4)), router=router),
        network=Network(latency_s=0.0511, send_block_s=draw.random() / 3, receive_block_s=draw.random() / 3),
    )


@both
@pytest.mark.parametrize(("prefills", "decodes"), [(1, 2), (2, 1)])
def test_caches_wait_in_line_at_either_end(prefills: int, decodes: int, compiled: bool) -> None:
    """Two prompts of one block are computed by 1 s; a block takes 4 s: the second comes 4 s after the first."""
    network = Network(latency_s=0.25, send_block_s=4.0, receive_block_s=4.0)
    facts = pools(prefills, decodes, network)
    played = play(facts, Requests.of([0.0, 0.0], [4, 4], [1, 1]), Options(compiled=compiled))
    assert played.run.first_token_s.tolist() == [6.25, 10.25]
    assert played.network is not None
    assert (played.network.prompts, played.network.blocks) == (2, 2)
    assert (played.network.waited_s, played.network.travelled_s) == (2.0, 4.25)


@both
def test_lines_of_their_own_are_not_waited_for(compiled: bool) -> None:
    facts = pools(2, 2, Network(send_block_s=4.0, receive_block_s=4.0))
    run = play(facts, Requests.of([0.0, 0.0], [4, 4], [1, 1]), Options(compiled=compiled)).run
    assert run.first_token_s.tolist() == [6.0, 6.0]


@both
def test_a_wide_line_carries_for_several_narrow_ones(compiled: bool) -> None:
    """Two senders of 4 s a block into a receiver of 1 s: the second starts when the receiver has done its second."""
    facts = pools(2, 1, Network(send_block_s=4.0, receive_block_s=1.0))
    run = play(facts, Requests.of([0.0, 0.0], [4, 4], [1, 1]), Options(compiled=compiled)).run
    assert run.first_token_s.tolist() == [6.0, 7.0]


@both
def test_what_the_decode_pool_knows_does_not_travel(compiled: bool) -> None:
    """The second prompt shares two of its three blocks with the first: one block is moved."""
    facts = pools(network=Network(send_block_s=1.0, receive_block_s=1.0), max_num_batched_tokens=16)
    requests = replace(
        Requests.of([0.0, 20.0], [12, 12], [1, 1]), segment_start=np.arange(3), segment_id=np.array([1, 1]),
        segment_tokens=np.full(2, 8),
    )  # fmt: skip
    played = play(facts, requests, Options(compiled=compiled))
    assert played.network is not None and played.network.blocks == 4
    assert played.run.first_token_s.tolist() == [5.0, 23.0]


@both
def test_a_prompt_holds_blocks_until_it_has_been_moved(compiled: bool) -> None:
    """Two prompts of six blocks fill the prefill pool of twelve: the third is computed when the first has left.

    The first is there at 3 + 6 s, the second at 15 s, and the third, computed from 9 to 12 s, sets off at 15 s.
    """
    facts = pools(network=Network(send_block_s=1.0, receive_block_s=1.0), blocks=13, max_num_batched_tokens=24)
    facts = replace(facts, decode=Fleet(replica=small(blocks=60, max_num_batched_tokens=24)))
    played = play(facts, Requests.of(np.zeros(3), 24, 1), Options(compiled=compiled, log=True))
    admitted = [line.time_s for line in played.log if line.what == "admitted"][:3]
    assert admitted == [0.0, 1.0, 7.0]
    assert played.run.first_token_s.tolist() == [8.0, 14.0, 20.0]


@both
def test_a_full_decode_pool_makes_caches_wait_where_they_were_computed(compiled: bool) -> None:
    """One seat in the decode pool: the second cache sets off when the first request has ended."""
    facts = pools(network=Network(send_block_s=1.0, receive_block_s=1.0))
    facts = replace(facts, decode=Fleet(replica=small(max_num_seqs=1)))
    run = play(facts, Requests.of([0.0, 0.0], [4, 4], [5, 1]), Options(compiled=compiled)).run
    assert run.last_token_s.tolist() == [7.0, 9.0]


def test_what_no_pool_can_hold_is_rejected_and_what_is_under_way_is_unfinished() -> None:
    facts = pools(network=Network(send_block_s=10.0))
    facts = replace(facts, decode=Fleet(replica=small(blocks=5)))
    run = play(facts, Requests.of([0.0, 0.0], [20, 4], [1, 1]), Options(horizon_s=5.0)).run
    assert run.status.tolist() == [REJECTED, UNFINISHED]


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree_for_any_pools(seed: int) -> None:
    facts, requests = any_pools(seed), offered(seed)
    plain, fast = play(facts, requests, Options(compiled=False, log=True)), play(facts, requests, Options(log=True))
    assert fast.log == plain.log
    assert fast.network == plain.network
    same(fast.run, plain.run)
    same(play(facts, requests).run, fast.run, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_all_blocks_and_seats_come_back_on_both_sides(seed: int) -> None:
    facts, requests = any_pools(seed), offered(seed, 30)
    first = replace(requests, think_tokens=0 * requests.think_tokens, answer_tokens=0 * requests.think_tokens + 1)
    alone = replace(requests, after=np.full(len(requests), -1), concurrency=None, arrival_s=0.0 * requests.arrival_s)
    prefill, decode = make_world(facts.prefill, first), make_world(facts.decode, alone)
    prefill.requests.admissible &= decode.requests.admissible
    pair = make_pair(prefill, decode, facts.network)
    go = Twin(disaggregated.play_pair).on(pair)
    while go() == engine.MORE:
        pass
    for world, pool in ((prefill, facts.prefill), (decode, facts.decode)):
        states = world.states
        assert (states.free == pool.replica.blocks - 1).all()
        assert (states.spare == world.rules[0].max_num_seqs).all()
        for count in (states.running, states.waiting, states.moved, states.asked, states.outstanding):
            assert not count.any()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_whatever_any_pools_admit_they_serve(seed: int) -> None:
    facts, requests = any_pools(seed), offered(seed, 20)
    run = play(facts, requests).run
    assert set(run.status) <= {OK, REJECTED}
    assert (run.output_tokens[run.served] == requests.output_tokens[run.served]).all()
