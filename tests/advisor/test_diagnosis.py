"""The first label is right on runs that something is wrong with, and what is proposed is worth it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sizewell.advisor.advice import LEAST_GAIN, Adviser
from sizewell.advisor.diagnosis import Diagnosis, Known, diagnose
from sizewell.advisor.observation import ClientFacts, Observation
from sizewell.advisor.played import observed
from sizewell.catalog.engines import read_engine
from sizewell.costs.ledger import ledger
from sizewell.simulator.deployment import deployed
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.deployment import Deployment, Parallelism
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import Run

Deploy = Callable[..., Deployment]


def played(deployment: Deployment, adviser: Adviser, requests: Requests) -> Run:
    """Return the simulated run of requests on a deployment."""
    served = deployed(deployment, (ledger(deployment),), adviser.efficiencies)
    return simulate(served, requests, Options(compiled=False))


def known(deployment: Deployment, **more: object) -> Known:
    """Return a deployment as the advisor knows it."""
    return Known(deployment=deployment, memory=ledger(deployment), **more)  # type: ignore[arg-type]


def steady(tokens_per_s: float, running: float, **more: object) -> Observation:
    """Return a server that generates steadily, nobody waiting, with short prompts."""
    seen = Observation(
        window_s=60, running=running, waiting=0, kv_used_fraction=0.1, preemptions_per_s=0, finished_per_s=1,
        generated_tokens_per_s=tokens_per_s, prompt_tokens_per_s=tokens_per_s / 5, itl_s=running / tokens_per_s,
        request_prompt_tokens=100, request_output_tokens=500,
    )  # fmt: skip
    return replace(seen, **more)  # type: ignore[arg-type]


def burst(count: int, prompt: int, output: int) -> Requests:
    """Return requests that all come at once."""
    return Requests.of(np.zeros(count), np.full(count, prompt), np.full(count, output))


@pytest.mark.parametrize(
    ("said", "requests", "label"),
    [
        ({"memory_fraction": 0.3}, burst(40, 4000, 60), "KV capacity"),
        ({"memory_fraction": 0.28}, burst(60, 50, 900), "preemption storm"),
        ({"memory_fraction": 0.35}, burst(100, 1200, 600), "KV capacity"),
        ({"max_num_seqs": 4}, burst(40, 100, 60), "queueing"),
        ({}, burst(4, 200, 300), "weights bandwidth"),
    ],
    ids=["KV capacity", "preemption storm", "KV capacity, preempted", "queueing", "weights bandwidth"],
)
def test_a_run_is_labelled_by_what_limits_it(
    deploy: Deploy, adviser: Adviser, said: dict[str, float], requests: Requests, label: str
) -> None:
    deployment = deploy("llama-3.1-8b", "h100", **said)
    found = diagnose(observed(played(deployment, adviser, requests)), known(deployment), adviser)
    assert found.label == label, found.findings
    assert found.findings[0].evidence
    # A simulated server keeps the pace of the costs it is made of; steps of a run that changes differ from mean ones.
    assert found.slowness is not None and 0.6 < found.slowness < 1.6


@pytest.mark.parametrize(("peak", "label"), [(1.0, "KV capacity"), (0.6, "queueing"), (None, "queueing")])
def test_a_cache_that_is_full_in_waves_is_what_requests_wait_for(
    adviser: Adviser, peak: float | None, label: str
) -> None:
    seen = steady(100.0, 8, waiting=8, kv_used_fraction=0.79, kv_peak_fraction=peak, kv_tokens=4096.0)
    assert diagnose(seen, Known(), adviser).label == label


def test_seats_are_what_a_queue_waits_for_where_more_would_need_graphs_of_their_own(
    deploy: Deploy, adviser: Adviser
) -> None:
    """SGLang records graphs for as many as it has seats: that twice as many ran without is no reason to keep eight."""
    deployment = deploy("llama-3.1-8b", "mi300x", engine="sglang", max_num_seqs=8)
    seen = steady(1105.0, 8, waiting=150.0, request_prompt_tokens=200, request_output_tokens=280, finished_per_s=4)
    found = diagnose(seen, known(deployment), adviser)
    assert found.label == "queueing"
    assert found.changes[0].name.startswith("max_num_seqs") and found.changes[0].gain_fraction > 1


def test_experts_with_a_row_each_pass_their_weights_by(deploy: Deploy, adviser: Adviser) -> None:
    """A kernel of few rows is priced by its tiles: what MoE layers wait for at 3% of the arithmetic are weights."""
    found = diagnose(steady(1810.0, 48), known(deploy("gpt-oss-120b", "h100")), adviser)
    first = found.findings[0]
    assert first.label == "weights bandwidth" and "few rows" in first.evidence[1]
    assert found.mfu is not None and found.mbu is not None and found.mfu < 0.1 < found.mbu
    assert found.pace is not None and found.pace.causes["decode compute"] > 0


def kempner(deploy: Deploy, **said: object) -> tuple[Deployment, Observation]:
    """Return R1 as the source documents run it, with its published throughput at 64 sequences."""
    settings = {"tp": 16, "pp": 1, "enforce_eager": True, "max_num_seqs": 64, "max_model_len_tokens": 2048, **said}
    return deploy("r1", "4xh100", 4, engine="vllm@0.8.5", **settings), steady(607.7, 64)


@pytest.mark.parametrize("node_gpus", [4, 8])
def test_r1_on_sixteen_h100_waits_for_hosts_whatever_the_cut(deploy: Deploy, adviser: Adviser, node_gpus: int) -> None:
    deployment, seen = kempner(deploy)
    if node_gpus == 8:
        deployment = replace(deployment, cluster=deploy("r1", "8xh100", 2, tp=8, pp=2).cluster)
    asked = ((1, Parallelism(tp=8, pp=2)), (1, Parallelism(tp=4, pp=4)), (1, Parallelism(tp=1, dp=16, ep=16)))
    found = diagnose(seen, known(deployment, asked_cuts=asked), adviser)
    assert found.findings[0].label == "host/launch overhead"
    first = found.changes[0]
    assert first.name == "record CUDA graphs" and first.gain_fraction > 1
    # As many kernels are issued one after the other for a token, however layers and messages are shared out.
    for tried in found.tried:
        assert tried.change is not None and abs(tried.change.gain_fraction) < 0.15


def test_what_is_proposed_fits_and_wins(deploy: Deploy, adviser: Adviser) -> None:
    deployment, seen = kempner(deploy)
    found = diagnose(seen, known(deployment, newest=read_engine("vllm")), adviser, top=50)
    assert found.changes
    for change in found.changes:
        assert change.gain_fraction >= LEAST_GAIN
        assert ledger(change.deployment).fits
        assert change.tokens_per_s == pytest.approx(change.sequences / change.token_s)
    # Nothing is proposed that is there already.
    again = diagnose(seen, known(found.changes[0].deployment), adviser, top=50)
    assert found.changes[0].name not in {change.name for change in again.changes}


def test_a_cut_that_does_not_fit_says_so(deploy: Deploy, adviser: Adviser) -> None:
    deployment = deploy("llama-3.1-70b", "4xh100", tp=4)
    found = diagnose(steady(400, 8), known(deployment, asked_cuts=((4, Parallelism()),)), adviser)
    assert found.tried[0].change is None and found.tried[0].why_not == "weights do not fit"
    assert "cut 4 × TP1" not in {change.name for change in found.changes}


def test_a_server_much_slower_than_its_hardware_is_called_so(deploy: Deploy, adviser: Adviser) -> None:
    deployment = deploy("llama-3.1-8b", "h100")
    predicted = diagnose(steady(1000, 16), known(deployment), adviser).pace
    assert predicted is not None
    for factor, slow in ((1.1, False), (3.0, True)):
        seen = steady(16 / (factor * predicted.token_s), 16)
        assert (diagnose(seen, known(deployment), adviser).label == "slower than predicted") is slow


def test_a_client_that_sends_less_than_it_should_is_named(deploy: Deploy, adviser: Adviser) -> None:
    seen = steady(500, 3)
    for client, named in (
        (ClientFacts(asked_in_flight=64), True),
        (ClientFacts(asked_in_flight=3), False),
        (ClientFacts(asked_per_s=20, achieved_per_s=4), True),
        (ClientFacts(asked_per_s=20, achieved_per_s=19.9, delay_s=0.001, cpu_fraction=0.1), False),
        (ClientFacts(delay_s=0.5), True),
        (ClientFacts(cpu_fraction=0.95), True),
    ):
        found = diagnose(replace(seen, client=client), known(deploy("llama-3.1-8b", "h100")), adviser)
        assert (found.label == "client") is named, client
        assert not (named and found.changes)


def test_who_waits_is_told_by_first_tokens_where_nobody_counts_them(deploy: Deploy, adviser: Adviser) -> None:
    """A measured run and a bench know no queue: eight seats for 24 users are seen in when first tokens come."""
    deployment = deploy("qwen3-8b", "l40s", max_num_seqs=8)
    requests = Requests.of(np.zeros(96), 200, 30, concurrency=24)
    run = played(deployment, adviser, requests)
    simulated = diagnose(observed(run), known(deployment), adviser)
    measured = diagnose(observed(replace(run, timeline=None)), known(deployment), adviser)
    assert (simulated.label, measured.label) == ("queueing", "queueing")
    first = measured.findings[0].evidence[0]
    assert "to a first token" in first and float(first.split()[0]) == pytest.approx(simulated.seen.waiting, rel=0.25)
    assert measured.changes[0].name.startswith("max_num_seqs")
    alone = played(deployment, adviser, Requests.of(np.zeros(40), 200, 30, concurrency=6))
    assert diagnose(observed(replace(alone, timeline=None)), known(deployment), adviser).label == "weights bandwidth"


def test_a_queue_is_not_the_clients_fault(adviser: Adviser) -> None:
    seen = replace(steady(500, 3), waiting=40.0, client=ClientFacts(asked_in_flight=640))
    assert diagnose(seen, Known(), adviser).label == "queueing"


def alone(seen: Observation, adviser: Adviser, **more: object) -> Diagnosis:
    return diagnose(replace(seen, **more), Known(), adviser)  # type: ignore[arg-type]


def test_metrics_alone_say_what_they_can_and_what_lacks(adviser: Adviser) -> None:
    assert alone(steady(1, 0.01), adviser).label == "idle GPUs"
    in_step = {"running": 0.86, "finished_per_s": 0.1, "e2e_s": 0.4}
    assert alone(steady(1, 0.01), adviser, **in_step).label == "idle GPUs", "a gauge read in step with its requests"
    assert alone(steady(500, 8), adviser, engines=4, idle_engines=2).label == "idle GPUs"
    assert alone(steady(500, 8), adviser, waiting=9.0, kv_used_fraction=0.97).label == "KV capacity"
    assert alone(steady(500, 8), adviser, preemptions_per_s=0.5, kv_used_fraction=0.97).label == "preemption storm"
    unknown = alone(steady(500, 8), adviser)
    assert unknown.label == "unknown" and unknown.changes == () and "hardware" in unknown.missing[0]
    assert "nobody queues" in unknown.findings[0].evidence[0]
    nothing = alone(Observation(), adviser)
    assert nothing.label == "unknown" and "nobody queues" not in nothing.findings[0].evidence[0]
    one_reading = alone(Observation(running=0.0, waiting=0.0), adviser).findings[0]
    assert one_reading.label == "idle GPUs" and "fewer accelerators" not in " ".join(one_reading.evidence)


def test_a_cache_is_cold_only_where_something_was_to_be_found(deploy: Deploy, adviser: Adviser) -> None:
    deployment = deploy("llama-3.1-8b", "h100")
    seen = steady(400, 8, request_prompt_tokens=4000, request_output_tokens=50, cached_fraction=0.02)
    cold = diagnose(seen, known(deployment, expected_cached_fraction=0.9), adviser)
    assert cold.label == "cold prefix cache"
    assert cold.changes[0].name.startswith("what prompts share")
    assert diagnose(seen, known(deployment), adviser).label == "prefill compute"
    warm = replace(seen, cached_fraction=0.88)
    assert diagnose(warm, known(deployment, expected_cached_fraction=0.9), adviser).label != "cold prefix cache"


def test_copies_of_latents_are_told_from_a_small_cache(deploy: Deploy, adviser: Adviser) -> None:
    full = {"waiting": 30.0, "kv_used_fraction": 0.98}
    copied = diagnose(steady(900, 40, **full), known(deploy("r1", "8xh200", tp=8)), adviser)
    assert copied.label == "replicated MLA KV" and "8 copies" in " ".join(copied.findings[0].evidence)
    shared = diagnose(steady(900, 40, **full), known(deploy("r1", "8xh200", tp=1, dp=8, ep=8)), adviser)
    assert shared.label == "KV capacity"
