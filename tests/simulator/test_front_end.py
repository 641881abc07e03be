"""What goes by before a request reaches the scheduler is added to its first token, and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.conftest import small
from sizewell.simulator.simulate import Options, simulate
from sizewell.traffic.requests import Requests


@pytest.mark.parametrize("closed", [None, 2])
def test_every_first_token_comes_later_by_it(closed: int | None) -> None:
    requests = Requests.of(np.zeros(6) if closed else np.arange(6) * 10.0, 4, 3, concurrency=closed)
    plain = simulate(small(), requests, Options(compiled=False))
    late = simulate(small(request_s=0.25), requests, Options(compiled=False))
    wait = (late.first_token_s - late.scheduled_s) - (plain.first_token_s - plain.scheduled_s)
    assert wait == pytest.approx(np.full(6, 0.25))
    assert late.last_token_s - late.first_token_s == pytest.approx(plain.last_token_s - plain.first_token_s)
    assert late.scheduled_s[0] == 0.0
