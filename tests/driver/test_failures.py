"""What is tried again, and when."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest

from sizewell.driver.failures import Backoff, ExchangeError, retry_after_s

REFUSED, TRIED_AGAIN = (302, 400, 401, 404, 422), (408, 429, 500, 503)


@pytest.mark.parametrize(
    ("status", "again"), [*((status, False) for status in REFUSED), *((status, True) for status in TRIED_AGAIN)]
)
def test_only_a_servers_own_trouble_is_tried_again(status: int, again: bool) -> None:
    assert ExchangeError("status", "", status).again is again


def test_waits_grow_are_jittered_and_honour_the_server() -> None:
    rng, backoff = random.Random(0), Backoff(first_s=1.0, most_s=8.0)
    plain = [[backoff.wait_s(attempt, ExchangeError("reset", ""), rng) for _ in range(400)] for attempt in range(6)]
    for attempt, waits in enumerate(plain):
        most = min(8.0, 2.0**attempt)
        assert 0 <= min(waits) < 0.05 * most
        assert 0.95 * most < max(waits) <= most
    told = [backoff.wait_s(0, ExchangeError("status", "", 429, 7.0), rng) for _ in range(100)]
    assert 7.0 <= min(told) < max(told) <= 8.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), (" 1.5 ", 1.5), (formatdate(1000, usegmt=True), 40.0), ("-1", None), ("soon", None), (None, None),
     ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, 960.0) == seconds
