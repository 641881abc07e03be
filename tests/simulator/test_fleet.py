"""Several replicas, ranks in lock-step, pipeline stages and drafts: small schedules and what must always hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.conftest import ASYNC, SYNC, flat_surface, schedule_of, small
from simulator.test_twins import SEEDS, apart, offered, replica, same
from sizewell.simulator.facts import ROUTERS, Fleet, Router
from sizewell.simulator.simulate import Options, play
from sizewell.simulator.tournament import enter, winner
from sizewell.simulator.world import new_tournament
from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import Constant, Pause
from sizewell.traffic.classes import RequestClass
from sizewell.traffic.lengths import Fixed
from sizewell.traffic.offer import Traffic, offer
from sizewell.traffic.prefixes import SharedPrefix
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED
from sizewell.traffic.sessions import Sessions

both = pytest.mark.parametrize("compiled", [False, True])


@both
def test_replicas_take_turns_and_do_not_disturb_each_other(compiled: bool) -> None:
    fleet = Fleet(replica=small(max_num_seqs=1), replicas=2)
    run = play(fleet, Requests.of(np.zeros(4), 4, 2), Options(compiled=compiled)).run
    assert run.replica.tolist() == [0, 1, 0, 1]
    assert run.last_token_s.tolist() == [2.0, 2.0, 4.0, 4.0]


@both
@pytest.mark.parametrize("router", ["least-requests", "least-tokens"])
def test_the_idlest_replica_gets_the_request(router: Router, compiled: bool) -> None:
    """The first request keeps replica 0 busy; by the third, replica 1 is idle again."""
    fleet = Fleet(replica=small(), replicas=2, router=router)
    run = play(fleet, Requests.of([0.0, 0.1, 5.0], [4, 4, 4], [20, 1, 1]), Options(compiled=compiled)).run
    assert run.replica.tolist() == [0, 1, 1]


def test_affine_routers_keep_together_what_belongs_together() -> None:
    requests = replace(
        Requests.of(np.arange(6) / 1.0, 8, 2), session=np.array([0, 1, 0, 1, 0, 1]),
        segment_start=np.array([0, 1, 2, 3, 4, 5, 5]), segment_id=np.array([4, 4, 5, 5, 4]),
        segment_tokens=np.full(5, 8),
    )  # fmt: skip
    by_session = play(Fleet(replica=small(), replicas=2, router="session"), requests).run
    assert by_session.replica.tolist() == [0, 1, 0, 1, 0, 1]
    by_prefix = play(Fleet(replica=small(), replicas=2, router="prefix"), requests).run
    assert by_prefix.replica.tolist()[:5] == [0, 0, 1, 1, 0]
    assert by_prefix.cached_tokens.tolist()[:5] == [0, 4, 0, 4, 4]


def shared(seed: int, prompts: int = 6, count: int = 80) -> Requests:
    """Requests with one of some long system prompts each, in no order, of sessions of their own."""
    draw = np.random.default_rng(seed)
    return replace(
        Requests.of(np.cumsum(draw.exponential(2.0, count)), draw.integers(33, 41, count), draw.integers(1, 9, count)),
        session=draw.integers(0, 9, count), segment_start=np.arange(count + 1),
        segment_id=draw.integers(0, prompts, count), segment_tokens=np.full(count, 32),
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_session_stays_where_it_began(seed: int) -> None:
    requests = offered(seed, 30)
    requests = replace(requests, session=np.random.default_rng(seed).integers(0, 5, len(requests)))
    run = play(Fleet(replica=replica(seed), replicas=3, router="session"), requests).run
    for session in range(5):
        assert len(set(run.replica[(requests.session == session) & run.served])) <= 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_affinity_to_prefixes_hits_no_less_than_taking_turns(seed: int) -> None:
    """Six prompts of eight blocks over three replicas of 39: each has room for its own two, not for all six."""
    facts = small(blocks=40, max_num_batched_tokens=64, max_model_len_tokens=64)
    hits = {}
    for router in ("round-robin", "prefix"):
        run = play(Fleet(replica=facts, replicas=3, router=router), shared(seed)).run
        hits[router] = int(run.cached_tokens.sum())
    assert hits["prefix"] >= hits["round-robin"]


@both
def test_affinity_sees_past_what_all_prompts_begin_with(compiled: bool) -> None:
    """Conversations behind one short system prompt: every replica gets some, and each stays where it began."""
    talk = Sessions(turns=Fixed(4), pause=Pause(mean_s=4.0), later_text=Fixed(4))
    kinds, system = (RequestClass(text=Fixed(20), answer=Fixed(4)),), SharedPrefix(tokens=Fixed(8))
    traffic = Traffic(arrivals=Constant(rate_per_s=0.8), classes=kinds, prefixes=(system,), sessions=talk)
    requests = offer(traffic, 120)
    facts = small(blocks=200, max_num_batched_tokens=64, max_model_len_tokens=128)
    run = play(Fleet(replica=facts, replicas=3, router="prefix"), requests, Options(compiled=compiled)).run
    assert set(run.replica.tolist()) == {0, 1, 2}
    for session in set(requests.session.tolist()):
        assert len(set(run.replica[requests.session == session].tolist())) == 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_taking_turns_gives_everybody_as_many(seed: int) -> None:
    requests = shared(seed)
    run = play(Fleet(replica=small(), replicas=3), requests).run
    assert np.ptp(np.bincount(run.replica, minlength=3)) <= 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_the_least_loaded_replica_is_chosen_and_of_equals_the_one_that_waits_longest(seed: int) -> None:
    """Checked against the run itself: who was outstanding where when each request came."""
    draw = np.random.default_rng(seed)
    requests = Requests.of(np.sort(draw.random(40) * 90), draw.integers(1, 30, 40), draw.integers(1, 12, 40))
    run = play(Fleet(replica=small(), replicas=5, router="least-requests"), requests).run
    given_last = [-1] * 5
    for request in range(40):
        there = (run.last_token_s[:request] > run.sent_s[request]) & (run.replica[:request] >= 0)
        load = np.bincount(run.replica[:request][there], minlength=5)
        assert int(run.replica[request]) == min(range(5), key=lambda r: (load[r], given_last[r], r))
        given_last[run.replica[request]] = request


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 3)), max_size=60), st.integers(1, 11))
def test_a_tournament_knows_the_lowest(changes: list[tuple[int, int]], size: int) -> None:
    tree, values = new_tournament(size, 0.0), [(0.0, 0)] * size
    for turn, (who, value) in enumerate(changes):
        enter(tree, who % size, float(value), turn)
        values[who % size] = (float(value), turn)
        assert winner(tree) == min(range(size), key=lambda place: (*values[place], place))


@both
def test_a_pipeline_works_on_a_batch_for_each_stage(compiled: bool) -> None:
    """Two stages: a step takes 2 s to pass, the next starts after 1 s. A and B come in different micro-batches."""
    facts = small(surface=flat_surface(2.0), stages=2, max_num_batched_tokens=4)
    played = play(facts, Requests.of([0.0, 0.0], [4, 4], [3, 2]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 4}, {1: 4}, {0: 1}, {1: 1}, {0: 1}]
    assert played.run.first_token_s.tolist() == [2.0, 3.0]
    assert played.run.last_token_s.tolist() == [6.0, 5.0]


@both
def test_ranks_step_together(compiled: bool) -> None:
    """Two ranks: B's long prompt on rank 1 makes A's decode on rank 0 wait, and idle ranks take part."""
    facts = small(surface=flat_surface(1.0, token_s=0.1), ranks=2, max_num_batched_tokens=16)
    run = play(facts, Requests.of([0.0, 0.0], [4, 16], [3, 1]), Options(compiled=compiled)).run
    assert run.first_token_s == pytest.approx([2.6, 2.6])
    assert run.last_token_s == pytest.approx([2.6 + 2 * 1.1, 2.6])


@both
@pytest.mark.parametrize("rules", [SYNC, ASYNC])
def test_drafts_bring_more_than_one_token_a_step(compiled: bool, rules: object) -> None:
    """All accepted: three tokens a step after the first. None accepted: one token a step."""
    always = small(surface=flat_surface(1.0, drafts=2), drafts=2, acceptance=1.0, rules=rules)
    run = play(always, Requests.of([0.0], [4], [7]), Options(compiled=compiled)).run
    assert (run.first_token_s[0], run.last_token_s[0]) == (1.0, 3.0)
    never = replace(always, acceptance=0.0)
    run = play(never, Requests.of([0.0], [4], [7]), Options(compiled=compiled)).run
    assert run.last_token_s[0] == 7.0
    assert run.output_tokens[0] == 7


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree_for_any_fleet(seed: int) -> None:
    facts, draw = replica(seed), np.random.default_rng(seed)
    drafts = int(draw.integers(0, 3))
    facts = replace(facts, ranks=int(draw.integers(1, 3)), stages=int(draw.integers(1, 3)), drafts=drafts,
                    acceptance=0.6, surface=flat_surface(0.25117, 0.031391, 0.0021737, drafts))  # fmt: skip
    fleet = Fleet(replica=facts, replicas=int(draw.integers(1, 4)), router=ROUTERS[draw.integers(5)])
    plain = play(fleet, offered(seed), Options(compiled=False, log=True))
    fast = play(fleet, offered(seed), Options(log=True))
    assert fast.log == plain.log
    same(fast.run, plain.run)
    assert set(fast.run.status) <= {OK, REJECTED}


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_jumps_are_exact_in_any_fleet(seed: int) -> None:
    draw = np.random.default_rng(seed)
    fleet = Fleet(replica=replica(seed), replicas=int(draw.integers(2, 4)), router=ROUTERS[draw.integers(5)])
    slow = replace(fleet, replica=replace(fleet.replica, jumps=False))
    requests = apart(offered(seed, 30))
    same(play(fleet, requests).run, play(slow, requests).run, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(2, 4), st.sampled_from([0, 3]))
def test_a_jump_of_ranks_in_lock_step_is_what_its_steps_are(seed: int, ranks: int, balance_steps: int) -> None:
    """Whichever rank is the slowest: attention of the fullest, and experts that serve the tokens of all."""
    facts = replace(replica(seed), ranks=ranks, balance_steps=balance_steps)
    fleet = Fleet(replica=facts, replicas=1 + seed % 2)
    slow = replace(fleet, replica=replace(facts, jumps=False))
    requests = apart(offered(seed, 30))
    jumping, stepping = play(fleet, requests), play(slow, requests)
    assert jumping.steps == stepping.steps
    same(jumping.run, stepping.run, rel=1e-9)
    gaps = [np.sum(run.gaps.gap_s * run.gaps.count) for run in (jumping.run, stepping.run)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-9)
    assert jumping.run.gaps.count.sum() == stepping.run.gaps.count.sum()


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(2, 3))
def test_ranks_jump_alike_compiled_and_plain(seed: int, ranks: int) -> None:
    facts = replace(replica(seed), ranks=ranks)
    plain, fast = play(facts, offered(seed), Options(compiled=False)), play(facts, offered(seed))
    same(fast.run, plain.run)
    assert fast.run.gaps.gap_s.tolist() == plain.run.gaps.gap_s.tolist()


def test_ranks_that_decode_together_jump_beside_one_that_is_idle() -> None:
    """Compiled code gives control back after so many events: one for each of 30,000 steps would be too many."""
    calls: list[int] = []
    facts = small(ranks=3, blocks=10_000, max_num_seqs=4, max_model_len_tokens=40_000)
    run = play(facts, Requests.of(np.zeros(2), 1, np.full(2, 30_000)), Options(watch=calls.append)).run
    assert run.output_tokens.tolist() == [30_000, 30_000]
    assert len(calls) == 1


def test_a_fleet_needs_replicas_and_a_known_router() -> None:
    with pytest.raises(BadInputError, match="at least 1"):
        Fleet(replica=small(), replicas=0)
    with pytest.raises(BadInputError, match="least-requests"):
        Fleet(replica=small(), router="best")  # type: ignore[arg-type]
