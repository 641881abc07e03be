"""What runs where, held to deployments people are known to run."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine, read_named_engine
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.planner.candidates import cuts
from sizewell.planner.support import engine_runs, format_runs, parts_a_block, unsupported
from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import EngineName
from specimens import llama_70b


@pytest.mark.parametrize(
    ("engine", "weight_format", "gpu"),
    [
        ("llama.cpp", "mxfp4", "apple-m3-ultra"),  # gpt-oss on a desk
        ("llama.cpp", "mxfp4", "rtx-2080-ti"),
        ("llama.cpp", "gguf-q4_k_m", "cpu-ryzen-7600"),
        ("vllm", "mxfp4", "mi300x"),  # gpt-oss-120b on one card
        ("vllm", "mxfp4", "h100"),
        ("vllm", "fp8", "a100-80gb"),  # Marlin: weights only
    ],
)
def test_what_people_run_runs(engine: EngineName, weight_format: str, gpu: str) -> None:
    card = read_gpu(gpu)
    assert engine_runs(read_engine(engine), card)
    assert format_runs(engine, weight_format, card)


def test_four_bits_with_zero_points_are_read_by_what_awq_is_read_by() -> None:
    """AWQ checkpoints say so in their own config, and are served on Turing and RDNA, where Marlin's kernels are not."""
    for gpu in ("t4", "rtx-2080-ti", "rx-7900-xtx"):
        assert format_runs("vllm", "int4-g128-zp", read_gpu(gpu))
        assert not format_runs("vllm", "int4-g128", read_gpu(gpu))
    assert not format_runs("vllm", "int4-g128-zp", read_gpu("v100"))


def test_why_not_names_the_engine_and_what_it_lacks() -> None:
    model = llama_70b()
    assert unsupported(model, "fp8", read_engine("vllm"), read_gpu("t4")) == "vllm has no fp8 kernels for turing"
    assert unsupported(model, "native", read_engine("vllm"), read_gpu("v100")) == (
        "vllm does not run on v100-sxm2-32gb from 0.20 on"
    )
    assert unsupported(model, "native", read_engine("vllm"), read_gpu("apple-m2-ultra")) == (
        "vllm does not run on apple-m2-ultra-192gb"
    )
    assert unsupported(model, "native", read_engine("vllm"), read_gpu("h100")) == ""


def test_blackwell_multiplies_no_8_bit_integers() -> None:
    for gpu in ("b200", "b300", "rtx-5090"):
        assert not format_runs("vllm", "int8", read_gpu(gpu))
        assert format_runs("vllm", "int8-g128", read_gpu(gpu)), "weights that are widened first run"
    assert format_runs("vllm", "int8", read_gpu("h100"))


@pytest.mark.parametrize(
    ("engine", "weight_format", "runs"),
    [
        ("vllm@0.8.5", "native", True), ("vllm@0.19.1", "native", True), ("vllm@0.20.0", "native", False),
        ("vllm@0.8.5", "gptq-int4", True), ("vllm@0.8.5", "bnb-nf4", True),
        ("vllm@0.8.5", "awq-int4", False), ("vllm@0.8.5", "int8", False), ("vllm@0.8.5", "fp8", False),
        ("sglang@0.4.6", "native", False),
    ],
)  # fmt: skip
def test_volta_is_served_by_the_releases_that_have_kernels_for_it(engine: str, weight_format: str, runs: bool) -> None:
    """vLLM's table of quantization by hardware: GPTQ and bitsandbytes, no AWQ, Marlin, INT8 or FP8."""
    why = unsupported(llama_70b(), weight_format, read_named_engine(engine), read_gpu("v100"))
    assert (why == "") is runs


def test_pascal_is_served_by_none_of_them() -> None:
    assert not engine_runs(read_named_engine("vllm@0.6.6"), read_gpu("gtx-1080-ti"))
    assert engine_runs(read_engine("llama.cpp"), read_gpu("gtx-1080-ti"))


@pytest.mark.parametrize(
    ("model", "engine", "cut", "said"),
    [
        # 1536 rows of an expert over 8 ranks are 192; Qwen's page asks for TP 4 or whole experts
        ("Qwen/Qwen3-235B-A22B-FP8", "sglang@0.5.23", Parallelism(tp=8), "leaves 192 rows of mlp.experts.w13"),
        ("Qwen/Qwen3-235B-A22B-FP8", "vllm@0.25", Parallelism(tp=8), "a smaller --tp, or --ep 8"),
        ("Qwen/Qwen3-235B-A22B-FP8", "vllm@0.33", Parallelism(tp=8), ""),
        ("Qwen/Qwen3-235B-A22B-FP8", "vllm@0.25", Parallelism(tp=8, ep=8), ""),
        ("Qwen/Qwen3-235B-A22B-FP8", "vllm@0.25", Parallelism(tp=4), ""),
        ("Qwen/Qwen3-235B-A22B", "vllm@0.25", Parallelism(tp=8), ""),
        ("Qwen/Qwen3-4B-FP8", "vllm@0.33", Parallelism(tp=8), "leaves 1216 rows of mlp.gate_up_proj"),
        ("r1", "sglang@0.4.6", Parallelism(tp=16), ""),
    ],
)
def test_a_cut_through_blocks_is_known_at_once(model: str, engine: str, cut: Parallelism, said: str) -> None:
    why = parts_a_block(read_model(model), "native", read_named_engine(engine), cut)
    assert said in why if said else not why


def test_what_vllm_refuses_in_fp16_has_no_place_before_ampere() -> None:
    """vLLM 0.10 to 0.33: "The model type 'gemma3' does not support float16"."""
    gemma = read_model("google/gemma-3-4b-it")
    for gpu in ("t4", "rtx-2080-ti"):
        assert "in bf16 alone" in unsupported(gemma, "native", read_engine("vllm"), read_gpu(gpu))
        assert not unsupported(llama_70b(), "native", read_engine("vllm"), read_gpu(gpu))
    assert not unsupported(gemma, "native", read_engine("vllm"), read_gpu("a10"))
    assert not unsupported(gemma, "native", read_engine("sglang"), read_gpu("t4"))
    assert not unsupported(gemma, "native", read_named_engine("vllm@0.8.5"), read_gpu("t4"))


def test_no_plan_is_cut_through_blocks() -> None:
    model, engine = read_model("Qwen/Qwen3-235B-A22B-FP8"), read_named_engine("sglang@0.5.23")
    assert {cut.tp for cut in cuts(model, 8, engine, "native") if cut.ep == 1} == {1, 2, 4}
    assert any(cut.tp == 8 and cut.ep == 8 for cut in cuts(model, 8, engine, "native"))
