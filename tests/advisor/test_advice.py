"""What is proposed brings what is said: every gain is played again, by other means than the adviser's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sizewell.advisor.advice import Adviser
from sizewell.advisor.diagnosis import Diagnosis, Known, diagnose
from sizewell.advisor.observation import Observation
from sizewell.advisor.played import observed
from sizewell.cli.diagnose_advice import adviser as usual_adviser
from sizewell.costs.ledger import ledger
from sizewell.simulator.deployment import deployed
from sizewell.simulator.simulate import simulate
from sizewell.specs.deployment import Deployment, Parallelism
from sizewell.traffic.offer import offer
from sizewell.traffic.run import Run
from sizewell.traffic.workload import Workload

Deploy = Callable[..., Deployment]
ROUNDS = 7


def ran(deployment: Deployment, adviser: Adviser, load: Workload) -> Run:
    """Return the run of a closed loop that begins with everybody at once, as a benchmark does."""
    requests = offer(load, max(int(load.users or 1) * ROUNDS, 50))
    return simulate(deployed(deployment, (ledger(deployment),), adviser.efficiencies), requests)


def rate(run: Run) -> float:
    """Return tokens per second of the middle of a run."""
    return observed(run).generated_tokens_per_s or 0.0


def diagnosed(deployment: Deployment, adviser: Adviser, load: Workload) -> Diagnosis:
    """Return what is said of a deployment under a load."""
    known = Known(deployment=deployment, memory=ledger(deployment))
    return diagnose(observed(ran(deployment, adviser, load)), known, adviser)


@dataclass(frozen=True)
class Case:
    """A deployment under a load, and a change that closed forms alone were wrong about."""

    model: str
    on: str
    load: Workload
    said: dict[str, Any] = field(default_factory=dict)
    engine: str = "vllm@0.33"


CASES = {
    # Loses its cache five times a request: a limit that lets none do so was said to win 68 %, and lost 3 %.
    "preemption storm": Case(
        "qwen2.5-7b", "rtx-3090", Workload(input_tokens=40, answer_tokens=1000, users=100),
        {"memory_fraction": 0.77, "max_model_len_tokens": 4096},
    ),
    # A pipeline of eight stages was said to win 78 %, and lost 60 %.
    "replicated MLA KV": Case(
        "r1", "8xb200", Workload(input_tokens=40_000, answer_tokens=500, users=48, shared_prefix_tokens=38_400),
        {"tp": 8, "max_model_len_tokens": 65_536}, "sglang",
    ),
    # Larger chunks win an eighth, which closed forms did not see.
    "prefill compute": Case(
        "llama-3.1-8b", "h100", Workload(input_tokens=4000, answer_tokens=50, users=16), {"max_num_batched_tokens": 512}
    ),
    "KV capacity": Case(
        "llama-3.1-8b", "h100", Workload(input_tokens=2500, answer_tokens=100, users=48), {"kv_cache_bytes": 2.0**32}
    ),
    "offloaded weights": Case(
        "llama-3.1-70b", "h100", Workload(input_tokens=200, answer_tokens=60, users=4), {"offload_bytes": 80 * 2.0**30}
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", CASES)
def test_every_change_brings_what_is_said(deploy: Deploy, adviser: Adviser, label: str) -> None:
    case = CASES[label]
    deployment = deploy(case.model, case.on, engine=case.engine, **case.said)
    found = diagnosed(deployment, adviser, case.load)
    assert found.label == label, found.findings
    assert found.mfu is not None and found.mbu is not None and 0 < found.mfu < 1 and 0 < found.mbu < 1
    now = rate(ran(deployment, adviser, case.load))
    brought = [rate(ran(change.deployment, adviser, case.load)) / now - 1 for change in found.changes]
    # Users who start at once instead of one after the other stay in step, so that some changes bring them more or less.
    said = found.changes[0].gain_fraction
    assert brought[0] == pytest.approx(said, abs=max(0.06, 0.2 * said)), found.changes[0].name
    assert min(brought) > 0, [change.name for change in found.changes]


def test_one_user_with_long_prompts_waits_for_prompts(deploy: Deploy, adviser: Adviser) -> None:
    """Nobody else's prompt comes between the tokens, and yet the accelerators do hardly anything else."""
    deployment = deploy("qwen3-32b", "2xa100-sxm-80gb", tp=2, max_model_len_tokens=40_960)
    found = diagnosed(deployment, adviser, Workload(input_tokens=20_000, answer_tokens=30, users=1))
    assert found.label == "prefill compute" and (found.findings[0].share or 0) > 0.6
    assert found.slowness == pytest.approx(1, abs=0.1)
    assert found.mfu is not None and 0.2 < found.mfu < 1


def test_a_full_cache_is_no_limit_where_more_room_brings_nothing(deploy: Deploy, adviser: Adviser) -> None:
    """Prompts keep the accelerator busy: what queues for cache would queue for it."""
    deployment = deploy("llama-3.1-8b", "h100", memory_fraction=0.35)
    busy = Workload(input_tokens=4000, answer_tokens=20, users=64)
    found = diagnosed(deployment, adviser, busy)
    assert found.label == "prefill compute" and "KV capacity" in {finding.label for finding in found.findings}
    more = deploy("llama-3.1-8b", "h100", memory_fraction=0.9)
    assert rate(ran(more, adviser, busy)) / rate(ran(deployment, adviser, busy)) < 1.15
    calm = diagnosed(deployment, adviser, replace(busy, input_tokens=2500, answer_tokens=600))
    assert calm.label in ("KV capacity", "preemption storm")


