"""Experts leave first, moved bytes cover what was asked, and speeds stay below what the links allow."""

from __future__ import annotations

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.planner.offload import placement
from sizewell.planner.plan import Answer, Plan
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.specs.engine import EngineName
from sizewell.traffic.workload import Workload


def _answer(model: str, gpu: str, *, offload: bool, engine: EngineName = "vllm") -> Answer:
    weights = "gguf-q8_0" if engine == "llama.cpp" else "fp8"
    question = Question(
        model=read_model(model), workload=Workload(users=1, input_tokens=1000, answer_tokens=500),
        limits=Limits(gpu_keys=(gpu,), max_gpus=1, max_nodes=1), weight_formats=(weights,), offload=offload,
    )  # fmt: skip
    return answer(question, read_facts(engine, gpus=[gpu]))


@pytest.fixture(scope="module")
def mixture() -> Plan:
    return _answer("Qwen/Qwen3-30B-A3B", "rtx-3060-12gb", offload=True).plans[0]


def test_offload_is_used_only_when_allowed_and_needed() -> None:
    assert not _answer("Qwen/Qwen3-30B-A3B", "rtx-3060-12gb", offload=False).plans
    roomy = _answer("Qwen/Qwen3-30B-A3B", "h100-sxm-80gb", offload=True).plans[0]
    assert roomy.deployment.pools[0].settings.offload_bytes == 0


@pytest.mark.parametrize("gpu", ["rtx-4060-8gb", "rtx-3090-24gb", "rtx-5060-ti-16gb"])
def test_a_plan_leaves_the_host_what_engines_and_the_system_take(gpu: str) -> None:
    """Two RTX 4060 were planned with 122 GiB of weights in a machine of 128 GiB, which then lacked 13 GiB."""
    question = Question(
        model=read_model("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"),
        workload=Workload(users=2, input_tokens=700, answer_tokens=1500), objective="greenest", offload=True,
        limits=Limits(gpu_keys=(gpu,)), weight_formats=("native", "gguf-q4_k_m"),
    )  # fmt: skip
    plans = answer(question, read_facts("auto", gpus=[gpu])).plans
    assert plans
    assert all(plan.details and plan.details.materials.host_has_ram for plan in plans)


def test_the_largest_models_are_planned_beside_one_card_where_a_machine_holds_their_experts() -> None:
    """377 GiB of R1 in four bits: no usual home of a 4090 has that much memory for one card."""
    question = Question(
        model=read_model("deepseek-r1"), workload=Workload(users=1, input_tokens=200, answer_tokens=50), offload=True,
        limits=Limits(gpu_keys=("rtx-4090-24gb",), max_gpus=1), weight_formats=("gguf-q4_k_m",),
    )  # fmt: skip
    found = answer(question, read_facts("auto", gpus=["rtx-4090-24gb"], offload=True))
    (plan,) = found.plans
    assert plan.deployment.cluster.node.key == "large-memory-server"
    assert plan.deployment.pools[0].settings.offload_bytes > 350 * 2**30
    assert plan.details is not None
    assert plan.details.materials.host_has_ram
    assert any("a machine may cost more" in line for line in found.decided_by)


def test_speed_is_that_of_the_host_link(mixture: Plan) -> None:
    moved = mixture.deployment.pools[0].settings.offload_bytes
    link = mixture.deployment.cluster.gpu.host_link_bytes_per_s
    assert link is not None
    assert mixture.service.bound_by == "host link"
    assert mixture.service.tpot_s.value >= moved / link


def test_experts_leave_first_and_cover_what_was_asked(mixture: Plan) -> None:
    asked = mixture.deployment.pools[0].settings.offload_bytes
    placed = placement(mixture.deployment, asked, 0.01, read_efficiencies().values([]))
    assert [each.group for each in placed.moved] == ["routed experts"]
    assert asked <= placed.bytes <= asked * 1.1
    assert placed.touched_bytes == pytest.approx(placed.bytes * 8 / 128)
    assert "attention" not in {each.group for each in placed.moved}


