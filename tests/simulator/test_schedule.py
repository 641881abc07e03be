"""Schedules worked out by hand: who computes how many tokens in which step, and when tokens come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.conftest import ASYNC, SYNC, flat_surface, said, schedule_of, small
from sizewell.simulator.facts import SchedulerRules
from sizewell.simulator.simulate import Options, play
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, UNFINISHED

both = pytest.mark.parametrize("compiled", [False, True])


@both
def test_a_prompt_is_cut_into_chunks_and_decodes_go_first(compiled: bool) -> None:
    """Budget 8: A's 6 tokens leave 2 for B; from then on A decodes first and B takes what is left."""
    played = play(small(), Requests.of([0.0, 0.0], [6, 12], [3, 2]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 6, 1: 2}, {0: 1, 1: 7}, {0: 1, 1: 3}, {1: 1}]
    assert played.run.first_token_s.tolist() == [1.0, 3.0]
    assert played.run.last_token_s.tolist() == [3.0, 4.0]
    assert played.run.status.tolist() == [OK, OK]


@both
def test_requests_that_come_during_a_step_wait_for_its_end(compiled: bool) -> None:
    played = play(small(), Requests.of([0.0, 0.5, 1.0], [4, 4, 4], [2, 1, 1]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 4}, {0: 1, 1: 4, 2: 3}, {2: 1}]


@both
def test_no_more_sequences_run_than_allowed(compiled: bool) -> None:
    facts = small(max_num_seqs=2, max_num_batched_tokens=64)
    played = play(facts, Requests.of(0.0 * np.arange(3), [4, 4, 4], [1, 2, 1]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 4, 1: 4}, {1: 1, 2: 4}]


