"""SGLang's scheduler: prompts first, memory forecast, retraction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.conftest import SYNC, flat_surface, said, schedule_of, small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator.facts import BlockGroup, ReplicaFacts
from sizewell.simulator.simulate import Options, play
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED

both = pytest.mark.parametrize("compiled", [False, True])


def sglang(seed: int) -> ReplicaFacts:
    draw = np.random.default_rng(seed + 2)
    more = {"receive_steps": int(draw.integers(1, 5)), "drafts": int(draw.integers(0, 3)), "acceptance": 0.6}
    return replica(seed, scheduler="sglang", groups=(BlockGroup(),), rules=SYNC, policy="fcfs", **more)


@both
def test_decoding_waits_while_prompts_are_computed(compiled: bool) -> None:
    """Chunks of 8: A's prompt, then all of B's in two steps, and only then A's second token."""
    facts = small(scheduler="sglang", blocks=33)
    played = play(facts, Requests.of([0.0, 0.5], [6, 12], [3, 2]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 6}, {1: 8}, {1: 4}, {0: 1, 1: 1}, {0: 1}]
    assert played.run.first_token_s.tolist() == [1.0, 3.0]


@both
def test_a_request_is_admitted_when_its_output_fits_beside_the_expected_ones(compiled: bool) -> None:
    """64 tokens: after A's prompt 56 are free; A is expected to use 0.7 × 20 = 14 of them (13 after its first token);
    B asks for 8 + 36 + 4 = 48 and waits until A has gone."""
    facts = small(scheduler="sglang", blocks=17, max_num_batched_tokens=16)
    played = play(facts, Requests.of([0.0, 0.1], [8, 8], [20, 36]), Options(compiled=compiled, log=True))
    admitted = said(played.log, "admitted")
    assert [request for _, request, _ in admitted] == [0, 1]
    assert admitted[1][0] > 1
    assert played.run.status.tolist() == [OK, OK]


@both
def test_once_one_does_not_fit_nobody_is_admitted_until_a_sequence_has_gone(compiled: bool) -> None:
    """64 single tokens, all of an output expected: after A's prompt and first token 60 - 39 = 21 are left, and B asks
    for 10 + 10 + 1. One step later a little less than 38 is expected and B would fit; A ends with step 40."""
    facts = small(scheduler="sglang", blocks=65, block_tokens=1, max_num_batched_tokens=16, conservativeness=2.0)
    played = play(facts, Requests.of([0.0, 0.1], [4, 10], [40, 10]), Options(compiled=compiled, log=True))
    assert said(played.log, "admitted") == [(0, 0, 0), (40, 1, 0)]


@both
def test_an_idle_engine_expects_as_much_as_at_its_start(compiled: bool) -> None:
    """A decodes for 300 steps, by which the share falls from 1 to 0.57. After a pause B and C find an engine as new:
    B leaves 1023 - 4 - 400 + 1 = 620, and C asks for 4 + 620 + 1; at 0.57 it would have been let in."""
    facts = small(scheduler="sglang", blocks=1024, block_tokens=1, max_model_len_tokens=2000, conservativeness=2.0)
    requests = Requests.of([0.0, 400.0, 400.5], [4, 4, 4], [300, 400, 620])
    played = play(replace(facts, prefix_caching=False), requests, Options(compiled=compiled, log=True))
    assert [step for step, _, _ in said(played.log, "admitted")] == [0, 300, 300 + 400]


def alike(arrivals: list[float], tokens: int, output: int) -> Requests:
    """Requests whose prompts are the same."""
    count = len(arrivals)
    return replace(
        Requests.of(arrivals, [tokens] * count, [output] * count), segment_start=np.arange(count + 1),
        segment_id=np.zeros(count, dtype=np.int64), segment_tokens=np.full(count, tokens),
    )  # fmt: skip


