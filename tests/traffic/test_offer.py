"""Offered requests: prompts quote what was said before, shares are met, the same seed offers the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import WRITTEN_S, Gamma, Pause, Recorded, Users, Varying, Window, poisson
from sizewell.traffic.classes import Observed, RequestClass
from sizewell.traffic.lengths import Fixed, Lognormal, Uniform
from sizewell.traffic.offer import Traffic, at_rate, offer, requests_within, traffic_of
from sizewell.traffic.prefixes import SharedPrefix
from sizewell.traffic.profile import ramp
from sizewell.traffic.replay import at_mean_rate, offered_rate_per_s, sped_up
from sizewell.traffic.requests import Requests
from sizewell.traffic.sessions import Sessions
from sizewell.traffic.workload import Workload

CHAT = (RequestClass(text=Fixed(100), answer=Fixed(20)),)
REASONING = tuple(
    RequestClass(text=Fixed(text), think=Lognormal(mean_tokens=think, sigma=0.5), answer=Fixed(30), weight=weight)
    for text, think, weight in ((50, 200, 0.5), (150, 1000, 0.3), (400, 5000, 0.2))
)


def segments(requests: Requests, row: int) -> list[tuple[int, int]]:
    part = slice(requests.segment_start[row], requests.segment_start[row + 1])
    return list(zip(requests.segment_id[part].tolist(), requests.segment_tokens[part].tolist(), strict=True))


def same(one: Requests, other: Requests, but: tuple[str, ...] = ()) -> bool:
    names = [field.name for field in fields(Requests) if field.name not in but]
    return all(np.array_equal(np.asarray(getattr(one, n)), np.asarray(getattr(other, n))) for n in names)


def test_a_plain_workload_with_a_rate() -> None:
    work = Workload(input_tokens=900.5, answer_tokens=300, think_tokens=50, rate_per_s=4, growth=1.5)
    requests = offer(work, 600)
    assert requests.arrival_s[-1] == pytest.approx(100)
    assert requests.input_tokens.mean() == pytest.approx(900.5)
    assert set(requests.output_tokens) == {350}
    assert requests.concurrency is None
    assert len(requests.segment_id) == 0


def test_a_plain_workload_with_users_and_a_shared_prefix() -> None:
    work = Workload(input_tokens=1000, answer_tokens=300, users=12, growth=1.5, shared_prefix_tokens=400)
    requests = offer(work, 40)
    assert requests.concurrency == 18
    assert requests.arrival_s.max() == pytest.approx(17 * WRITTEN_S)
    assert set(requests.input_tokens) == {1000}
    assert {tuple(segments(requests, row)) for row in range(40)} == {((0, 400),)}


def test_a_conversation_by_hand() -> None:
    """System prompt 500; each turn adds 100 tokens of text and quotes 20 tokens of answer; thinking is dropped."""
    thinker = RequestClass(text=Fixed(100), think=Fixed(70), answer=Fixed(20))
    sessions = Sessions(turns=Fixed(3), pause=Pause(mean_s=9), later_text=Fixed(10))
    requests = offer(
        Traffic(
            arrivals=poisson(1.0), classes=(thinker,), prefixes=(SharedPrefix(tokens=Fixed(500)),), sessions=sessions
        ),
        6,
    )
    assert requests.session.tolist() == [0, 0, 0, 1, 1, 1]
    assert requests.after.tolist() == [-1, 0, 1, -1, 3, 4]
    assert requests.arrival_s[[1, 2, 4, 5]].tolist() == [9, 9, 9, 9]
    assert requests.arrival_s[3] == pytest.approx(6)
    assert requests.input_tokens.tolist() == [600, 630, 660] * 2
    answer, later = int(requests.output_id[0]), int(requests.output_id[1])
    text = segments(requests, 0)[1][0]
    assert segments(requests, 0) == [(0, 500), (text, 100)]
    assert segments(requests, 1) == [(0, 500), (text, 100), (answer, 20), (segments(requests, 1)[3][0], 10)]
    assert segments(requests, 2) == [*segments(requests, 1), (later, 20)]
    assert requests.shared_tokens.tolist() == [600, 630, 650] * 2
    assert requests.output_id[2] == -1
    assert set(requests.think_id) == {-1}
    assert len({text, answer, later, *(number for number, _ in segments(requests, 3))}) == 5


def test_thinking_stays_in_the_history_when_asked() -> None:
    thinker = RequestClass(text=Fixed(100), think=Fixed(70), answer=Fixed(20))
    sessions = Sessions(turns=Fixed(2), keep_thinking=True)
    requests = offer(Traffic(arrivals=poisson(1.0), classes=(thinker,), sessions=sessions), 2)
    assert requests.input_tokens.tolist() == [100, 100 + 70 + 20 + 100]
    quoted = [number for number, _ in segments(requests, 1)]
    assert quoted[1:] == [requests.think_id[0], requests.output_id[0]]


LENGTHS = st.one_of(
    st.builds(Fixed, st.floats(0, 300)),
    st.builds(lambda mean: Lognormal(mean_tokens=mean, sigma=1.0, most_tokens=4000), st.floats(2, 900)),
    st.builds(lambda least: Uniform(least_tokens=least, most_tokens=2 * least + 1), st.integers(0, 99)),
)  # fmt: skip
SOME = st.builds(lambda mean: Lognormal(mean_tokens=mean, sigma=0.7), st.floats(2, 400))
PREFIXES = st.builds(
    SharedPrefix, tokens=LENGTHS, copies=st.integers(1, 50), zipf=st.floats(0, 2), fraction=st.floats(0, 1)
)
TRAFFIC = st.builds(
    Traffic,
    arrivals=st.one_of(
        st.builds(poisson, st.floats(0.1, 100)),
        st.just(Window(concurrency=7)),
        st.builds(lambda users: Users(users=users, pause=Pause(mean_s=2, spread="exponential")), st.integers(1, 30)),
        st.just(Varying(profile=ramp(0.0, 5.0, 20.0))),
    ),
    classes=st.tuples(st.builds(RequestClass, text=SOME, think=LENGTHS, answer=SOME)),
    prefixes=st.lists(PREFIXES, max_size=3).map(tuple),
    sessions=st.builds(
        Sessions, turns=LENGTHS, keep_thinking=st.booleans(), most_context_tokens=st.none() | st.integers(1, 5000)
    ),
)


@settings(max_examples=150, deadline=None)
@given(traffic=TRAFFIC, count=st.integers(1, 300), seed=st.integers(0, 1000))
def test_whatever_is_offered_is_whole(traffic: Traffic, count: int, seed: int) -> None:
    """`Requests` itself refuses segments beyond the prompt and unsorted rows; here the conversations."""
    requests = offer(traffic, count, seed)
    assert len(requests) == count
    for row in np.flatnonzero(requests.after >= 0):
        before = int(requests.after[row])
        quoted = segments(requests, before)
        if isinstance(traffic.arrivals, Users) and segments(requests, row)[: len(quoted)] != quoted:
            continue  # the user's next conversation, not a later turn
        assert segments(requests, row)[: len(quoted)] == quoted
        if requests.output_id[before] >= 0:
            said = requests.answer_tokens[before] + traffic.sessions.keep_thinking * requests.think_tokens[before]
            assert requests.input_tokens[row] - requests.input_tokens[before] >= said
            assert dict(segments(requests, row))[int(requests.output_id[before])] == requests.answer_tokens[before]


def test_users_chain_their_sessions() -> None:
    users = Users(users=2, pause=Pause(mean_s=5))
    requests = offer(Traffic(arrivals=users, classes=CHAT, sessions=Sessions(turns=Fixed(2))), 8)
    assert requests.after.tolist() == [-1, 0, -1, 2, 1, 4, 3, 6]
    assert requests.session.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert requests.arrival_s.tolist() == [0, 0, 0, 0, 5, 0, 5, 0]


def test_a_conversation_ends_before_it_outgrows_the_context() -> None:
    """Turn k holds 120·k + 100 tokens of prompt and 20 of answer: four turns fit in 500 tokens, five need 600."""
    sessions = Sessions(turns=Fixed(9), most_context_tokens=500)
    requests = offer(Traffic(arrivals=poisson(2.0), classes=CHAT, sessions=sessions), 103)
    assert np.bincount(requests.session).tolist() == [4] * 25 + [3]
    assert (requests.input_tokens + requests.output_tokens).max() == 480
    assert requests.arrival_s[requests.after == -1][-1] == pytest.approx(51.5)
    short = offer(Traffic(arrivals=poisson(2.0), classes=CHAT, sessions=Sessions(most_context_tokens=50)), 7)
    assert short.input_tokens.tolist() == [100] * 7
    endless = Sessions(turns=Fixed(1e6), most_context_tokens=500)
    with pytest.raises(BadInputError, match="conversations outgrow 500 tokens of context"):
        offer(Traffic(arrivals=poisson(2.0), classes=CHAT, sessions=endless), 30_000)


def test_think_tokens_follow_the_class_of_the_prompt() -> None:
    requests = offer(Traffic(arrivals=poisson(1.0), classes=REASONING), 1000)
    for text, think, share in ((50, 200, 500), (150, 1000, 300), (400, 5000, 200)):
        of_class = requests.input_tokens == text
        assert of_class.sum() == share
        assert requests.think_tokens[of_class].mean() == pytest.approx(think, abs=0.01)
    assert np.corrcoef(requests.input_tokens, requests.think_tokens)[0, 1] > 0.7


def test_documents_are_as_popular_as_zipf_says() -> None:
    documents = SharedPrefix(tokens=Fixed(3000), copies=100, zipf=1.0)
    system = SharedPrefix(tokens=Fixed(200), fraction=0.25)
    requests = offer(Traffic(arrivals=poisson(1.0), classes=CHAT, prefixes=(system, documents)), 10_000)
    counts = np.bincount(requests.segment_id)
    harmonic = sum(1 / rank for rank in range(1, 101))
    assert counts[0] == 2500
    assert counts[1] == pytest.approx(10_000 / harmonic, abs=2)
    assert counts[10] == pytest.approx(1000 / harmonic, abs=2)
    assert requests.input_tokens.mean() == pytest.approx(3000 + 50 + 100)


def test_a_seed_offers_the_same_again_and_another_rate_the_same_at_other_times() -> None:
    traffic = Traffic(
        arrivals=poisson(1.0), classes=REASONING, sessions=Sessions(turns=Uniform(least_tokens=1, most_tokens=5))
    )
    one = offer(traffic, 500, seed=3)
    assert same(one, offer(traffic, 500, seed=3))
    assert not same(one, offer(traffic, 500, seed=4))
    faster = offer(at_rate(traffic, 2.0), 500, seed=3)
    assert same(one, faster, but=("arrival_s",))
    free = one.after == -1
    assert one.arrival_s[free] == pytest.approx(2 * faster.arrival_s[free])


def test_traffic_at_another_rate_keeps_its_shape() -> None:
    for arrivals in (Gamma(rate_per_s=1, burstiness=0.3), Recorded(np.array([0.0, 1.0, 3.0])), Window(concurrency=3)):
        traffic = at_rate(Traffic(arrivals=arrivals, classes=CHAT), 8.0)
        assert offered_rate_per_s(offer(traffic, 3)) == pytest.approx(
            8, rel=1 if isinstance(arrivals, Gamma | Window) else 1e-9
        )
    varying = at_rate(Traffic(arrivals=Varying(profile=ramp(0.0, 1.0, 10.0)), classes=CHAT), 8.0)
    assert requests_within(varying, 10.0) == 80


def test_a_duration_counts_requests_of_open_loops_only() -> None:
    work = Workload(input_tokens=10, answer_tokens=10, rate_per_s=4)
    assert requests_within(work, 25.0) == 100
    with pytest.raises(BadInputError, match="closed loop has no rate"):
        requests_within(Workload(input_tokens=10, answer_tokens=10, users=4), 25.0)


def test_a_replay_goes_at_the_rate_asked_for() -> None:
    recorded = Requests.of([0.0, 1.0, 4.0], 10, 5)
    assert at_mean_rate(recorded, 5.0).arrival_s.tolist() == pytest.approx([0, 0.1, 0.4])
    assert sped_up(recorded, 2.0).arrival_s.tolist() == [0, 0.5, 2.0]
    assert offered_rate_per_s(recorded) == pytest.approx(0.5)
    turns = offer(
        Traffic(arrivals=poisson(1.0), classes=CHAT, sessions=Sessions(turns=Fixed(2), pause=Pause(mean_s=7))), 10
    )
    assert at_mean_rate(turns, 9.0).arrival_s[1] == 7
    with pytest.raises(BadInputError, match="at one moment have no rate"):
        at_mean_rate(Requests.of([0.0, 0.0], 10, 5), 1.0)


def test_recorded_lengths_at_a_chosen_rate() -> None:
    recorded = Requests.of([0.0, 1.0], [10, 40], [1, 4])
    requests = offer(Traffic(arrivals=poisson(2.0), classes=(Observed(recorded=recorded),)), 100)
    assert (requests.input_tokens == 10 * requests.answer_tokens).all()
    assert requests.arrival_s[-1] == pytest.approx(50)


@pytest.mark.parametrize("count", [0, -1, 10**9, float("nan")])
def test_counts_out_of_range_are_refused(count: Any) -> None:
    with pytest.raises(BadInputError, match="number of requests"):
        offer(Workload(input_tokens=10, answer_tokens=10, rate_per_s=4), count)


def test_traffic_without_requests_is_refused() -> None:
    with pytest.raises(BadInputError, match="at least one class"):
        Traffic(arrivals=poisson(1.0), classes=())
    with pytest.raises(BadInputError, match="0 input tokens"):
        offer(Traffic(arrivals=poisson(1.0), classes=(RequestClass(text=Fixed(0), answer=Fixed(1)),)), 1)


def test_a_workload_whose_prompt_is_all_shared() -> None:
    work = Workload(input_tokens=64, answer_tokens=10, rate_per_s=4, shared_prefix_tokens=64)
    assert traffic_of(work).prefixes
    assert offer(work, 3).shared_tokens.tolist() == [64, 64, 64]