def test_who_waits_for_a_step_is_no_queue(deploy: Deploy, adviser: Adviser) -> None:
    """24 in flight, of which 1.5 wait for the step under way: half the time goes to reading their caches."""
    deployment = deploy("llama-2-7b", "a100-sxm-80gb", engine="vllm@0.8.5", max_model_len_tokens=4096)
    seen = Observation(
        window_s=20, running=22.5, waiting=1.5, kv_used_fraction=0.1, preemptions_per_s=0, finished_per_s=1.4,
        generated_tokens_per_s=545.0, prompt_tokens_per_s=4200.0, cached_fraction=0.96, itl_s=0.042, e2e_s=17.0,
        request_prompt_tokens=3000, request_output_tokens=400,
    )  # fmt: skip
    assert diagnose(seen, Known(deployment=deployment, memory=ledger(deployment)), adviser).label == "decode attention"


def test_nothing_is_proposed_for_what_cannot_be_the_hardware(deploy: Deploy, adviser: Adviser) -> None:
    deployment, load = deploy("llama-3.1-8b", "l4"), Workload(input_tokens=200, answer_tokens=200, users=4)
    seen = observed(ran(deploy("llama-3.1-8b", "h100"), adviser, load))
    found = diagnose(seen, Known(deployment=deployment, memory=ledger(deployment)), adviser)
    assert found.label == "faster than possible" and found.beats_the_floor
    assert found.changes == () and [finding.label for finding in found.findings] == ["faster than possible"]


def test_what_a_release_has_no_flags_for_is_not_proposed(deploy: Deploy) -> None:
    adviser, settings = usual_adviser(), {"tp": 16, "pp": 1, "max_num_seqs": 64, "max_model_len_tokens": 2048}
    deployment = deploy("r1", "4xh100", 4, engine="vllm@0.8.5", **settings)
    seen = observed(ran(deployment, adviser, Workload(input_tokens=500, answer_tokens=300, users=32)))
    asked = ((1, Parallelism(tp=1, dp=16, ep=16)),)
    found = diagnose(seen, Known(deployment=deployment, memory=ledger(deployment), asked_cuts=asked), adviser)
    assert found.changes and all(adviser.starts(change.deployment) for change in found.changes)
    # Who asks is told what it would bring, and that it takes another release.
    (tried,) = found.tried
    assert tried.change is not None and "no flags for it" in tried.change.why
    # Where today's own command line is not known nobody can say what it lacks.
    older = deploy("llama-3.1-70b", "4xa100-sxm-80gb", engine="vllm@0.6", tp=4)
    assert diagnosed(older, adviser, Workload(input_tokens=200, answer_tokens=200, users=32)).changes


def test_one_change_at_a_time(deploy: Deploy, adviser: Adviser) -> None:
    """What is proposed differs from what runs in one thing: a setting, the cut, the release, or one format."""
    deployment = deploy("r1", "8xh200", engine="vllm@0.12", tp=8, enforce_eager=True, memory_fraction=0.85)
    for change in diagnosed(deployment, adviser, Workload(input_tokens=2000, answer_tokens=500, users=64)).changes:
        (was,), (now,) = deployment.pools, change.deployment.pools
        settings = [n for n in type(was.settings).__slots__ if getattr(was.settings, n) != getattr(now.settings, n)]
        cut = (was.replicas, was.parallelism) != (now.replicas, now.parallelism)
        names = ("engine", "weight_format", "kv_format")
        rest = [n for n in names if getattr(deployment, n) != getattr(change.deployment, n)]
        assert len(settings) + cut + len(rest) == 1, change.name


def test_graphs_that_do_not_fit_beside_the_engine_get_room(deploy: Deploy, adviser: Adviser) -> None:
    """SGLang's graphs lack 40 MB beside 88 % of the memory: drafts, of steps still eager, were all that was said."""
    said = {"tp": 16, "pp": 1, "max_model_len_tokens": 16_384, "enforce_eager": True, "memory_fraction": 0.88}
    deployment = deploy("r1", "8xh100", 2, engine="sglang@0.4.6", **said)
    found = diagnosed(deployment, adviser, Workload(input_tokens=200, answer_tokens=100, users=32))
    assert found.label == "host/launch overhead"
    assert found.changes[0].name == "record CUDA graphs, memory fraction 0.87"
    assert found.changes[0].gain_fraction > 1


def test_a_page_of_one_replica_is_that_replicas(deploy: Deploy, adviser: Adviser) -> None:
    """Three of four replicas idle: what the fourth does is priced with all the requests it has."""
    deployment = deploy("llama-3.1-8b", "4xh100", tp=1)
    assert deployment.pools[0].replicas == 4
    seen = Observation(
        window_s=20, engines=4, idle_engines=3, running=32, waiting=0, finished_per_s=20, generated_tokens_per_s=3400.0,
        prompt_tokens_per_s=3400.0, itl_s=32 / 3400.0, cached_fraction=0.0,
    )  # fmt: skip
    found = diagnose(seen, Known(deployment=deployment, memory=ledger(deployment)), adviser)
    assert found.label == "idle GPUs"
    assert found.pace is not None and found.pace.sequences == pytest.approx(32)


def test_requests_that_never_get_a_token_are_said_to_hang(adviser: Adviser) -> None:
    stuck = Observation(window_s=30, running=7, waiting=0, generated_tokens_per_s=0.0, finished_per_s=0.0)
    found = diagnose(stuck, Known(), adviser)
    assert found.label == "unknown" and "hangs" in found.findings[0].evidence[0]


def test_equal_requests_are_played_the_same_twice(deploy: Deploy, adviser: Adviser) -> None:
    deployment = deploy("llama-3.1-8b", "h100", max_num_seqs=8)
    load = Workload(input_tokens=100, answer_tokens=100, users=32)
    assert diagnosed(deployment, adviser, load).changes == diagnosed(deployment, adviser, load).changes
