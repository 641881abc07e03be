"""The timeline: nothing is lost when samples are thinned out, and compiled code sees the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.tabulate import make_surface
from sizewell.simulator import world
from sizewell.simulator.facts import ReplicaFacts
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import Timeline
from specimens import H100, cluster, llama_8b

REQUESTS = Requests.of(np.arange(60) * 0.05, 700, 40)


@cache
def facts() -> ReplicaFacts:
    reached = Reached.of(Machines.of([cluster(H100, 1)]), read_efficiencies(), "vllm")
    surface = make_surface(llama_8b(), Formats(), Parallelism(), StepPolicy(chunk_tokens=2048), reached)
    return ReplicaFacts(surface=surface, blocks=600, max_num_seqs=6, max_num_batched_tokens=2048)


def seen(*, compiled: bool = False) -> Timeline:
    timeline = simulate(facts(), REQUESTS, Options(compiled=compiled)).timeline
    assert timeline is not None
    return timeline


def test_it_counts_every_token_and_stays_within_the_engine() -> None:
    line = seen()
    assert line.tokens.sum() == REQUESTS.output_tokens.sum()
    assert (np.diff(line.time_s) >= 0).all()
    assert line.running.max() == 6
    assert line.waiting.max() > 0
    assert ((line.kv_used_fraction >= 0) & (line.kv_used_fraction <= 1)).all()
    assert (line.running[-1], line.kv_used_fraction[-1]) == (0, 0)


def test_thinned_out_it_still_counts_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seen()
    monkeypatch.setattr(world, "SAMPLES", 64)
    few = seen()
    assert 16 <= len(few.time_s) <= 64 < len(whole.time_s)
    assert few.tokens.sum() > 0.9 * whole.tokens.sum()
    assert few.time_s[-1] > 0.9 * whole.time_s[-1]
    assert set(zip(few.time_s, few.running, strict=True)) <= set(zip(whole.time_s, whole.running, strict=True))


def test_compiled_code_sees_the_same() -> None:
    plain, fast = seen(), seen(compiled=True)
    for name in ("time_s", "running", "waiting", "kv_used_fraction", "preemptions", "tokens"):
        assert np.array_equal(getattr(plain, name), getattr(fast, name))