@both
def test_async_scheduling_forms_a_step_before_the_last_one_is_known(compiled: bool) -> None:
    """A ends in step 1, which lands at 2 s; step 2 was formed at 1 s, when A still held the only slot: B waits for
    the scheduler to act again at 2 s."""
    facts = small(max_num_seqs=1, rules=ASYNC)
    played = play(facts, Requests.of([0.0, 0.0], [4, 4], [2, 1]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 4}, {0: 1}, {1: 4}]
    assert played.run.last_token_s.tolist() == [2.0, 3.0]
    # Two running: a request that comes in step 0 misses step 1, formed at the same time, and gets step 2.
    facts = small(rules=ASYNC)
    played = play(facts, Requests.of([0.0, 0.5], [4, 4], [4, 1]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log) == [{0: 4}, {0: 1}, {0: 1, 1: 4}, {0: 1}]
    assert played.run.first_token_s.tolist() == [1.0, 3.0]


@both
def test_a_prompt_waits_until_all_of_it_has_blocks(compiled: bool) -> None:
    """Of 16 blocks A takes 10; B's first chunk would fit, its 7 blocks do not."""
    requests = Requests.of([0.0, 0.0], [38, 28], [2, 1])
    facts = small(max_num_batched_tokens=64)
    late = play(facts, requests, Options(compiled=compiled, log=True))
    assert schedule_of(late.log) == [{0: 38}, {0: 1}, {1: 28}]
    facts = small(max_num_batched_tokens=46, rules=replace(SYNC, reserve_prompt=False))
    early = play(facts, requests, Options(compiled=compiled, log=True))
    assert schedule_of(early.log)[0] == {0: 38, 1: 8}


@both
def test_the_last_running_sequence_is_preempted_and_computed_again(compiled: bool) -> None:
    """Four blocks: A and B take two each for prompts of 8; A's next token needs a third, so B loses its two.

    A ends with 10 tokens computed; B is back at once: its first block is still cached (the second went to A), so it
    computes 4 prompt tokens and the one it had generated.
    """
    facts = small(blocks=5, max_num_batched_tokens=16)
    played = play(facts, Requests.of([0.0, 0.0], [8, 8], [3, 3]), Options(compiled=compiled, log=True))
    assert said(played.log, "preempted") == [(1, 1, 8)]
    assert said(played.log, "admitted") == [(0, 0, 0), (0, 1, 0), (3, 1, 4)]
    assert schedule_of(played.log) == [{0: 8, 1: 8}, {0: 1}, {0: 1}, {1: 5}, {1: 1}]
    assert played.run.preemptions.tolist() == [0, 1]
    assert played.run.last_token_s.tolist() == [3.0, 5.0]


@both
def test_a_prefix_is_found_in_full_blocks_short_of_the_last_token(compiled: bool) -> None:
    requests = Requests.of([0.0, 10.0, 20.0], [8, 8, 11], [1, 1, 1])
    requests = replace(
        requests, segment_start=np.array([0, 1, 2, 3]), segment_id=np.array([7, 7, 7]),
        segment_tokens=np.array([8, 8, 8]),
    )  # fmt: skip
    played = play(small(max_num_batched_tokens=64), requests, Options(compiled=compiled, log=True))
    assert played.run.cached_tokens.tolist() == [0, 4, 8]
    off = play(small(max_num_batched_tokens=64, prefix_caching=False), requests, Options(compiled=compiled))
    assert off.run.cached_tokens.tolist() == [0, 0, 0]


@both
def test_the_threshold_for_long_prompts_holds_unless_alone(compiled: bool) -> None:
    facts = small(max_num_batched_tokens=16, long_prefill_tokens=4)
    alone = play(facts, Requests.of([0.0], [12], [1]), Options(compiled=compiled, log=True))
    assert schedule_of(alone.log) == [{0: 12}]
    facts = replace(facts, rules=SchedulerRules(async_scheduling=False, long_prefill_alone=True))
    alone = play(facts, Requests.of([0.0], [12], [1]), Options(compiled=compiled, log=True))
    assert schedule_of(alone.log) == [{0: 4}, {0: 4}, {0: 4}]


@both
def test_priority_decides_who_is_admitted_and_who_is_preempted(compiled: bool) -> None:
    """One slot: the more urgent request overtakes. Two slots and no blocks: the less urgent one goes."""
    requests = replace(Requests.of([0.0, 0.1, 0.2], [4, 4, 4], [2, 1, 1]), priority=np.array([0, 5, 1]))
    played = play(small(max_num_seqs=1, policy="priority"), requests, Options(compiled=compiled, log=True))
    assert [request for _, request, _ in said(played.log, "admitted")] == [0, 2, 1]
    requests = replace(Requests.of([0.0, 0.0], [8, 8], [4, 2]), priority=np.array([5, 1]))
    facts = small(blocks=5, max_num_batched_tokens=16, policy="priority")
    played = play(facts, requests, Options(compiled=compiled, log=True))
    assert [request for _, request, _ in said(played.log, "preempted")] == [0]
    assert played.run.status.tolist() == [OK, OK]


@both
def test_a_closed_loop_keeps_so_many_in_flight_and_pauses(compiled: bool) -> None:
    requests = replace(Requests.of(0.0 * np.arange(4), 4, 1), concurrency=2, think_s=3.0)
    run = play(small(), requests, Options(compiled=compiled)).run
    assert run.sent_s.tolist() == [0.0, 0.0, 4.0, 4.0]


@both
def test_a_closed_loop_sends_nothing_before_it_comes(compiled: bool) -> None:
    """A step takes a second: the third has a place at 1, comes at 0.75 and waits, or at 1.25 and is waited for."""
    requests = Requests.of([0.0, 0.5, 0.75, 7.0], 4, 1, concurrency=2)
    run = play(small(), requests, Options(compiled=compiled)).run
    assert run.sent_s.tolist() == [0.0, 0.5, 1.0, 7.0]
    later = replace(requests, arrival_s=np.array([0.0, 0.5, 1.25, 7.0]))
    assert play(small(), later, Options(compiled=compiled)).run.sent_s.tolist() == [0.0, 0.5, 1.25, 7.0]


@both
def test_a_later_turn_comes_after_the_one_before_and_finds_its_blocks(compiled: bool) -> None:
    """The second prompt is the first one (8), its answer (4, of which the last token was never computed) and 4 more."""
    requests = replace(
        Requests.of([0.0, 2.0], [8, 16], [4, 1]), after=np.array([-1, 0]), output_id=np.array([9, -1]),
        segment_start=np.array([0, 1, 3]), segment_id=np.array([5, 5, 9]), segment_tokens=np.array([8, 8, 4]),
    )  # fmt: skip
    run = play(small(max_num_batched_tokens=64), requests, Options(compiled=compiled)).run
    assert run.sent_s.tolist() == [0.0, 6.0]
    assert run.cached_tokens.tolist() == [0, 8]
    longer = replace(requests, answer_tokens=np.array([5, 1]), segment_tokens=np.array([8, 8, 5]))
    run = play(small(max_num_batched_tokens=64), longer, Options(compiled=compiled)).run
    assert run.cached_tokens.tolist() == [0, 12]


@both
def test_what_can_never_be_served_is_refused_and_what_is_late_unfinished(compiled: bool) -> None:
    requests = Requests.of([0.0, 0.0, 0.0, 2.0], [60, 80, 64, 4], [4, 1, 1, 40])
    run = play(small(max_num_batched_tokens=64), requests, Options(horizon_s=20.5, compiled=compiled)).run
    assert run.status.tolist() == [OK, REJECTED, REJECTED, UNFINISHED]
    assert run.output_tokens[3] == 16
    tiny = play(small(blocks=4), Requests.of([0.0], [16], [4]), Options(compiled=compiled)).run
    assert tiny.status.tolist() == [REJECTED]


@both
def test_thinking_ends_with_the_first_token_of_the_answer(compiled: bool) -> None:
    run = play(small(), Requests.of([0.0], [4], [3], [5]), Options(compiled=compiled)).run
    assert (run.first_token_s[0], run.first_answer_s[0], run.last_token_s[0]) == (1.0, 6.0, 8.0)
    assert run.gaps.gap_s.tolist() == [1.0] and run.gaps.count.tolist() == [7]


@both
def test_a_request_alone_takes_the_sum_of_its_steps(compiled: bool) -> None:
    """Chunks of 8, 8 and 4 tokens, then nine steps that each read one token more."""
    facts = small(surface=flat_surface(0.5, token_s=0.01, context_s=0.001))
    run = play(facts, Requests.of([1.0], [20], [10]), Options(compiled=compiled)).run
    prefill = 3 * 0.5 + 20 * 0.01
    decode = sum(0.5 + 0.01 + 0.001 * (20 + k) for k in range(9))
    assert run.first_token_s[0] == pytest.approx(1.0 + prefill, rel=1e-12)
    assert run.last_token_s[0] == pytest.approx(1.0 + prefill + decode, rel=1e-12)