def test_a_dense_model_gives_its_feed_forward_blocks() -> None:
    plan = _answer("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "rtx-4090-24gb", offload=True).plans[0]
    placed = placement(
        plan.deployment, plan.deployment.pools[0].settings.offload_bytes, 0.02, read_efficiencies().values([])
    )
    assert placed.moved[0].group == "feed-forward"
    assert placed.touched_bytes == placed.bytes
    assert placed.streamed_tokens_per_s < 1 / 0.02


def test_an_engine_that_computes_on_the_host_is_as_fast_as_its_memory(mixture: Plan) -> None:
    plan = _answer("Qwen/Qwen3-30B-A3B", "rtx-3060-12gb", offload=True, engine="llama.cpp").plans[0]
    asked = plan.deployment.pools[0].settings.offload_bytes
    factors = read_efficiencies().values([])
    placed = placement(plan.deployment, asked, 0.01, factors)
    host = plan.deployment.cluster.node.host
    assert placed.engine_does == "computes"
    assert plan.service.tpot_s.value >= placed.touched_bytes / host.ram_bytes_per_s
    assert plan.service.tpot_s.value < mixture.service.tpot_s.value / 5
    assert plan.details is not None
    assert plan.details.placement is not None
    assert plan.service.tpot_s.value >= 1 / plan.details.placement.computed_tokens_per_s


def _on_one_4090(model: str, *formats: str) -> Plan:
    question = Question(
        model=read_model(model), workload=Workload(users=1, input_tokens=1000, answer_tokens=500), offload=True,
        limits=Limits(gpu_keys=("rtx-4090-24gb",), max_gpus=1), weight_formats=formats,
    )  # fmt: skip
    return answer(question, read_facts("auto", gpus=["rtx-4090-24gb"], offload=True)).plans[0]


def test_an_engine_that_computes_on_the_host_is_tried_where_another_has_kernels_too() -> None:
    """gpt-oss-120b beside one 4090 was rejected: vLLM has kernels for MXFP4 there, so llama.cpp, which reads the four
    experts of a token in host memory, was never asked. Streaming them takes 13 tokens/s at most.
    """
    plan = _on_one_4090("gpt-oss-120b", "native")
    assert plan.deployment.engine.name == "llama.cpp"
    assert plan.details is not None
    assert plan.details.placement is not None
    assert 1 / plan.service.tpot_s.value > 2 * plan.details.placement.streamed_tokens_per_s


def test_weights_that_fit_stay_with_the_engine_that_is_preferred() -> None:
    assert _on_one_4090("llama-3.1-8b", "native").deployment.engine.name == "vllm"


def test_room_is_made_for_weights_as_the_build_there_holds_them() -> None:
    """Ada pads MXFP4 for Marlin: room was made for less, and the plan lacked 0.2 GiB of it."""
    question = Question(
        model=read_model("gpt-oss-120b"), workload=Workload(users=1, input_tokens=4000, answer_tokens=1000),
        limits=Limits(gpu_keys=("rtx-4090-24gb",), max_gpus=1), offload=True,
    )  # fmt: skip
    assert answer(question, read_facts("vllm", gpus=["rtx-4090-24gb"], offload=True)).plans


def test_of_plans_that_cost_the_same_and_leave_weights_on_the_host_the_faster_is_best() -> None:
    """113 GiB of 16-bit weights, 6.6 s a token, came before 19 GiB of 4-bit ones, 0.2 s: neither fits, both cost 0.36
    USD an hour, and only one was "the checkpoint as it is".
    """
    plan = _on_one_4090("llama-3.3-70b", "native", "gguf-q4_k_m")
    assert plan.deployment.weight_format == "gguf-q4_k_m"
    assert plan.service.tpot_s.value < 0.3