@both
def test_prompts_of_one_batch_do_not_find_each_other_and_share_afterwards(compiled: bool) -> None:
    """Two prompts of three blocks and a token are computed beside each other; of six blocks three are then given back,
    and each sequence has one of its own. A third request finds the three."""
    facts = small(scheduler="sglang", blocks=33, max_num_batched_tokens=32)
    played = play(facts, alike([0.0, 0.0, 2.5], 13, 3), Options(compiled=compiled, log=True))
    assert [(request, cached) for _, request, cached in said(played.log, "admitted")] == [(0, 0), (1, 0), (2, 12)]
    free = [line.free_blocks for line in played.log if line.what == "step"]
    assert free[:2] == [32 - 8, 32 - 5]


@both
def test_a_node_of_the_tree_is_evicted_whole(compiled: bool) -> None:
    """Sixteen blocks hold A's prompt of eight; B needs nine, one more than are bare, and all of A's goes."""
    facts = small(scheduler="sglang", blocks=17, max_num_batched_tokens=40)
    requests = replace(
        Requests.of([0.0, 2.0, 9.0], [32, 33, 32], [1, 2, 1]), segment_start=np.array([0, 1, 1, 2]),
        segment_id=np.zeros(2, dtype=np.int64), segment_tokens=np.array([32, 32]),
    )  # fmt: skip
    played = play(facts, requests, Options(compiled=compiled, log=True))
    assert [(request, cached) for _, request, cached in said(played.log, "admitted")] == [(0, 0), (1, 0), (2, 0)]


@both
def test_the_sequence_with_the_fewest_tokens_is_retracted(compiled: bool) -> None:
    """Eight blocks of 4: at 17 tokens each both need a fifth one, and B has generated one token less."""
    facts = small(scheduler="sglang", blocks=9, max_num_batched_tokens=16, conservativeness=0.1)
    played = play(facts, Requests.of([0.0, 0.1], [5, 5], [20, 13]), Options(compiled=compiled, log=True))
    assert [request for _, request, _ in said(played.log, "preempted")] == [1]
    assert played.run.status.tolist() == [OK, OK]


