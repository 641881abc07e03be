"""What must hold whatever is offered: compiled = plain, jumping = stepping, nothing lost, blocks and tokens kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.conftest import flat_surface, said, small
from sizewell.simulator import engine
from sizewell.simulator.facts import BlockGroup, ReplicaFacts, SchedulerRules
from sizewell.simulator.simulate import play, simulate
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


@st.composite
def offered(draw: st.DrawFn, most: int = 12) -> Requests:
    """Requests with few contents, so that prefixes are shared, some of them turns of a session."""
    count = draw(st.integers(1, most))
    ints = lambda low, high: np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))  # noqa: E731
    into = ints(1, 30)
    segments = np.minimum(ints(0, 24), into)
    named = segments > 0
    after = np.where(ints(0, 3) == 0, ints(0, count) % np.maximum(np.arange(count), 1), -1)
    after[0] = -1
    arrival = ints(0, 40) / 4
    arrival[after < 0] = np.sort(arrival[after < 0])
    closed = draw(st.sampled_from([None, None, 1, 3]))
    base = Requests.of(arrival, into, ints(1, 12), ints(0, 4), closed)
    return replace(
        base, after=after, priority=ints(0, 2), segment_start=np.concatenate(([0], np.cumsum(named))),
        segment_id=ints(0, 2)[named], segment_tokens=segments[named], output_id=ints(-1, 2),
    )  # fmt: skip


@st.composite
def replicas(draw: st.DrawFn, **fixed: Any) -> ReplicaFacts:
    rules = SchedulerRules(**{field.name: draw(st.booleans()) for field in fields(SchedulerRules)})
    given = {
        "surface": flat_surface(0.25, token_s=0.03, context_s=0.002),
        "blocks": draw(st.integers(12, 60)), "max_num_seqs": draw(st.integers(1, 5)),
        "max_num_batched_tokens": draw(st.integers(1, 40)), "policy": draw(st.sampled_from(["fcfs", "priority"])),
        "long_prefill_tokens": draw(st.sampled_from([0, 0, 3])), "prefix_caching": draw(st.booleans()),
        "groups": draw(st.sampled_from(GROUPS)), "rules": rules,
    }  # fmt: skip
    return small(**(given | fixed))


def same(one: Run, other: Run, rel: float = 0.0) -> None:
    for name in ("status", "output_tokens", "cached_tokens", "preemptions", "replica"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    for name in ("sent_s", "first_token_s", "first_answer_s", "last_token_s"):
        mine, other_s = getattr(one, name), getattr(other, name)
        assert mine == pytest.approx(other_s, rel=rel, abs=rel, nan_ok=True), name


@settings(max_examples=60, deadline=None)
@given(replicas(), offered())
def test_compiled_and_plain_agree_step_for_step(facts: ReplicaFacts, requests: Requests) -> None:
    plain = play(facts, requests, compiled=False, log=True)
    fast = play(facts, requests, compiled=True, log=True)
    assert fast.log == plain.log
    same(fast.run, plain.run)
    assert fast.run.gaps.gap_s.tolist() == plain.run.gaps.gap_s.tolist()


@settings(max_examples=300, deadline=None)
@given(replicas(), offered())
def test_a_jump_is_what_its_steps_are(facts: ReplicaFacts, requests: Requests) -> None:
    jumping = play(facts, requests)
    stepping = play(replace(facts, jumps=False), requests)
    assert jumping.steps == stepping.steps
    same(jumping.run, stepping.run, rel=1e-9)
    gaps = [np.sum(run.gaps.gap_s * run.gaps.count) for run in (jumping.run, stepping.run)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(replicas(), offered(most=30))
def test_no_request_is_lost_and_tokens_are_kept(facts: ReplicaFacts, requests: Requests) -> None:
    played = play(facts, requests, log=True)
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
    for request in np.flatnonzero(served):
        # The last token is never computed itself.
        assert computed[request] == requests.input_tokens[request] + requests.output_tokens[request] - 1


@settings(max_examples=100, deadline=None)
@given(replicas(groups=(BlockGroup(),)), offered(), st.integers(1, 60))
def test_every_block_is_free_or_held(facts: ReplicaFacts, requests: Requests, halt: int) -> None:
    """At any moment: users of a block = tables it stands in; the free list holds exactly the unused ones, once."""
    world = make_world(replace(facts, jumps=False), requests, 1, halt / 4, 0)
    while engine.play(world) == engine.MORE:
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
    mapped = [int(b) for b in world.places[0] if b]
    assert sorted(mapped) == [b for b in range(1, facts.blocks) if blocks[b].key]


@settings(max_examples=30, deadline=None)
@given(replicas(), offered())
def test_the_same_offer_gives_the_same_run(facts: ReplicaFacts, requests: Requests) -> None:
    one, other = simulate(facts, requests), simulate(facts, requests)
    for name in ("first_token_s", "first_answer_s", "last_token_s", "cached_tokens"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_equal_arrivals_are_served_in_the_order_they_are_listed() -> None:
    run = simulate(small(max_num_seqs=1), Requests.of(np.zeros(50), 4, 2))
    assert (np.diff(run.first_token_s) > 0).all()
