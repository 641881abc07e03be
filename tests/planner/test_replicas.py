"""A plan has the fewest replicas that hold when they are played, not those a closed form asks for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.planner import replicas
from sizewell.planner.plan import Plan
from sizewell.planner.prediction import steady_state
from sizewell.planner.question import Limits, Objective, Question
from sizewell.planner.rehearsal import Playing, rehearse
from sizewell.planner.search import answer
from sizewell.specs.deployment import Deployment, Parallelism
from sizewell.traffic.workload import Slo, Workload

CROWD = Workload(users=300, input_tokens=2000, answer_tokens=300)
LONG = Workload(users=300, input_tokens=4000, answer_tokens=300)
DOCUMENTS = Workload(users=150, input_tokens=8000, answer_tokens=500)
SLO = Slo(ttft_s=2.0, tpot_s=0.04)


@cache
def best(model: str, gpu: str, load: Workload, slo: Slo, objective: Objective = "cheapest") -> Plan:
    keys = (read_gpu(gpu).key,)
    limits = Limits(slo=slo, gpu_keys=keys)
    question = Question(model=read_model(model), workload=load, limits=limits, objective=objective)
    return answer(question, read_facts("auto", keys)).plans[0]


def counted(deployment: Deployment, count: int) -> Deployment:
    (pool,) = deployment.pools
    cluster = replace(deployment.cluster, nodes=deployment.cluster.nodes + 1)
    return replace(deployment, cluster=cluster, pools=(replace(pool, replicas=count),))


def holds(deployment: Deployment, load: Workload, slo: Slo) -> bool:
    efficiencies = read_efficiencies()
    given = steady_state(deployment, load, efficiencies)
    return rehearse(deployment, load, given, slo, Playing(efficiencies=efficiencies)).stated.holds


def test_another_cut_of_the_best_accelerator_is_planned_where_it_needs_less() -> None:
    """Nine replicas of TP4 hold, and were the plan; of four data-parallel ranks seven do."""
    load, slo = Workload(users=500, input_tokens=500, answer_tokens=200), Slo(ttft_s=0.6, tpot_s=0.04)
    plan = best("qwen3-30b-a3b", "l40s", load, slo)
    (pool,) = plan.deployment.pools
    assert (pool.parallelism.dp, pool.parallelism.gpus) == (4, 4)
    tensor = replace(pool, parallelism=Parallelism(tp=4))
    as_many = replace(plan.deployment, pools=(tensor,))
    assert holds(plan.deployment, load, slo)
    assert not holds(as_many, load, slo)


CASES = [
    ("llama-3.3-70b", "b200", LONG, Slo(ttft_s=3.0, tpot_s=0.025)),
    ("llama-3.1-70b", "h100", CROWD, SLO),
    ("llama-3.1-8b", "rtx-4080", CROWD, SLO),
    ("llama-3.1-70b", "mi300x", DOCUMENTS, Slo(tpot_s=0.03)),
]


@pytest.mark.parametrize(("model", "gpu", "load", "slo"), CASES)
def test_one_replica_fewer_than_planned_does_not_hold(model: str, gpu: str, load: Workload, slo: Slo) -> None:
    plan = best(model, gpu, load, slo)
    planned = plan.deployment.pools[0].replicas
    assert holds(counted(plan.deployment, planned), load, slo)
    assert not holds(counted(plan.deployment, planned - 1), load, slo)


@pytest.mark.parametrize(("model", "gpu", "load", "slo"), CASES)
def test_figures_of_a_counted_plan_agree(model: str, gpu: str, load: Workload, slo: Slo) -> None:
    plan = best(model, gpu, load, slo)
    service, planned = plan.service, plan.deployment.pools[0].replicas
    assert plan.rehearsal is not None
    assert plan.rehearsal.saturation.holds >= plan.rehearsal.load, "what was played to hold is no load it breaks at"
    assert plan.rehearsal.replicas == planned
    assert service.requests_per_s.value * service.e2e_s.value == pytest.approx(load.users, rel=1e-6), "Little's law"
    assert service.concurrency_per_replica * planned == pytest.approx(load.users)
    assert service.concurrency_per_replica <= service.saturation_concurrency_per_replica * (1 + 1e-9)
    assert plan.deployment.gpus <= plan.deployment.cluster.gpus
    assert plan.cost.usd_per_hour is not None
    per_million = plan.cost.usd_per_hour / service.output_tokens_per_s.value / 3600 * 1e6
    assert plan.cost.usd_per_million_output_tokens == pytest.approx(per_million)


@pytest.mark.parametrize(("gpu", "ttft_s"), [("l40s", 1.0), ("rtx-4090", 0.5)])
def test_the_closed_form_asks_for_about_what_a_plan_has(
    gpu: str, ttft_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users who came one after the other seldom have prompts at once, in a closed form as in a play."""
    slo = Slo(ttft_s=ttft_s)
    plan = best("llama-3.1-8b", gpu, CROWD, slo)
    monkeypatch.setattr(replicas, "PLAYS", 0)
    asked = best.__wrapped__("llama-3.1-8b", gpu, CROWD, slo)
    assert plan.gpus <= asked.gpus <= 2 * plan.gpus
    assert holds(plan.deployment, CROWD, slo)
    assert not holds(counted(plan.deployment, plan.deployment.pools[0].replicas - 1), CROWD, slo)


def test_a_load_that_misses_in_steps_is_raised_until_it_holds() -> None:
    """No candidate of the closed form holds: one step of its grid is too few, the next more than eight nodes have."""
    plan = best("llama-3.1-70b", "h100", DOCUMENTS, Slo(tpot_s=0.03))
    assert plan.gpus <= 64
    assert plan.rehearsal is not None
    assert plan.rehearsal.holds


def test_independent_arrivals_keep_their_margin() -> None:
    load = Workload(rate_per_s=20, input_tokens=2000, answer_tokens=300)
    plan = best("llama-3.1-8b", "rtx-4090", load, SLO)
    assert plan.rehearsal is not None
    used = 20 / plan.deployment.pools[0].replicas / plan.rehearsal.capacity_per_s
    assert used <= 0.9


def test_who_asks_for_speed_keeps_the_replicas_that_give_it() -> None:
    fastest = best("llama-3.1-8b", "rtx-4080", CROWD, SLO, "fastest")
    cheapest = best("llama-3.1-8b", "rtx-4080", CROWD, SLO)
    assert fastest.gpus > cheapest.gpus
    assert fastest.service.e2e_s.value < cheapest.service.e2e_s.value
