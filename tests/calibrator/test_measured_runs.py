"""Runs as evidence: a machine that is not what is believed is found from what its users felt, or left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.calibrator.beliefs import Belief, Floats, revised
from sizewell.calibrator.measured_runs import ASKED, MeasuredRun, RunEvidence, run_beliefs
from sizewell.calibrator.own import Own, fit_own
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.machine_code import CodeFolder
from sizewell.cli.questions import stated_on
from sizewell.costs.ledger import ledger
from sizewell.simulator.deployment import deployed
from sizewell.simulator.simulate import Options, play
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import NONE, Requests
from sizewell.traffic.run import FAILED, Run
from sizewell.traffic.workload import Workload

SHIPPED = read_efficiencies("default", without=None)
HERE = "gpu:h100-sxm-80gb+engine:vllm"
HIDDEN = {"relative_hbm": 0.7, "host_step_s": 3.0}
LARGE, SMALL = "llama-3.1-8b", "llama-3.2-1b"


def machine(scales: dict[str, float]) -> Efficiencies:
    beliefs = [Belief(factor=name, spread=0.5, tag=HERE) for name in scales]
    return revised(SHIPPED, beliefs, np.log(list(scales.values())), np.zeros(len(scales)), "hidden")


def measured(model: str, users: int, scales: dict[str, float], number: int = 0) -> MeasuredRun:
    deployment = stated_on(model, "1xh100", Workload(input_tokens=500, answer_tokens=16, users=users))
    requests = Requests.of(np.zeros(12), 500, 16, concurrency=users)
    served = deployed(deployment, (ledger(deployment),), machine(scales))
    run = play(served, requests, Options(store=CodeFolder.usual())).run
    return MeasuredRun.of(number, deployment, replace(run, origin="measured"), users)


def fit(runs: list[MeasuredRun]) -> Own:
    evidence, beliefs = RunEvidence(runs=tuple(runs), reference=SHIPPED, store=CodeFolder.usual()), run_beliefs(runs)
    return fit_own(
        lambda logs, free: evidence.observe(beliefs, logs, free), beliefs, evidence.apart, ASKED,
        errors=lambda logs: evidence.errors(beliefs, logs),
    )  # fmt: skip


def test_two_models_tell_memory_from_launches_within_the_stated_spread() -> None:
    runs = [measured(model, users, HIDDEN) for model in (LARGE, SMALL) for users in (1, 6)]
    own = fit(runs)
    assert own.improves
    assert own.before_fraction > 0.2
    assert own.after_fraction < 0.03
    for belief, log, spread, known in zip(own.beliefs, own.fitted.logs, own.fitted.spreads, own.known, strict=True):
        if known:
            assert abs(log - np.log(HIDDEN.get(belief.factor, 1.0))) < 1.5 * spread, belief.name
    assert {b.factor for b, known in zip(own.beliefs, own.known, strict=True) if known} >= set(HIDDEN)


def test_what_one_load_cannot_tell_apart_is_said_and_not_guessed() -> None:
    own = fit([measured(LARGE, 1, HIDDEN)])
    reasons = {belief.factor: reason for belief, reason in zip(own.beliefs, own.reasons, strict=True)}
    assert reasons["relative_link"] == "a little of it changes nothing measured"
    assert any("fitted for both" in reason for reason in reasons.values())
    assert own.improves
    for belief, log, known in zip(own.beliefs, own.fitted.logs, own.known, strict=True):
        assert known or log == 0.0, belief.name


def of_unsteady_clients(users: int, scales: dict[str, float]) -> MeasuredRun:
    """Users who begin within a few milliseconds, ask for the same, and take some milliseconds to go on."""
    count, rng = max(16, users * 8), np.random.default_rng(users)
    deployment = stated_on(LARGE, "1xh100", Workload(input_tokens=500, answer_tokens=40, users=users))
    rows = np.arange(count)
    after = np.where(rows < users, NONE, rows - users)
    pause_s = np.where(rows < users, 0.0005 * rows, rng.exponential(0.004, count))
    alike = Requests.of(np.zeros(count), 500, 40)
    requests = replace(alike, arrival_s=pause_s, after=after, users=users)
    served = deployed(deployment, (ledger(deployment),), machine(scales))
    run = play(served, requests, Options(store=CodeFolder.usual())).run
    return MeasuredRun.of(users, deployment, replace(run, origin="measured"), users)


@pytest.mark.parametrize("hidden", [{"relative_flops": 0.6}, {"relative_flops": 0.8, "relative_hbm": 0.8}])
def test_users_who_ask_for_the_same_and_do_not_keep_in_step_tell_the_machine(hidden: dict[str, float]) -> None:
    """Played as users who all begin at once and keep in step, first tokens came at times nobody had measured."""
    own = fit([of_unsteady_clients(users, hidden) for users in (1, 8, 24)])
    assert own.improves
    assert own.after_fraction < 0.05
    found = dict(
        zip((each.factor for each in own.beliefs), zip(own.fitted.logs, own.fitted.spreads, strict=True), strict=True)
    )
    for factor in ("relative_flops", "relative_hbm"):
        log, spread = found[factor]
        assert abs(log - np.log(hidden.get(factor, 1.0))) < 2 * spread, factor


def test_a_machine_as_believed_is_left_alone() -> None:
    assert not fit([measured(LARGE, users, {"relative_hbm": 1.0}) for users in (1, 4, 6)]).improves


def test_whole_runs_are_held_back_where_there_are_enough_and_requests_where_not() -> None:
    runs = tuple(measured(SMALL, users, {"relative_hbm": 1.0}) for users in (1, 2, 4, 6))
    assert RunEvidence(runs=runs, reference=SHIPPED).apart.tolist() == [False, False, True, True] + [False] * 4
    assert RunEvidence(runs=runs[:1], reference=SHIPPED).apart.tolist() == [False, False, True, True, False, False]


def test_runs_that_say_little_are_refused_in_words() -> None:
    good = measured(SMALL, 4, {"relative_hbm": 1.0})

    def refused(run: Run, word: str) -> None:
        with pytest.raises(BadInputError, match=word):
            MeasuredRun.of(7, good.deployment, run, 4)

    refused(good.run.rows(0, 5), "run 7: 5 of 5 requests were served")
    refused(replace(good.run, status=np.full(12, FAILED, dtype=np.int8)), "0 of 12")
    refused(replace(good.run, cached_tokens=good.run.input_tokens // 2), "prefix cache")
    with pytest.raises(BadInputError, match="prefix cache"):
        MeasuredRun.of(7, good.deployment, good.run, 4, cached_fraction=0.8)


def test_a_run_the_stated_deployment_would_have_refused_is_left_out() -> None:
    """Simulated, it has no token: one such run among several once left all of them without a figure."""
    good = measured(SMALL, 4, {"relative_hbm": 0.9})
    (pool,) = good.deployment.pools
    short = replace(pool.settings, max_model_len_tokens=515)
    stated = replace(good.deployment, pools=(replace(pool, settings=short),))
    with pytest.raises(BadInputError, match=r"run 7: it served requests of 516 tokens.* takes 515: .*--max-model-len"):
        MeasuredRun.of(7, stated, good.run, 4)


def test_a_server_with_fewer_seats_than_were_stated_is_no_slow_machine() -> None:
    """Its queue was once explained by factors of 1, give or take 65 %, and saved."""

    stated = measured(LARGE, 12, {}).deployment
    (pool,) = stated.pools
    two_seats = replace(stated, pools=(replace(pool, settings=replace(pool.settings, max_num_seqs=2)),))
    served = deployed(two_seats, (ledger(two_seats),), SHIPPED)
    run = play(served, Requests.of(np.zeros(36), 100, 32, concurrency=12), Options(store=CodeFolder.usual())).run
    own = fit([MeasuredRun.of(7, stated, replace(run, origin="measured"), 12)])
    assert own.before_fraction > 1
    assert not own.is_explained and not own.improves


def test_what_comes_faster_than_its_bytes_can_be_read_is_another_machine() -> None:
    """Eight-bit weights measured as if they were sixteen: all of the stated rate would not do."""
    slow = measured(LARGE, 1, {"relative_hbm": 0.7})
    quick = replace(slow, run=replace(slow.run, last_token_s=slow.run.first_token_s + 0.45 * _generating(slow.run)))
    fastest = measured(LARGE, 1, {"relative_hbm": 4.0, "relative_flops": 4.0, "host_step_s": 0.3})
    evidence = RunEvidence(runs=(slow, quick, fastest), reference=SHIPPED, store=CodeFolder.usual())
    assert evidence.impossible(run_beliefs(evidence.runs)).tolist() == [False, True, False]


def _generating(run: Run) -> Floats:
    return np.asarray(run.last_token_s - run.first_token_s)


def test_every_run_says_how_far_off_it_was_and_is() -> None:
    runs = tuple(measured(SMALL, users, {"relative_hbm": 0.7}) for users in (1, 2, 4))
    evidence, beliefs = RunEvidence(runs=runs, reference=SHIPPED), run_beliefs(runs)
    zeros = np.zeros(len(beliefs))
    found = evidence.ratios(beliefs, zeros)
    assert found.shape == (3, 2)
    assert np.allclose(np.log(found).ravel(), evidence.errors(beliefs, zeros))
    whole = RunEvidence(runs=runs[:1], reference=SHIPPED)
    assert np.allclose(whole.ratios(beliefs, zeros)[0], found[0], rtol=0.02)
