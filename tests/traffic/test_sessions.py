"""Whose sessions are whose in a closed loop of people, and how long all of them are there."""

from __future__ import annotations

import numpy as np
import pytest

from sizewell import simulate
from sizewell.traffic.arrivals import Pause, Users
from sizewell.traffic.classes import RequestClass
from sizewell.traffic.lengths import Fixed, Lognormal
from sizewell.traffic.offer import Traffic, offer
from sizewell.traffic.requests import NONE
from sizewell.traffic.sessions import Sessions


def test_people_ask_about_as_often_as_each_other_and_each_waits_for_their_own_last_answer() -> None:
    traffic = Traffic(
        arrivals=Users(users=8), classes=(RequestClass(text=Fixed(10), answer=Fixed(5)),),
        sessions=Sessions(turns=Lognormal(mean_tokens=5, sigma=0.8, most_tokens=30)),
    )  # fmt: skip
    requests = offer(traffic, 800)
    asked = np.bincount(requests.session, minlength=8)
    assert asked.sum() == 800
    assert asked.max() - asked.min() <= 30
    for user in range(8):
        own = np.flatnonzero(requests.session == user)
        assert requests.after[own].tolist() == [NONE, *own[:-1]]


def test_a_loop_of_people_is_whole_until_the_first_of_them_has_nothing_more_to_ask() -> None:
    traffic = Traffic(arrivals=Users(users=2), classes=(RequestClass(text=Fixed(10), answer=Fixed(5)),))
    requests = offer(traffic, 5)
    assert requests.whole_until_s(np.array([0.0, 0.1, 2.0, 1.0, 9.0])) == 1.0
    assert requests.whole_until_s(np.array([0.0, 0.1, 2.0, np.nan, np.nan])) == np.inf


def test_the_steady_rate_of_people_is_that_of_all_of_them_however_long_one_goes_on() -> None:
    """Little's law: users ÷ (E2E + pause), where a mean over the whole run would count those who are gone."""
    pause = Pause(mean_s=20.0)
    traffic = Traffic(
        arrivals=Users(users=16, pause=pause), classes=(RequestClass(text=Fixed(100), answer=Fixed(50)),),
        sessions=Sessions(turns=Lognormal(mean_tokens=4, sigma=1.0, most_tokens=40), pause=pause),
    )  # fmt: skip
    found = simulate("qwen3-8b", "1xl40s", offer(traffic, 400)).score
    assert found is not None and found.steady is not None and found.wall is not None
    assert found.steady.requests_per_s == pytest.approx(16 / ((found.e2e.mean_s or 0.0) + 20.0), rel=0.05)
    assert found.wall.requests_per_s < 0.9 * found.steady.requests_per_s
