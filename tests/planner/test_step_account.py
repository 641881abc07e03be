"""The account of a step adds up, stays above its floor, and agrees with what users feel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.costs.ledger import ledger
from sizewell.planner.prediction import Prediction, steady_state
from sizewell.planner.stated import Stated, stated_deployment
from sizewell.planner.step_account import missed, step_account
from sizewell.planner.step_table import Lengths
from sizewell.specs.deployment import Deployment, Formats
from sizewell.traffic.workload import Slo, Workload
from specimens import deepseek_r1, llama_70b

EFFICIENCIES = read_efficiencies()
LOAD = Workload(users=64, input_tokens=1000, answer_tokens=300)


def _llama(stated: Stated | None = None, gpus: int = 8) -> Deployment:
    place = cluster("h100", gpus_per_node=gpus)
    return stated_deployment(llama_70b(), place, read_engine("vllm"), Formats(), stated or Stated())


def _served(deployment: Deployment, load: Workload = LOAD) -> Prediction:
    return steady_state(deployment, load, EFFICIENCIES)


def _r1() -> Deployment:
    place = cluster("h200", gpus_per_node=8, nodes=2)
    return stated_deployment(deepseek_r1(), place, read_engine("vllm"), Formats(), Stated())


@pytest.mark.parametrize("deployment", [_llama(), _llama(Stated(tp=4)), _r1()], ids=["tp8", "2 x tp4", "r1 tp8 pp2"])
@pytest.mark.parametrize("sequences", [1.0, 7.5, 200.0])
def test_parts_and_waits_add_up_to_the_step(deployment: Deployment, sequences: float) -> None:
    account = step_account(deployment, Lengths.of(LOAD), sequences, EFFICIENCIES)
    assert sum(part.seconds for part in account.parts) == pytest.approx(account.total_s)
    assert sum(seconds for _, seconds in account.waits) == pytest.approx(account.total_s)
    assert account.total_s > account.floor_s > 0
    assert account.bound_by == max(account.waits, key=lambda wait: wait[1])[0]


def test_bytes_read_in_a_step_of_one_are_at_least_the_weights() -> None:
    deployment = _llama()
    account = step_account(deployment, Lengths.of(LOAD), 1.0, EFFICIENCIES)
    embedding = llama_70b().embedding.parameters * 2 / 8
    assert sum(part.hbm_bytes for part in account.parts) > ledger(deployment).weight_bytes - embedding - 1e8


def test_users_are_rate_times_residence() -> None:
    given = _served(_llama())
    assert given.users_per_replica == pytest.approx(given.requests_per_s.value * given.e2e_s.value)
    assert given.output_tokens_per_s.value == pytest.approx(given.requests_per_s.value * 300)


def test_replicas_share_the_load_and_growth_adds_to_it() -> None:
    one, two = _served(_llama()), _served(_llama(Stated(tp=4)))
    assert one.users_per_replica == pytest.approx(2 * two.users_per_replica)
    grown = _served(_llama(), replace(LOAD, growth=2.0))
    assert grown.users_per_replica == pytest.approx(2 * one.users_per_replica)


def test_thinking_delays_the_answer_by_its_tokens() -> None:
    given = _served(_llama(), replace(LOAD, think_tokens=500))
    assert given.ttfa_s.value == pytest.approx(given.ttft_s.value + 500 * given.tpot_s.value)


def test_limits_are_missed_in_words() -> None:
    given = _served(_llama())
    assert missed(Slo(), LOAD, given) == ()
    assert missed(Slo(tpot_s=10.0, e2e_s=1e5), LOAD, given) == ()
    (words,) = missed(Slo(tpot_s=1e-5), LOAD, given)
    assert "TPOT" in words
