"""What must hold whatever is offered: compiled = plain, jumping = stepping, nothing lost, blocks and tokens kept."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.conftest import flat_surface, said, small
from sizewell.simulator import engine
from sizewell.simulator.compiled import Twin
from sizewell.simulator.facts import BlockGroup, Fleet, ReplicaFacts, SchedulerRules
from sizewell.simulator.simulate import Options, play, simulate
from sizewell.simulator.state import FULL
from sizewell.simulator.world import make_world
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, Run

GROUPS = (
    (BlockGroup(),),
    (BlockGroup(), BlockGroup(kind="window", span_tokens=7, most_blocks=6)),
    (BlockGroup(kind="chunk", span_tokens=8, most_blocks=6), BlockGroup(), BlockGroup()),
    (BlockGroup(kind="state", most_blocks=1), BlockGroup()),
)


SEEDS = st.integers(0, 2**32 - 1)


def offered(seed: int, most: int = 12) -> Requests:
    """Requests with few contents, so that prefixes are shared; some are turns of a session, some a closed loop."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, most + 1))
    ints = lambda low, high: draw.integers(low, high + 1, count)  # noqa: E731
    into = ints(1, 30)
    segments = np.minimum(ints(0, 24), into)
    named = segments > 0
    after = np.where(ints(0, 3) == 0, ints(0, count) % np.maximum(np.arange(count), 1), -1)
    after[0] = -1
    # Odd numbers: a tie between an arrival and the end of a step would be decided by rounding.
    arrival = ints(0, 40) * 0.2371931
    arrival[after < 0] = np.sort(arrival[after < 0])
    users = (None, None, 1, 3)[draw.integers(4)]
    return replace(
        Requests.of(np.zeros(count), into, ints(1, 12), ints(0, 4), users), arrival_s=arrival, after=after,
        priority=ints(0, 2), segment_start=np.concatenate(([0], np.cumsum(named))), segment_id=ints(0, 2)[named],
        segment_tokens=segments[named], output_id=ints(-1, 2),
    )  # fmt: skip


def apart(requests: Requests) -> Requests:
    """Return requests that follow others only after an odd time.

    Replicas that are alike end steps at the same time: what is sent then to another would come before its next step or
    after it as rounding has it.
    """
    following = requests.after >= 0
    return replace(requests, arrival_s=requests.arrival_s + 0.0135791 * following, think_s=0.0135791)


def replica(seed: int, **fixed: Any) -> ReplicaFacts:
    """A small replica with limits that bite."""
    draw = np.random.default_rng(seed + 1)
    rules = SchedulerRules(**{field.name: bool(draw.integers(2)) for field in fields(SchedulerRules)})
    given = {
        "surface": flat_surface(0.25117, token_s=0.031391, context_s=0.0021737),
        "blocks": int(draw.integers(12, 60)), "max_num_seqs": int(draw.integers(1, 6)),
        "max_num_batched_tokens": int(draw.integers(1, 41)), "policy": ("fcfs", "priority")[draw.integers(2)],
        "long_prefill_tokens": (0, 0, 3)[draw.integers(3)], "prefix_caching": bool(draw.integers(2)),
        "groups": GROUPS[draw.integers(4)], "rules": rules,
    }  # fmt: skip
    return small(**(given | fixed))


def same(one: Run, other: Run, rel: float = 0.0) -> None:
    for name in ("status", "output_tokens", "cached_tokens", "preemptions", "replica"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    for name in ("sent_s", "first_token_s", "first_answer_s", "last_token_s"):
        mine, other_s = getattr(one, name), getattr(other, name)
        assert mine == pytest.approx(other_s, rel=rel, abs=rel, nan_ok=True), name


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree_step_for_step(seed: int) -> None:
    facts, requests = replica(seed), offered(seed)
    plain = play(facts, requests, Options(compiled=False, log=True))
    fast = play(facts, requests, Options(compiled=True, log=True))
    assert fast.log == plain.log
    same(fast.run, plain.run)
    assert fast.run.gaps.gap_s.tolist() == plain.run.gaps.gap_s.tolist()


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_a_jump_is_what_its_steps_are(seed: int) -> None:
    facts, requests = replica(seed), offered(seed)
    jumping = play(facts, requests)
    stepping = play(replace(facts, jumps=False), requests)
    assert jumping.steps == stepping.steps
    same(jumping.run, stepping.run, rel=1e-9)
    gaps = [np.sum(run.gaps.gap_s * run.gaps.count) for run in (jumping.run, stepping.run)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(2, 4))
@example(3012, 2)  # alone in the pipeline, a batch moves its windows on at once
def test_a_jump_through_a_pipeline_is_what_its_steps_are(seed: int, stages: int) -> None:
    facts, requests = replace(replica(seed), stages=stages), offered(seed)
    jumping = play(facts, requests)
    stepping = play(replace(facts, jumps=False), requests)
    assert jumping.steps == stepping.steps
    same(jumping.run, stepping.run, rel=1e-9)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_sequences_that_decode_together_jump_whatever_the_stages(stages: int) -> None:
    """Compiled code gives control back after so many events: one for each of 30,000 steps would be too many."""
    calls: list[int] = []
    facts = small(stages=stages, blocks=10_000, max_num_seqs=4, max_model_len_tokens=40_000)
    run = play(facts, Requests.of(np.zeros(1), *np.array([[1], [30_000]])), Options(watch=calls.append)).run
    assert run.output_tokens.tolist() == [30_000]
    assert len(calls) == 1


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_no_request_is_lost_and_tokens_are_kept(seed: int) -> None:
    facts, requests = replica(seed), offered(seed, most=30)
    played = play(facts, requests, Options(log=True))
    run = played.run
    assert set(run.status) <= {OK, REJECTED}
    served = run.status == OK
    assert (run.output_tokens[served] == requests.output_tokens[served]).all()
    assert run.gaps.count.sum() == (requests.output_tokens[served] - 1).sum()
    computed = Counter[int]()
    for _, request, tokens in said(played.log, "scheduled") + said(played.log, "admitted"):
        computed[request] += tokens
    for _, request, tokens in said(played.log, "preempted"):
        computed[request] -= tokens
    decisions = {line.request: line.what for line in played.log if line.what not in ("step", "finished")}
    last = {line.request: line.what for line in played.log if line.what in ("scheduled", "preempted")}
    for request in np.flatnonzero(served):
        # A victim whose last token was in flight ends without being computed again.
        if last[request] == "preempted":
            continue
        if decisions[int(request)] == "preempted":
            # Its last token was under way when it lost its blocks.
            assert computed[request] == 0
            continue
        # The last token is never computed itself.
        assert computed[request] == requests.input_tokens[request] + requests.output_tokens[request] - 1


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 60), st.integers(1, 3))
def test_gaps_are_those_of_served_requests_whenever_a_run_stops(seed: int, halt: int, ranks: int) -> None:
    run = play(replace(replica(seed), ranks=ranks), offered(seed), Options(horizon_s=halt / 4)).run
    served = run.served
    assert run.gaps.count.sum() == (run.output_tokens[served] - 1).sum()
    spent = (run.last_token_s - run.first_token_s)[served].sum()
    assert (run.gaps.gap_s * run.gaps.count).sum() == pytest.approx(spent, rel=1e-9, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 60))
