"""Two pools are counted as they are placed and played, and held against one pool that is counted as closely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster, read_gpu, read_link
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.planner.candidates import nodes_of_two
from sizewell.planner.plan import Answer
from sizewell.planner.prediction import steady_state
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.planner.stated import Stated, StatedPool, stated_deployment
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Slo, Workload

SIZES = st.sampled_from([1, 2, 4, 8, 16])
LONG = Workload(users=300, input_tokens=4000, answer_tokens=300)
TIGHT = Slo(ttft_s=3.0, tpot_s=0.025)


def asked(workload: Workload, slo: Slo, gpu: str, **more: object) -> Answer:
    keys = (read_gpu(gpu).key,)
    question = Question(
        model=read_model("llama-3.3-70b"), workload=workload, limits=Limits(slo=slo, gpu_keys=keys), split=True
    )
    return answer(replace(question, **more), read_facts("auto", keys))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def won() -> Answer:
    return asked(LONG, TIGHT, "b200")


def first_fit(counts: tuple[int, int], gpus: tuple[int, int], each: int) -> int:
    """Return the nodes that replicas take, the largest placed first, each where it first finds room."""
    taken: list[int] = []
    for size, count in sorted(zip(gpus, counts, strict=True), reverse=True):
        for _ in range(count):
            if size > each:
                taken += [each] * -(-size // each)
                continue
            at = next((node for node, used in enumerate(taken) if used + size <= each), None)
            taken += [0] if at is None else []
            taken[len(taken) - 1 if at is None else at] += size
    return len(taken)


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.tuples(SIZES, SIZES), st.sampled_from([1, 2, 3, 4, 6, 8]))
def test_two_pools_take_the_nodes_they_are_placed_on(counts: tuple[int, int], gpus: tuple[int, int], each: int) -> None:
    found = nodes_of_two((np.array(float(counts[0])), np.array(float(counts[1]))), gpus, np.array(float(each)))
    assert float(found) == first_fit(counts, gpus, each)


def test_splitting_saves_and_says_how_much(won: Answer) -> None:
    split = won.split
    assert split is not None
    assert split.one_pool is not None
    best, whole = split.plans[0].cost.usd_per_hour, split.one_pool.cost.usd_per_hour
    assert best is not None
    assert whole is not None
    assert split.helps
    assert best < whole
    assert f"{whole - best:,.2f} ({1 - best / whole:.0%}) less" in split.reasons[0]


def test_one_pool_is_counted_as_closely_before_it_is_beaten(won: Answer) -> None:
    """The search leaves a cut alone once it missed; what a split is held against must not gain from that."""
    assert won.split is not None
    assert won.split.one_pool is not None
    whole, first = won.split.one_pool, won.plans[0]
    assert whole.gpus <= first.gpus
    assert whole.rehearsal is not None
    assert whole.rehearsal.holds
    assert (whole.gpus < first.gpus) == any(reason.startswith("Plan 1") for reason in won.split.reasons)


def test_a_split_plan_keeps_every_limit_and_littles_law(won: Answer) -> None:
    assert won.split is not None
    for plan in won.split.plans:
        service, decoding = plan.service, plan.deployment.pools[1].replicas
        assert service.ttft_s.value <= 3.0
        assert service.tpot_s.value <= 0.025
        assert plan.rehearsal is not None
        assert plan.rehearsal.holds
        assert service.requests_per_s.value * service.e2e_s.value == pytest.approx(300, rel=1e-6)
        assert service.concurrency_per_replica * decoding == pytest.approx(300, rel=1e-6)
        assert plan.deployment.gpus <= plan.deployment.cluster.gpus
        use = plan.pool_use
        assert use is not None
        assert 0 < use.handover_s < service.ttft_s.value
        assert 0 < use.prefill_busy_fraction <= 1


def test_a_slower_network_never_makes_a_split_cheaper(won: Answer) -> None:
    slow = asked(LONG, TIGHT, "b200", kv_network=read_link("ethernet-10"))
    assert won.split is not None
    assert slow.split is not None
    cheapest = [found.plans[0].cost.usd_per_hour if found.plans else None for found in (won.split, slow.split)]
    assert cheapest[0] is not None
    assert cheapest[1] is None or cheapest[1] >= cheapest[0]
    assert any("Ethernet 10" in reason for reason in slow.split.reasons), slow.split.reasons


def test_what_limits_leave_no_room_for_is_named() -> None:
    small = asked(LONG, TIGHT, "b200", limits=Limits(slo=TIGHT, gpu_keys=(read_gpu("b200").key,), max_gpus=4))
    assert small.split is not None
    assert "limits on size, price and power" in small.split.reasons[0]
    early = asked(LONG, replace(TIGHT, ttft_s=0.02), "b200")
    assert early.split is not None
    assert "No split gives first tokens within 0.02 s" in early.split.reasons[0]
    fast = asked(LONG, Slo(tpot_s=0.0005), "b200")
    assert fast.split is not None
    assert "keep the time per token" in fast.split.reasons[0]


def test_prompts_cost_time_however_many_experts_wait() -> None:
    """The least over decoding sequences made 8,000 tokens as good as free."""
    stated = Stated(
        prefill=StatedPool(replicas=1, cut=Parallelism(tp=4)), decode=StatedPool(replicas=1, cut=Parallelism(tp=4)),
        max_model_len_tokens=16384,
    )  # fmt: skip
    model, engine = read_model("gpt-oss-120b"), read_engine("vllm")
    place = cluster("mi300x-192gb", gpus_per_node=8)
    deployment = stated_deployment(model, place, engine, Formats(), stated)
    one, many = (
        steady_state(deployment, Workload(users=n, input_tokens=8000, answer_tokens=300), read_efficiencies())
        for n in (1.0, 200.0)
    )
    assert many.requests_per_s.value < 1.3 / one.ttft_s.value


def test_a_network_without_pools_is_refused() -> None:
    with pytest.raises(BadInputError, match="say --split"):
        asked(LONG, TIGHT, "b200", split=False, kv_network=read_link("ethernet-25"))


def test_a_prompt_that_hardly_ever_meets_another_does_not_wait() -> None:
    """One prompt in minutes: its first token takes its own pass and the way of its cache, however few tokens follow."""
    settings = Stated(
        prefill=StatedPool(replicas=1, cut=Parallelism()), decode=StatedPool(replicas=1, cut=Parallelism())
    )  # fmt: skip
    deployment = stated_deployment(
        read_model("llama-3.1-8b"), cluster("h100-sxm-80gb", gpus_per_node=2), read_engine("vllm"), Formats(), settings
    )

    def first_s(rate_per_s: float) -> float:
        load = Workload(rate_per_s=rate_per_s, input_tokens=20_000, answer_tokens=16)
        return steady_state(deployment, load, read_efficiencies()).ttft_s.value

    assert first_s(0.01) == pytest.approx(first_s(0.0001), rel=0.05)
