"""Answers agree with each other: who asks for less, or allows more, is never served worse."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.planner.plan import Plan
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.traffic.workload import Slo, Workload


@cache
def best(question: Question) -> Plan | None:
    plans = answer(question, read_facts("auto", question.limits.gpu_keys), top=3).plans
    return plans[0] if plans else None


def asked(model: str, load: Workload, slo: Slo, *gpus: str) -> Question:
    limits = Limits(slo=slo, gpu_keys=tuple(read_gpu(gpu).key for gpu in gpus))
    return Question(model=read_model(model), workload=load, limits=limits)


def usd(plan: Plan | None) -> float:
    assert plan is not None
    assert plan.cost.usd_per_hour is not None
    return plan.cost.usd_per_hour


def load(users: float, prompt: int, output: int) -> Workload:
    return Workload(users=users, input_tokens=prompt, answer_tokens=output)


DOCUMENTS = asked("llama-3.1-70b", load(64, 4000, 100), Slo(ttft_s=2.0, tpot_s=0.1, statistic="p99"), "h200")
CHAT = asked("llama-3.1-70b", load(16, 1000, 300), Slo(ttft_s=0.5, statistic="p99"), "mi300x", "h100")


def test_a_budget_for_the_best_plan_finds_it() -> None:
    """Fewer replicas hold than a closed form asks for: a limit on these is none on those."""
    found, limits = best(DOCUMENTS), DOCUMENTS.limits
    assert found is not None
    for bounded in (replace(limits, max_gpus=found.gpus), replace(limits, usd_per_hour=1.01 * usd(found))):
        assert usd(best(replace(DOCUMENTS, limits=bounded))) <= usd(found) * 1.001


def test_looser_limits_and_fewer_users_cost_no_more() -> None:
    """The first cut that holds may take twice the accelerators of one that a closed form ranks later."""
    found, slo, users = best(CHAT), CHAT.limits.slo, CHAT.workload.users or 0.0
    looser = replace(CHAT.limits, slo=replace(slo, ttft_s=0.75))
    assert usd(best(replace(CHAT, limits=looser))) <= usd(found) * 1.001
    assert usd(best(replace(CHAT, workload=replace(CHAT.workload, users=0.8 * users)))) <= usd(found) * 1.001
    assert usd(best(replace(CHAT, workload=replace(CHAT.workload, users=2 * users)))) >= usd(found) * 0.999
