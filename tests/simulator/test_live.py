"""A world fed as it goes plays exactly what a world that knew all requests beforehand plays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.simulator.facts import Fleet, ReplicaFacts, SchedulerRules
from sizewell.simulator.live import Asked, Live
from sizewell.simulator.simulate import Options, simulate
from sizewell.traffic.requests import Requests
from surfaces import flat_surface

SLOWER = flat_surface(0.01, 0.0003, 1e-6)


def replica(**changes: object) -> ReplicaFacts:
    """Return a replica small enough to preempt."""
    facts = ReplicaFacts(
        surface=SLOWER, blocks=65, block_tokens=4, max_num_seqs=8, max_num_batched_tokens=32, max_model_len_tokens=128
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def played_live(live: Live, requests: Requests, step_s: float | None) -> dict[int, tuple[float, float, int]]:
    """Return (first, last, tokens) of each row, with time moved at every arrival and every `step_s` or event."""
    rows, seen, now = {}, {}, 0.0

    def note(until: float) -> None:
        landed = live.advance(until)
        for request, gained, time in zip(
            landed.request.tolist(), landed.gained.tolist(), landed.time_s.tolist(), strict=True
        ):
            row = rows[request]
            first = live.world.sequences[request].first_s
            seen[row] = (float(first), time, seen.get(row, (0, 0, 0))[2] + gained)

    for row in range(len(requests)):
        arrival = float(requests.arrival_s[row])
        while min(live.next_s, now + step_s if step_s else np.inf) < arrival:
            now = min(live.next_s if step_s is None else now + step_s, arrival)
            note(now)
        now = arrival
        note(now)
        asked = Asked(
            input_tokens=int(requests.input_tokens[row]), think_tokens=0, answer_tokens=int(requests.output_tokens[row])
        )
        number = live.offer(asked, now)
        assert number is not None
        rows[number] = row
    while live.next_s < np.inf:
        note(live.next_s)
    return seen


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=25),
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=25, max_size=25),
    rules=st.sampled_from(["0.9", "0.14", "0.33", "sglang"]),
    replicas=st.integers(1, 3),
    step_s=st.sampled_from([None, 0.004, 0.05]),
)
def test_fed_as_it_goes_is_the_same_as_known_beforehand(
    gaps: list[float], lengths: list[tuple[int, int]], rules: str, replicas: int, step_s: float | None
) -> None:
    facts = replica(scheduler="sglang" if rules == "sglang" else "vllm")
    if rules != "sglang":
        facts = replace(facts, rules=SchedulerRules.of(rules))
    fleet = Fleet(replica=facts, replicas=replicas, router="least-requests")
    count = len(gaps)
    requests = Requests.of(np.cumsum(gaps), [i for i, _ in lengths[:count]], [o for _, o in lengths[:count]])
    run = simulate(fleet, requests, Options(compiled=False))
    seen = played_live(Live(fleet, most=32, compiled=False), requests, step_s)
    assert [seen[row] for row in range(count)] == [
        (pytest.approx(run.first_token_s[row]), pytest.approx(run.last_token_s[row]), run.output_tokens[row])
        for row in range(count)
    ]


def test_rows_are_lent_again() -> None:
    live, now = Live(Fleet(replica=replica()), most=3, compiled=False), 0.0
    for _ in range(20):
        assert live.offer(Asked(input_tokens=5, think_tokens=0, answer_tokens=3), now) is not None
        while live.next_s < np.inf:
            now = live.next_s
            live.advance(now)


@pytest.mark.parametrize("scheduler", ["vllm", "sglang"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_request_given_up_frees_everything(scheduler: str, compiled: bool) -> None:
    live = Live(Fleet(replica=replica(scheduler=scheduler, max_num_seqs=4)), most=16, compiled=compiled)
    numbers = [live.offer(Asked(input_tokens=20, think_tokens=0, answer_tokens=50), 0.0) for _ in range(8)]
    for _ in range(12):
        live.advance(live.next_s)
    state = live.world.states[0]
    # SGLang sets aside 20 + 50 tokens and a block for each: of 256 the fourth would not leave enough.
    assert (state.running, state.waiting) == ((4, 4) if scheduler == "vllm" else (3, 5))
    last = live.offer(Asked(input_tokens=20, think_tokens=0, answer_tokens=50), live.world.clock[0].now_s)
    assert last is not None
    for number in (*numbers, last):
        live.cancel(number or 0)
    while live.next_s < np.inf:
        assert len(live.advance(live.next_s).request) == 0
    assert (state.running, state.waiting, state.outstanding, state.free) == (0, 0, 0, 64)
    more = [live.offer(Asked(input_tokens=5, think_tokens=0, answer_tokens=3), 9.0) for _ in range(16)]
    assert None not in more


def test_a_request_that_has_ended_cannot_be_given_up() -> None:
    """Its row would be lent to two."""
    live = Live(Fleet(replica=replica()), most=2, compiled=False)
    number = live.offer(Asked(input_tokens=5, think_tokens=0, answer_tokens=1), 0.0)
    assert number is not None
    while live.next_s < np.inf:
        live.advance(live.next_s)
    live.cancel(number)
    live.cancel(number)
    live.advance(1.0)
    lent = [live.offer(Asked(input_tokens=5, think_tokens=0, answer_tokens=1), 1.0) for _ in range(3)]
    assert sorted(lent[:2], key=str) == [0, 1] and lent[2] is None


def test_what_two_prompts_share_is_computed_once() -> None:
    live = Live(Fleet(replica=replica()), most=4, compiled=False)
    first = live.offer(Asked(input_tokens=24, think_tokens=0, answer_tokens=2, segments=((7, 16), (8, 8))), 0.0)
    while live.next_s < np.inf:
        live.advance(live.next_s)
    second = live.offer(Asked(input_tokens=24, think_tokens=0, answer_tokens=2, segments=((7, 16), (9, 8))), 5.0)
    while live.next_s < np.inf:
        live.advance(live.next_s)
    assert first is not None and second is not None
    assert live.world.sequences[second].cached == 16


def test_what_can_never_be_served_is_not_taken() -> None:
    live = Live(Fleet(replica=replica()), most=4, compiled=False)
    assert live.offer(Asked(input_tokens=120, think_tokens=0, answer_tokens=20), 0.0) is None
