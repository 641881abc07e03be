"""Plans keep their limits, their numbers agree with each other and with physics, and every family has an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.costs.ledger import ledger
from sizewell.planner.demand import Demand
from sizewell.planner.facts import Facts
from sizewell.planner.plan import Answer, Plan
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Slo, Workload

WORKLOAD = Workload(users=100, input_tokens=1000, think_tokens=700, answer_tokens=300)
LIMITS = Limits(slo=Slo(ttft_s=2.0), tokens_per_s_per_user=20)


@pytest.fixture(scope="module")
def facts() -> Facts:
    return read_facts()


@pytest.fixture(scope="module")
def r1(facts: Facts) -> Answer:
    question = Question(
        model=read_model("deepseek-ai/DeepSeek-R1"), workload=WORKLOAD, limits=LIMITS,
        weight_formats=("native", "awq-int4", "nvfp4"), kv_formats=("auto", "fp8"),
    )  # fmt: skip
    return answer(question, facts)


@pytest.fixture(scope="module")
def distill(facts: Facts) -> Answer:
    model = read_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B")
    return answer(Question(model=model, workload=WORKLOAD, limits=LIMITS), facts)


def _all(found: Answer) -> list[Plan]:
    return [*found.plans, *found.frontier]


def test_the_whole_catalogue_is_searched(r1: Answer, facts: Facts) -> None:
    assert r1.candidates >= 20_000
    searched = {machine.gpu.key for machine in facts.machines}
    answered = {rejection.family.split(",")[0] for rejection in r1.rejections}
    planned = {plan.deployment.cluster.gpu.key for plan in _all(r1)}
    assert len(searched) >= 100
    assert planned <= searched
    assert answered | planned <= searched


def test_every_family_has_a_plan_or_a_reason(facts: Facts, r1: Answer) -> None:
    families = {(machine.gpu.key, name) for machine in facts.machines for name in r1.question.weight_formats}
    rejected = {tuple(rejection.family.split(", ")) for rejection in r1.rejections}
    assert all(rejection.reason and rejection.candidates > 0 for rejection in r1.rejections)
    assert rejected <= families
    unplanned = families - rejected
    assert {plan.deployment.cluster.gpu.key for plan in r1.plans} <= {gpu for gpu, _ in unplanned}


@pytest.mark.parametrize("name", ["r1", "distill"])
def test_plans_keep_every_limit(name: str, request: pytest.FixtureRequest) -> None:
    found: Answer = request.getfixturevalue(name)
    assert found.plans and found.frontier
    for plan in _all(found):
        assert plan.service.ttft_s.value <= 2.0 * (1 + 1e-9)
        assert plan.service.tokens_per_s_per_user >= 20 * (1 - 1e-9)
        assert plan.service.concurrency_per_replica <= plan.service.saturation_concurrency_per_replica * (1 + 1e-9)


@pytest.mark.parametrize("name", ["r1", "distill"])
def test_numbers_of_one_plan_agree(name: str, request: pytest.FixtureRequest) -> None:
    for plan in _all(request.getfixturevalue(name)):
        service, replicas = plan.service, plan.deployment.pools[0].replicas
        users = service.requests_per_s.value * service.e2e_s.value
        assert users == pytest.approx(100, rel=1e-6), "Little's law"
        assert service.concurrency_per_replica * replicas == pytest.approx(100, rel=1e-6)
        assert service.output_tokens_per_s.value == pytest.approx(service.requests_per_s.value * 1000)
        thinking = service.ttft_s.value + 700 * service.tpot_s.value
        assert service.ttfa_s.value == pytest.approx(thinking, rel=0.02), "early tokens see less context"
        if plan.cost.usd_per_hour is not None:
            per_million = plan.cost.usd_per_hour / service.output_tokens_per_s.value / 3600 * 1e6
            assert plan.cost.usd_per_million_output_tokens == pytest.approx(per_million)


@pytest.mark.parametrize("name", ["r1", "distill"])
def test_plans_fit_their_machines(name: str, request: pytest.FixtureRequest) -> None:
    for plan in request.getfixturevalue(name).plans:
        held = ledger(plan.deployment)
        assert held.fits, (plan.deployment.cluster.gpu.key, held.verdict)
        assert plan.memory.max_concurrency >= 1
        cluster = plan.deployment.cluster
        assert plan.deployment.gpus <= cluster.gpus
        assert cluster.gpus_per_node in cluster.node.gpu_counts


def test_plans_are_in_order_of_their_objective(r1: Answer) -> None:
    hourly = [plan.cost.usd_per_hour or float("inf") for plan in r1.plans]
    assert hourly == sorted(hourly)
    speeds = [plan.service.tokens_per_s_per_user for plan in r1.frontier]
    costs = [plan.cost.usd_per_million_output_tokens or 0.0 for plan in r1.frontier]
    assert speeds == sorted(speeds, reverse=True)
    assert costs == sorted(costs, reverse=True)


def test_r1_does_not_fit_eight_h100(facts: Facts) -> None:
    only = replace(LIMITS, gpu_keys=("h100-sxm-80gb",), max_nodes=1)
    found = answer(Question(model=read_model("r1"), workload=WORKLOAD, limits=only), facts)
    assert not found.plans
    (rejection,) = found.rejections
    assert rejection.gate == "memory"
    assert "GiB of weights" in rejection.reason


def test_physics_is_named_where_it_forbids(facts: Facts) -> None:
    fast = Limits(tokens_per_s_per_user=2000, gpu_keys=("h100-sxm-80gb",), max_nodes=1)
    found = answer(Question(model=read_model("llama-3.3-70b"), workload=WORKLOAD, limits=fast), facts)
    assert not found.plans
    assert [rejection.gate for rejection in found.rejections] == ["speed"]
    assert "beyond physics" in found.rejections[0].reason


def test_a_rate_and_the_users_it_keeps_busy_get_the_same_speed(distill: Answer, facts: Facts) -> None:
    plan = distill.plans[0]
    rate = plan.service.requests_per_s.value / 2
    model = distill.question.model
    workload = Workload(rate_per_s=rate, input_tokens=1000, think_tokens=700, answer_tokens=300)
    limits = replace(LIMITS, gpu_keys=(plan.deployment.cluster.gpu.key,))
    found = answer(Question(model=model, workload=workload, limits=limits), facts)
    assert found.plans[0].service.requests_per_s.value == pytest.approx(rate)
    assert found.plans[0].gpus <= plan.gpus


def test_more_growth_never_costs_less(distill: Answer, facts: Facts) -> None:
    grown = replace(WORKLOAD, growth=3.0)
    more = answer(Question(model=distill.question.model, workload=grown, limits=LIMITS), facts)
    assert (more.plans[0].cost.usd_per_hour or 0) >= (distill.plans[0].cost.usd_per_hour or 0)


def test_a_format_without_published_quality_fails_a_floor(facts: Facts) -> None:
    strict = replace(LIMITS, min_recovery_fraction=0.9, gpu_keys=("b200-sxm-180gb",))
    question = Question(model=read_model("r1"), workload=WORKLOAD, limits=strict, weight_formats=("mxfp8",))
    found = answer(question, facts)
    assert not found.plans
    assert [rejection.gate for rejection in found.rejections] == ["quality"]


def test_requests_longer_than_the_model_are_refused(facts: Facts) -> None:
    long = Workload(users=1, input_tokens=10_000_000, answer_tokens=10)
    with pytest.raises(BadInputError, match="longer than"):
        answer(Question(model=read_model("r1"), workload=long), facts)


def test_same_question_same_answer(distill: Answer, facts: Facts) -> None:
    again = answer(distill.question, facts)
    assert [p.deployment.pools for p in again.plans] == [p.deployment.pools for p in distill.plans]
    assert [r.reason for r in again.rejections] == [r.reason for r in distill.rejections]


def test_what_missed_is_not_played_again_under_another_budget() -> None:
    """Two cheaper cuts of eight cards miss 50 ms, two replicas of four are overloaded: three replicas are left."""
    question = Question(
        model=read_model("deepseek-ai/DeepSeek-R1"), workload=Workload(users=64, input_tokens=1000, answer_tokens=1000),
        limits=Limits(slo=Slo(tpot_s=0.05)), weight_formats=("awq-int4",),
    )  # fmt: skip
    (plan,) = answer(question, read_facts("vllm", ("rtx-pro-6000-workstation-96gb",))).plans
    pool = plan.deployment.pools[0]
    assert (pool.replicas, pool.parallelism.gpus) == (3, 4)
    assert plan.rehearsal is not None
    assert plan.rehearsal.stated.holds


def test_apple_machines_run_llama_cpp(facts: Facts) -> None:
    model = read_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    mac = Limits(gpu_keys=("apple-m3-ultra-512gb",))
    workload = Workload(users=1, input_tokens=500, answer_tokens=500)
    found = answer(Question(model=model, workload=workload, limits=mac, weight_formats=("gguf-q4_k_m",)), facts)
    assert found.plans[0].deployment.engine.name == "llama.cpp"
    peak = read_gpu("apple-m3-ultra-512gb").bytes_per_s
    assert found.plans[0].service.tokens_per_s_per_user < peak / (4.5 / 8 * 7e9)


@pytest.fixture(scope="module")
def pipelined(facts: Facts) -> Answer:
    """Many small cards in a pipeline would be cheapest if every stage had a batch of its own."""
    question = Question(
        model=read_model("Qwen/Qwen3-Next-80B-A3B-Instruct"), weight_formats=("fp8",),
        workload=Workload(rate_per_s=20, input_tokens=2000, answer_tokens=300),
        limits=Limits(slo=Slo(ttft_s=2.0, tpot_s=0.02), gpu_keys=("rtx-5070-ti-16gb", "b200-sxm-180gb")),
    )  # fmt: skip
    return answer(question, facts, top=1)


def test_what_only_seems_cheapest_hides_no_plan(pipelined: Answer) -> None:
    assert [plan.deployment.cluster.gpu.key for plan in pipelined.plans] == ["b200-sxm-180gb"]


def test_a_candidate_that_misses_when_played_is_rejected_with_what_the_play_showed(facts: Facts) -> None:
    """The mean may hold a limit on the 99th percentile by far, and a play knows how far it is from it."""
    load = Workload(rate_per_s=2, input_tokens=2000, answer_tokens=200)
    model, only = read_model("meta-llama/Llama-3.1-8B-Instruct"), ("l40s-48gb",)
    free = Question(model=model, workload=load, limits=Limits(gpu_keys=only, max_nodes=1, max_gpus=1))
    (best,) = answer(free, facts, top=1).plans
    assert best.rehearsal is not None and best.rehearsal.stated.score.tpot.p99_s is not None
    tight = Slo(tpot_s=0.97 * best.rehearsal.stated.score.tpot.p99_s, statistic="p99")
    found = answer(replace(free, limits=replace(free.limits, slo=tight)), facts, top=1)
    assert not found.plans
    assert any(each.reason.startswith("simulated: ") for each in found.rejections)


def test_the_frontier_says_of_a_played_plan_what_the_play_showed(pipelined: Answer, r1: Answer) -> None:
    for found in (pipelined, r1):
        on_frontier = {_shape(plan): plan for plan in found.frontier}
        shared = [plan for plan in found.plans if _shape(plan) in on_frontier]
        assert shared
        assert all(on_frontier[_shape(plan)].service == plan.service for plan in shared)
        points = [(1 / plan.service.tpot_s.value, plan.cost.usd_per_million_output_tokens) for plan in found.frontier]
        assert points == sorted(points, reverse=True)


def _shape(plan: Plan) -> tuple[object, ...]:
    placed, pool = plan.deployment, plan.deployment.pools[0]
    return placed.cluster.gpu.key, placed.weight_format, placed.kv_format, pool.parallelism, pool.replicas


@pytest.mark.filterwarnings("error")
def test_who_waits_without_end_keeps_no_limit_not_even_an_unstated_one() -> None:
    load = Workload(rate_per_s=20, input_tokens=2000, answer_tokens=300)
    for limits in (Limits(), Limits(slo=Slo(tpot_s=1.0))):
        demand = Demand.of(Question(model=read_model("Qwen/Qwen3-8B"), workload=load, limits=limits))
        assert demand.met(np.array([np.inf, 1.0]), np.array([0.1, 0.1])).tolist() == [False, True]


def test_users_of_long_prompts_are_those_served_at_once() -> None:
    """Most of a request is the wait for its prompt: users in line once counted as served, and every play refused."""
    question = Question(
        model=read_model("meta-llama/Llama-3.1-70B-Instruct"), weight_formats=("native",),
        workload=Workload(users=200, input_tokens=100_000, answer_tokens=1000), limits=Limits(max_nodes=8),
    )  # fmt: skip
    (plan,) = answer(question, read_facts("vllm", ("mi300x-192gb",))).plans
    assert plan.service.concurrency_per_replica <= plan.memory.max_concurrency
