"""Prompts computed in one pool, decoded in another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings

from simulator.conftest import small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator.facts import BlockGroup, Disaggregated, Fleet, Network
from sizewell.simulator.simulate import Options, play
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import HANDOVER_COLUMNS, OK, REJECTED
from surfaces import flat_surface

NETWORK = Network(latency_s=0.1, send_block_s=0.0937, receive_block_s=0.0513)
both = pytest.mark.parametrize("compiled", [False, True])


def pools(**changes: object) -> Disaggregated:
    return Disaggregated(
        prefill=Fleet(replica=small(**changes)), decode=Fleet(replica=small(**changes)),
        network=Network(latency_s=0.5, send_block_s=1.0, receive_block_s=1.0),
    )  # fmt: skip


@both
def test_a_prompt_is_computed_moved_and_decoded(compiled: bool) -> None:
    """Prefill 1 s, transfer 0.5 s + 1 s for one block; the first token comes at 3.5 s, then one a second."""
    run = play(pools(), Requests.of([0.0], [4], [3]), Options(compiled=compiled)).run
    assert run.sent_s.tolist() == [0.0]
    assert (run.first_token_s[0], run.last_token_s[0]) == (3.5, 5.5)
    assert run.output_tokens.tolist() == [3]
    assert run.gaps.count.sum() == 2
    moved = run.handovers
    assert moved is not None
    assert [getattr(moved, name).tolist() for name in HANDOVER_COLUMNS] == [[0], [1.0], [1.0], [1.0], [2.5]]
    assert moved.moving(np.array([0.9, 1.0, 2.4, 2.5])).tolist() == [0, 1, 1, 0]
    assert (moved.timeline.running.max(), moved.timeline.tokens.sum()) == (1, 1)


@both
def test_a_prompt_waits_in_the_prefill_pool_for_a_seat_and_then_in_line(compiled: bool) -> None:
    """One seat each: the second prompt is computed when the first has gone, and asked for when that has ended."""
    facts = replace(pools(max_num_seqs=1), network=Network(latency_s=0.5))
    moved = play(facts, Requests.of([0.0, 0.0], [4, 4], [3, 3]), Options(compiled=compiled)).run.handovers
    assert moved is not None
    assert [getattr(moved, name).tolist() for name in ("computed_s", "asked_s", "left_s", "came_s")] == [
        [1.0, 2.5], [1.0, 4.5], [1.0, 4.5], [1.5, 5.0],
    ]  # fmt: skip


@both
def test_what_has_not_come_by_the_horizon_never_came(compiled: bool) -> None:
    moved = play(pools(), Requests.of([0.0], [4], [3]), Options(compiled=compiled, horizon_s=2.0)).run.handovers
    assert moved is not None
    assert (moved.left_s.tolist(), np.isnan(moved.came_s).tolist()) == ([1.0], [True])


@both
def test_decoding_is_not_disturbed_by_prompts(compiled: bool) -> None:
    """Three prompts of two steps each follow; the first request's tokens still come every second."""
    requests = Requests.of(np.array([0.0, 2.0, 2.0, 2.0]), [4, 16, 16, 16], [8, 1, 1, 1])
    run = play(replace(pools(), network=Network()), requests, Options(compiled=compiled)).run
    assert run.last_token_s[0] - run.first_token_s[0] == 7.0


@both
def test_prompts_that_come_computed_decode_from_their_first_step_on(compiled: bool) -> None:
    """Issuing a prompt kernel by kernel takes ten seconds: no step of the decode pool does, drafts or none."""
    surface = flat_surface()
    slow = surface._replace(issue=surface.issue._replace(launches=1.0, prefill_launch_s=10.0))
    requests = Requests.of(np.arange(4.0), [4, 8, 8, 8], [6, 6, 6, 6])
    for drafts in (0, 2):
        given = pools(drafts=drafts, acceptance=0.0)
        decode = replace(given.decode, replica=replace(given.decode.replica, surface=slow))
        runs = [play(each, requests, Options(compiled=compiled)).run for each in (given, replace(given, decode=decode))]
        assert runs[0].last_token_s.tolist() == runs[1].last_token_s.tolist()


@both
def test_a_later_turn_comes_when_the_decode_pool_has_ended_the_one_before(compiled: bool) -> None:
    requests = replace(Requests.of([0.0, 1.0], [4, 4], [3, 1]), after=np.array([-1, 0]))
    run = play(pools(), requests, Options(compiled=compiled)).run
    assert run.sent_s.tolist() == [0.0, run.last_token_s[0] + 1.0]


@both
@pytest.mark.parametrize("group", [
    BlockGroup(kind="window", span_tokens=5, most_blocks=4), BlockGroup(kind="chunk", span_tokens=8, most_blocks=4),
])  # fmt: skip
def test_of_a_moved_prompt_a_window_holds_what_it_still_sees(group: BlockGroup, compiled: bool) -> None:
    """36 tokens are nine blocks of full attention and at most two of the other: a pool of fifteen holds them."""
    facts = pools(groups=(BlockGroup(), group), max_num_batched_tokens=4, blocks=16)
    run = play(facts, Requests.of([0.0], [36], [3]), Options(compiled=compiled)).run
    assert run.status.tolist() == [OK]


@settings(max_examples=100, deadline=None)
@given(SEEDS)
@example(718)
@example(944)
def test_whatever_is_admitted_is_served(seed: int) -> None:
    facts = Disaggregated(
        prefill=Fleet(replica=replica(seed), replicas=2), decode=Fleet(replica=replica(seed + 1)),
        network=NETWORK,
    )  # fmt: skip
    assert set(play(facts, offered(seed)).run.status) <= {OK, REJECTED}


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree_and_nothing_is_lost(seed: int) -> None:
    facts = Disaggregated(
        prefill=Fleet(replica=replica(seed), replicas=2), decode=Fleet(replica=replica(seed + 1)),
        network=NETWORK,
    )  # fmt: skip
    requests = offered(seed)
    plain, fast = play(facts, requests, Options(compiled=False, log=True)), play(facts, requests, Options(log=True))
    assert fast.log == plain.log
    same(fast.run, plain.run)
    assert set(fast.run.status) <= {OK, REJECTED}
    jumping = play(facts, requests).run
    same(jumping, fast.run, rel=1e-9)
    for name in HANDOVER_COLUMNS:
        kept, steps, python = (getattr(each.handovers, name) for each in (jumping, fast.run, plain.run))
        assert kept == pytest.approx(steps, rel=1e-9, abs=1e-9, nan_ok=True)
        assert steps == pytest.approx(python, rel=0, abs=0, nan_ok=True)


def test_a_transfer_takes_no_less_than_no_time() -> None:
    with pytest.raises(BadInputError, match="give 0 or more"):
        Network(send_block_s=-1.0)
