"""Cache in host memory: what the accelerators forgot comes back over the host link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from simulator.conftest import said, small
from simulator.test_twins import SEEDS, offered, replica, same
from sizewell.simulator.facts import BlockGroup
from sizewell.simulator.simulate import Options, play
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests

both = pytest.mark.parametrize("compiled", [False, True])


def repeated() -> Requests:
    """A, then B, which takes A's blocks, then A's prompt again."""
    return replace(
        Requests.of([0.0, 10.0, 20.0], [17, 17, 17], [1, 1, 1]), segment_start=np.arange(4),
        segment_id=np.array([1, 2, 1]), segment_tokens=np.full(3, 16),
    )  # fmt: skip


@both
def test_forgotten_blocks_come_back_from_the_host(compiled: bool) -> None:
    """Five blocks: B's prompt overwrites A's. With a host of eight blocks A's four come back, 16 tokens at 0.01 s."""
    facts = small(blocks=6, max_num_batched_tokens=64)
    without = play(facts, repeated(), Options(compiled=compiled)).run
    assert without.cached_tokens.tolist() == [0, 0, 0]
    kept = replace(facts, host_blocks=8, host_token_s=0.01)
    run = play(kept, repeated(), Options(compiled=compiled)).run
    assert run.cached_tokens.tolist() == [0, 0, 16]
    assert run.first_token_s[2] == pytest.approx(21.16)


@both
def test_the_oldest_blocks_leave_the_host_first(compiled: bool) -> None:
    facts = small(blocks=6, max_num_batched_tokens=64, host_blocks=4)
    assert play(facts, repeated(), Options(compiled=compiled)).run.cached_tokens.tolist() == [0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_compiled_and_plain_agree(seed: int) -> None:
    facts = replica(seed, groups=(BlockGroup(),), host_blocks=20, host_token_s=0.0031, prefix_caching=True)
    requests = offered(seed)
    plain, fast = play(facts, requests, Options(compiled=False, log=True)), play(facts, requests, Options(log=True))
    assert fast.log == plain.log
    same(play(facts, requests).run, fast.run, rel=1e-9)
    assert len(said(fast.log, "finished")) == fast.run.served.sum()


def test_unlike_groups_are_not_kept_on_the_host() -> None:
    with pytest.raises(BadInputError, match="groups"):
        small(host_blocks=4, groups=(BlockGroup(), BlockGroup()))
