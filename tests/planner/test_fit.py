"""What runs on a machine: the least compressed format that holds a request, or what is lacking."""

from __future__ import annotations

from sizewell.cli.questions import fit
from sizewell.costs.ledger import ledger
from sizewell.planner.fit import Fitting, Misfit
from sizewell.traffic.workload import Workload

LOAD = Workload(users=1, input_tokens=1500, answer_tokens=500)


def _fit(machine: str, *models: str) -> tuple[tuple[Fitting, ...], tuple[Misfit, ...]]:
    return fit(machine, LOAD, models)


def test_a_small_model_keeps_its_own_format() -> None:
    (small,), _ = _fit("rtx-3060-12gb", "meta-llama/Llama-3.2-3B-Instruct")
    assert small.deployment.weight_format == "native"
    assert small.recovery_fraction == 1.0
    held = ledger(small.deployment)
    assert held.fits
    assert held.concurrency(small.longest_context_tokens) >= 1 > held.concurrency(small.longest_context_tokens + 300)


def test_a_32b_on_one_4090_runs_in_four_bits_and_r1_does_not_run() -> None:
    (medium,), (huge,) = _fit("rtx-4090-24gb", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1")
    assert medium.deployment.weight_format in ("awq-int4", "gguf-q4_k_m", "gguf-q5_k_m")
    assert medium.tokens_per_s < 1008e9 / medium.memory.weight_bytes
    assert "do not fit" in huge.reason


def test_an_eight_bit_checkpoint_runs_in_fewer_bits_where_its_own_have_no_kernels() -> None:
    (large,), _ = _fit("apple-m3-ultra-512gb", "deepseek-ai/DeepSeek-R1")
    assert large.deployment.weight_format in ("gguf-q4_k_m", "gguf-q5_k_m")
    _, (huge,) = _fit("8xrtx-4090-24gb", "deepseek-ai/DeepSeek-R1")
    assert "as gguf-q2_k" in huge.reason


def test_two_cards_hold_what_one_cannot() -> None:
    one, _ = _fit("rtx-4090-24gb", "Qwen/Qwen2.5-32B-Instruct")
    two, _ = _fit("2xrtx-4090-24gb", "Qwen/Qwen2.5-32B-Instruct")
    order = (
        "gguf-q2_k",
        "gguf-q3_k_m",
        "gguf-q4_k_m",
        "awq-int4",
        "gguf-q5_k_m",
        "gguf-q6_k",
        "gguf-q8_0",
        "fp8",
        "native",
    )
    assert order.index(two[0].deployment.weight_format) > order.index(one[0].deployment.weight_format)


def test_a_context_the_model_never_had_is_a_misfit_with_a_reason() -> None:
    long = Workload(users=1, input_tokens=100_000, answer_tokens=100_000)
    fitting, (misfit,) = fit("8xh200", long, ("llama-3.1-8b",))
    assert fitting == ()
    assert "131,072" in misfit.reason
