"""What runs on the machine one has: the most precise format that holds a request, or why none does."""

from __future__ import annotations

from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.costs.ledger import ledger
from sizewell.planner.fit import Fit, fit
from sizewell.planner.question import Limits
from sizewell.traffic.workload import Workload

FORMATS = ("native", "fp8", "awq-int4", "gguf-q8_0", "gguf-q4_k_m")


def _fit(gpu: str, *models: str, gpus: int = 1, context: int = 2000) -> list[Fit]:
    workload = Workload(users=1, input_tokens=context // 2, answer_tokens=context // 2)
    limits = Limits(max_gpus=gpus, max_nodes=1)
    return list(fit(map(read_model, models), read_facts(gpus=[gpu]), workload, limits, FORMATS))


def test_a_small_model_keeps_its_own_format() -> None:
    (small,) = _fit("rtx-3060-12gb", "meta-llama/Llama-3.2-3B-Instruct")
    assert small.plan is not None
    assert small.plan.deployment.weight_format == "native"
    held = ledger(small.plan.deployment)
    assert held.concurrency(small.longest_context_tokens) >= 1 > held.concurrency(small.longest_context_tokens + 17)


def test_a_larger_one_is_quantized_and_a_huge_one_refused() -> None:
    medium, huge = _fit("rtx-4090-24gb", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1")
    assert medium.plan is not None
    assert medium.plan.deployment.weight_format == "awq-int4"
    assert {rejection.gate for rejection in medium.rejections} == {"memory"}
    assert huge.plan is None
    assert all(rejection.reason for rejection in huge.rejections)


def test_two_cards_hold_what_one_cannot() -> None:
    (one,) = _fit("rtx-4090-24gb", "mistralai/Mistral-Large-Instruct-2411", gpus=1)
    (two,) = _fit("rtx-4090-24gb", "meta-llama/Llama-3.3-70B-Instruct", gpus=2)
    assert one.plan is None
    assert two.plan is not None
    assert two.plan.gpus == 2


def test_a_card_without_tensor_cores_runs_llama_cpp() -> None:
    (old,) = _fit("p40-24gb", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B")
    assert old.plan is not None
    assert old.plan.deployment.engine.name == "llama.cpp"


def test_a_request_beyond_the_models_context_is_answered() -> None:
    (short,) = _fit("h100-sxm-80gb", "meta-llama/Llama-2-7b-chat-hf", context=8000)
    assert short.plan is None
    assert [rejection.gate for rejection in short.rejections] == ["context"]