def test_every_block_is_free_or_held(seed: int, halt: int) -> None:
    """At any moment: users of a block = tables it stands in; the free list holds exactly the unused ones, once."""
    facts, requests = replica(seed, groups=(BlockGroup(),)), offered(seed)
    world = make_world(Fleet(replica=replace(facts, jumps=False)), requests, halt / 4)
    go = Twin(engine.play).on(world)
    while go() == engine.MORE:
        pass
    state, blocks = world.states[0], world.blocks[0]
    users = Counter(int(b) for table in world.tables[0, FULL] for b in table if b)
    free, block = [], blocks[0].next
    while block:
        free.append(int(block))
        block = blocks[block].next
    assert len(free) == len(set(free)) == state.free
    assert {b: int(blocks[b].users) for b in range(1, facts.blocks) if blocks[b].users} == dict(users)
    assert set(free) | set(users) == set(range(1, facts.blocks)) and not set(free) & set(users)
    mapped = [int(b) for b in world.places[0].block if b]
    assert sorted(mapped) == [b for b in range(1, facts.blocks) if blocks[b].key > 0]


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_the_same_offer_gives_the_same_run(seed: int) -> None:
    facts, requests = replica(seed), offered(seed)
    one, other = simulate(facts, requests), simulate(facts, requests)
    for name in ("first_token_s", "first_answer_s", "last_token_s", "cached_tokens"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_equal_arrivals_are_served_in_the_order_they_are_listed() -> None:
    run = simulate(small(max_num_seqs=1), Requests.of(np.zeros(50), 4, 2))
    assert (np.diff(run.first_token_s) > 0).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_content_that_nobody_quotes_may_as_well_have_no_name(seed: int) -> None:
    """Keys of private content are worked out late; that decides nothing."""
    facts, requests = replica(seed, groups=(BlockGroup(),), prefix_caching=True), offered(seed, 30)
    unnamed = replace(requests, output_id=np.full(len(requests), -1))
    named = replace(requests, output_id=1000 + np.arange(len(requests)))
    one, other = play(facts, unnamed, Options(log=True)), play(facts, named, Options(log=True))
    assert one.log == other.log


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans(), st.integers(1, 3), st.sampled_from(["vllm", "sglang"]))
@example(1, True, 1, "sglang")  # a queue by priority, whose prefixes are touched
def test_counting_blocks_is_following_them(seed: int, jumps: bool, ranks: int, scheduler: Any) -> None:
    """Where nobody looks for the content of a block, or a play ends at the first who does, how many are free is all."""
    groups = {"groups": (BlockGroup(),)} if scheduler == "sglang" else {}
    facts, named = replace(replica(seed, scheduler=scheduler, **groups), jumps=jumps, ranks=ranks), offered(seed, 30)
    none = np.full(len(named), -1)
    empty = {"segment_start": np.zeros(len(named) + 1, dtype=np.int64), "segment_id": none[:0]}
    requests = replace(named, output_id=none, segment_tokens=none[:0], **empty)
    counted, followed = (play(facts, requests, Options(log=not jumps, followed=told)) for told in (False, True))
    assert counted.log == followed.log
    same(counted.run, followed.run)
    for name in ("time_s", "running", "waiting", "kv_used_fraction"):
        assert getattr(counted.run.timeline, name).tolist() == getattr(followed.run.timeline, name).tolist()


def test_a_long_context_takes_no_longer_than_a_short_one() -> None:
    """64 prompts of a million tokens in a cache of 16 million, with windows: no block of theirs is touched."""
    groups = (BlockGroup(), BlockGroup(kind="window", span_tokens=1024, most_blocks=600))
    facts = small(
        blocks=2_000_000, block_tokens=16, max_num_seqs=8, max_num_batched_tokens=8192,
        max_model_len_tokens=2**20, groups=groups,
    )  # fmt: skip
    before = simulate(facts, Requests.of(np.zeros(1), 10, 2)).status.tolist()
    start = time.perf_counter()
    run = simulate(facts, Requests.of(np.zeros(64), 1_000_000, 100))
    assert time.perf_counter() - start < 1.0
    assert before + run.status.tolist() == [OK] * 65
