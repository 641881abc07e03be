"""A rehearsal plays as few loads as it must, and says of the others what playing them would say."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from sizewell import explain
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.ledger import ledger
from sizewell.planner.rehearsal import Rehearsal
from sizewell.simulator.deployment import deployed_facts
from sizewell.simulator.facts import Fleet, ReplicaFacts
from sizewell.simulator.simulate import Options, simulate
from sizewell.traffic.offer import offer
from sizewell.traffic.score import NO_LIMITS, score
from sizewell.traffic.workload import Slo, Workload

CROWD = Workload(users=8, input_tokens=500, answer_tokens=100)
STREAM = Workload(rate_per_s=2.0, input_tokens=500, answer_tokens=100)


def rehearsal(workload: Workload, slo: Slo) -> Rehearsal:
    found = explain("llama-3.1-8b", "1xl40s", workload)
    facts = deployed_facts(found.deployment, ledger(found.deployment), read_efficiencies())
    assert found.served is not None
    e2e_s = found.served.e2e_s.value
    return Rehearsal(served=facts, options=Options(), shares=1, workload=workload, e2e_s=e2e_s, slo=slo)


@pytest.mark.parametrize("workload", [CROWD, STREAM])
def test_without_limits_only_the_stated_load_is_played_and_what_is_said_to_hold_is_served(workload: Workload) -> None:
    played = rehearsal(workload, NO_LIMITS)
    edge = played.saturation
    assert list(played.known) == [played.load]
    assert played.outcome(edge.holds).holds
    assert not played.outcome(edge.breaks).holds


@pytest.mark.parametrize("statistic", ["mean", "p99"])
def test_the_edge_of_a_limit_holds_on_one_side_and_breaks_on_the_other(statistic: str) -> None:
    played = rehearsal(CROWD, Slo(tpot_s=0.04, statistic=statistic))  # type: ignore[arg-type]
    edge = played.saturation
    assert 0 < edge.holds < edge.breaks < inf
    assert played.outcome(edge.holds).strain <= 1 < played.outcome(edge.breaks).strain


@pytest.mark.parametrize("workload", [CROWD, STREAM])
@pytest.mark.parametrize("statistic", ["mean", "p99"])
def test_a_verdict_before_the_end_is_that_of_the_whole_play(workload: Workload, statistic: str) -> None:
    verdicts = set()
    for tpot_s in (0.015, 0.02, 0.03, 0.06):
        slo = Slo(tpot_s=tpot_s, statistic=statistic)  # type: ignore[arg-type]
        asked, whole = rehearsal(workload, slo), rehearsal(workload, slo)
        assert asked.holds == whole.stated.holds
        # Who holds was played whole, so that figures may be shown.
        assert bool(asked.known) == asked.holds
        verdicts.add(asked.holds)
    assert verdicts == {True, False}


def test_one_of_several_replicas_is_sent_what_a_fleet_that_takes_turns_sends_it() -> None:
    """Independent arrivals at each would make the first token a tenth slower, and more."""
    busy = replace(STREAM, rate_per_s=40.0)
    one = replace(rehearsal(busy, Slo(ttft_s=1.0)), shares=8)
    assert isinstance(one.served, ReplicaFacts)
    fleet = score(simulate(Fleet(replica=one.served, replicas=8), offer(busy, 8000)))
    alone = score(simulate(one.served, offer(replace(STREAM, rate_per_s=5.0), 1000)))
    assert fleet.ttft.mean_s is not None and alone.ttft.mean_s is not None
    assert one.stated.score.ttft.mean_s == pytest.approx(fleet.ttft.mean_s, rel=0.03)
    assert one.stated.score.tpot.mean_s == pytest.approx(fleet.tpot.mean_s, rel=0.03)
    assert alone.ttft.mean_s > 1.1 * fleet.ttft.mean_s


def test_an_overloaded_replica_serves_no_more_than_its_saturation() -> None:
    workload = Workload(rate_per_s=8.0, input_tokens=1000, answer_tokens=500)
    found = explain("llama-3.3-70b", "4xh100-sxm-80gb", workload)
    assert found.served is not None
    assert found.rehearsal is not None
    assert found.rehearsal.stated.overloaded
    assert found.served.requests_per_s.value <= found.rehearsal.saturation.breaks


def test_few_requests_are_played_where_each_is_a_book() -> None:
    """300 requests of five million tokens took minutes: every block of their caches is followed."""
    book = Workload(users=2, input_tokens=5e6, answer_tokens=100)
    assert replace(rehearsal(CROWD, NO_LIMITS), workload=book).fewest == 10
    assert rehearsal(CROWD, NO_LIMITS).fewest == 300