def single(seed: int, **more: object) -> ReplicaFacts:
    """A pool of single tokens; blocks of four hold them, one more for every seat."""
    facts = replace(sglang(seed), **more)  # type: ignore[arg-type]
    tokens = 4 * facts.blocks - int(np.random.default_rng(seed).integers(4))
    return replace(facts, pool_tokens=tokens, blocks=-(-tokens // 4) + facts.max_num_seqs + 1)


@both
def test_single_tokens_are_used_to_the_last(compiled: bool) -> None:
    """30 tokens: at 15 each both sequences need one more; in blocks of four they would not get beyond 12 and 16."""
    facts = small(scheduler="sglang", blocks=13, pool_tokens=30, max_num_batched_tokens=16, conservativeness=0.1)
    played = play(facts, Requests.of([0.0, 0.1], [5, 5], [20, 13]), Options(compiled=compiled, log=True))
    lost = said(played.log, "preempted")
    assert [(request, tokens) for _, request, tokens in lost] == [(1, 15)]
    assert played.run.status.tolist() == [OK, OK]


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_pool_of_single_tokens_serves_all_and_jumps_exactly(seed: int) -> None:
    facts, requests = single(seed), offered(seed, 30)
    run = play(facts, requests).run
    same(run, play(replace(facts, jumps=False), requests).run, rel=1e-9)
    assert set(run.status) <= {OK, REJECTED}


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_single_tokens_are_never_more_than_there_are(seed: int) -> None:
    """Whatever is scheduled, all running sequences together hold at most the pool, unless one is alone."""
    facts, requests = replace(single(seed), prefix_caching=False, drafts=0), offered(seed, 30)
    held: dict[int, int] = {}
    for line in play(facts, requests, Options(log=True)).log:
        if line.what in ("admitted", "scheduled"):
            held[line.request] = held.get(line.request, 0) + line.tokens
        elif line.what in ("finished", "preempted"):
            held.pop(line.request, None)
        elif line.what == "step" and len(held) > 1:
            assert sum(held.values()) <= facts.pool_tokens


@both
def test_ranks_of_data_parallel_attention_prefill_and_decode_together(compiled: bool) -> None:
    """Rank 1 computes a prompt of two chunks while rank 0 decodes: each step lasts as long as the longer of both."""
    facts = small(scheduler="sglang", surface=flat_surface(1.0, token_s=0.1), ranks=2, blocks=33)
    run = play(facts, Requests.of([0.0, 0.0], [4, 16], [3, 1]), Options(compiled=compiled)).run
    assert run.first_token_s == pytest.approx([1.8, 3.6])
    assert run.last_token_s == pytest.approx([1.8 + 1.8 + 1.1, 3.6])


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree_on_ranks_and_single_tokens(seed: int) -> None:
    facts = single(seed, ranks=1 + seed % 3)
    plain = play(facts, offered(seed), Options(compiled=False, log=True))
    fast = play(facts, offered(seed), Options(log=True))
    assert fast.log == plain.log
    same(fast.run, plain.run)
    assert set(fast.run.status) <= {OK, REJECTED}


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(2, 3), st.sampled_from([1, 4]), st.booleans())
def test_ranks_jump_exactly(seed: int, ranks: int, receive_steps: int, tokens: bool) -> None:
    facts = single(seed) if tokens else sglang(seed)
    facts = replace(facts, ranks=ranks, receive_steps=receive_steps, balance_steps=3 * (seed % 2))
    jumping, stepping = play(facts, offered(seed, 30)), play(replace(facts, jumps=False), offered(seed, 30))
    assert jumping.steps == stepping.steps
    same(jumping.run, stepping.run, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree(seed: int) -> None:
    plain = play(sglang(seed), offered(seed), Options(compiled=False, log=True))
    fast = play(sglang(seed), offered(seed), Options(log=True))
    assert fast.log == plain.log
    same(fast.run, plain.run)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
@example(25022)  # a retraction leaves a seat
def test_jumps_are_exact_and_nothing_is_lost(seed: int) -> None:
    facts, requests = sglang(seed), offered(seed, 30)
    run = play(facts, requests).run
    same(run, play(replace(facts, jumps=False), requests).run, rel=1e-9)
    assert set(run.status) <= {OK, REJECTED}
    assert np.array_equal(run.output_tokens[run.served], requests.output_tokens[run.served])


@both
def test_drafts_bring_as_many_tokens_as_are_accepted(compiled: bool) -> None:
    """All of two drafts are accepted: after the first token three come in every step, at a step's own price."""
    facts = small(scheduler="sglang", drafts=2, acceptance=1.0, max_num_batched_tokens=16)
    played = play(facts, Requests.of([0.0], [6], [10]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 6}, {0: 3}, {0: 3}, {0: 3}]
    assert played.run.output_tokens.tolist() == [10]


@both
def test_requests_are_noticed_every_so_many_decoding_steps(compiled: bool) -> None:
    """B comes while A takes its second token; it is computed when A has decoded four steps since its prompt."""
    facts = small(scheduler="sglang", receive_steps=4, max_num_batched_tokens=16)
    played = play(facts, Requests.of([0.0, 1.5], [6, 5], [9, 2]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 6}, {0: 1}, {0: 1}, {0: 1}, {0: 1}, {1: 5}, *[{0: 1, 1: 1}], *[{0: 1}] * 3]


@both
def test_an_idle_engine_notices_a_request_at_once(compiled: bool) -> None:
    facts = small(scheduler="sglang", receive_steps=30, max_num_batched_tokens=16)
    run = play(facts, Requests.of([0.0, 9.0], [6, 5], [2, 2]), Options(compiled=compiled)).run
    assert (run.first_token_s - run.scheduled_s).tolist() == [1.0, 1.0]
