"""DeepSeek-R1's published launch settings come out as they are known to work, release by release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launches import deployment, launch
from sizewell.deployer.launch import Launch, Slurm
from sizewell.deployer.render import render
from sizewell.deployer.shell import read_engine
from sizewell.deployer.terms import spoken
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import Formats


def said(asked: Launch) -> dict[str, str | None]:
    """Return the flags of the rendered command."""
    return dict(spoken(read_engine(render(asked, "command")["serve.sh"])))


def text(asked: Launch, target: str = "command") -> str:
    """Return the only file."""
    (only,) = render(asked, target).values()
    return only


def test_vllm_on_eight_h200() -> None:
    asked = launch(
        deployment("r1", "8xh200", "vllm@0.33", Stated(tp=8, ep=8)), reasoning_parser="deepseek_r1",
        trust_remote_code=True,
    )  # fmt: skip
    flags = said(asked)
    assert flags["--tensor-parallel-size"] == "8"
    assert {"--enable-expert-parallel", "--trust-remote-code"} <= flags.keys()
    assert flags["--reasoning-parser"] == "deepseek_r1"
    # The checkpoint is fp8 already, and nothing of today needs these.
    assert not {"--quantization", "--enable-reasoning", "--enforce-eager", "--dtype"} & flags.keys()


def test_vllm_for_throughput_swaps_tensors_for_data() -> None:
    flags = said(launch(deployment("r1", "8xh200", "vllm@0.33", Stated(dp=8, ep=8))))
    assert (flags["--tensor-parallel-size"], flags["--data-parallel-size"]) == ("1", "8")
    assert "--enable-expert-parallel" in flags


def test_vllm_on_two_nodes_of_eight_h100_needs_no_ray(two_nodes: Launch) -> None:
    job = text(two_nodes, "slurm")
    flags = dict(spoken(read_engine(job)))
    assert (flags["--tensor-parallel-size"], flags["--pipeline-parallel-size"], flags["--nnodes"]) == ("8", "2", "2")
    assert (flags["--node-rank"], flags["--master-addr"]) == ("$rank", "$head")
    assert "((rank == 0)) || engine+=(--headless)" in job
    assert "NCCL_SOCKET_IFNAME=$interface GLOO_SOCKET_IFNAME=$interface" in job
    assert "ray" not in job.replace("array", "")


def test_ray_is_named_explicitly_where_it_is_asked_for(two_nodes: Launch) -> None:
    asked = replace(two_nodes, site=replace(two_nodes.site, slurm=Slurm(launcher="ray")))
    flags = dict(spoken(read_engine(text(asked, "slurm"))))
    assert flags["--distributed-executor-backend"] == "ray"
    assert not {"--nnodes", "--headless", "--node-rank"} & flags.keys()


def test_sglang_on_one_and_two_nodes() -> None:
    flags = said(launch(deployment("r1", "8xh200", "sglang@0.5.23", Stated(tp=8)), reasoning_parser="deepseek-r1"))
    assert (flags["--tp-size"], flags["--reasoning-parser"]) == ("8", "deepseek-r1")
    job = text(launch(deployment("r1", "16xh100", "sglang@0.5.23", Stated(tp=16))), "slurm")
    flags = dict(spoken(read_engine(job)))
    assert (flags["--tp-size"], flags["--dist-init-addr"], flags["--nnodes"]) == ("16", "$head:$rendezvous", "2")
    assert int(flags["--dist-timeout"] or 0) >= 3600


def test_sglang_under_high_load_copies_attention() -> None:
    asked = launch(deployment("r1", "8xh200", "sglang@0.5.23", Stated(dp=8, ep=8, max_num_seqs=64)))
    flags = said(asked)
    assert (flags["--tp-size"], flags["--dp-size"], flags["--ep-size"]) == ("8", "8", "8")
    assert "--enable-dp-attention" in flags
    # SGLang divides by the ranks what the deployment says of each of them.
    assert flags["--max-running-requests"] == "512"


def test_nvfp4_on_b200_keeps_an_fp8_cache() -> None:
    built = deployment("r1", "8xb200", "vllm@0.33", Stated(tp=8, ep=8), Formats(weight="nvfp4", kv="fp8"))
    flags = said(launch(built, model_path="nvidia/DeepSeek-R1-0528-NVFP4-v2"))
    assert flags["--kv-cache-dtype"] == "fp8"
    assert "VLLM_USE_FLASHINFER_MOE" not in text(launch(built))
    built = deployment("r1", "8xb200", "sglang@0.5.23", Stated(tp=8, ep=8), Formats(weight="nvfp4", kv="fp8"))
    flags = said(launch(built))
    assert (flags["--quantization"], flags["--kv-cache-dtype"]) == ("modelopt_fp4", "fp8_e4m3")


@pytest.mark.parametrize(
    ("on", "engine", "weights", "told"),
    [
        ("1xv100-sxm-32gb", "vllm@0.8.5", "native", {"--dtype": "float16"}),
        ("1xv100-sxm-32gb", "vllm@0.8.5", "gptq-int4", {"--dtype": "float16", "--quantization": "gptq"}),
        ("1xt4", "vllm@0.33", "gptq-int4", {"--dtype": "float16", "--quantization": "gptq_marlin"}),
        ("1xa100-80gb", "vllm@0.33", "native", {}),
        ("1xmi300x", "vllm@0.33", "native", {}),
    ],
)
def test_accelerators_without_bf16_are_told_fp16(on: str, engine: str, weights: str, told: dict[str, str]) -> None:
    asked = Stated(max_num_seqs=8, max_model_len_tokens=2048)
    flags = said(launch(deployment("llama-3.2-1b", on, engine, asked, Formats(weight=weights))))
    assert {name: flags[name] for name in ("--dtype", "--quantization") if name in flags} == told


def test_awq_on_eight_a100_multiplies_in_fp16() -> None:
    awq = Formats(weight="awq-int4")
    flags = said(launch(deployment("r1", "8xa100-80gb", "sglang@0.5.23", Stated(tp=8), awq)))
    assert flags["--quantization"] == "moe_wna16"
    flags = said(launch(deployment("r1", "8xa100-80gb", "vllm@0.8.5", Stated(tp=8), awq)))
    assert (flags["--quantization"], flags["--dtype"]) == ("awq_marlin", "float16")


def test_mi300x_uses_amds_kernels() -> None:
    script = text(launch(deployment("r1", "8xmi300x", "vllm@0.33", Stated(tp=8, ep=8))))
    for variable in ("SAFETENSORS_FAST_GPU=1", "VLLM_ROCM_USE_AITER=1", "VLLM_ROCM_USE_AITER_MOE=1"):
        assert f"export {variable}" in script
    script = text(launch(deployment("r1", "8xmi300x", "sglang@0.5.23", Stated(tp=8))))
    assert "export SGLANG_USE_AITER=1" in script


@pytest.mark.parametrize("gpu", ["rx-7900-xtx", "w7900", "mi210"])
@pytest.mark.parametrize("engine", ["vllm@0.10.2", "sglang@0.5.23"])
def test_amds_kernels_are_for_its_newer_data_centre_cards(gpu: str, engine: str) -> None:
    """Told to use them, gfx1151 did not start: "One of GPU archs … is invalid or not supported"."""
    assert "AITER" not in text(launch(deployment("llama-3.2-1b", f"1x{gpu}", engine)))


def test_drafting_is_said_as_each_engine_says_it() -> None:
    stated = Stated(tp=8, speculative_tokens=3)
    flags = said(launch(deployment("r1", "8xh200", "vllm@0.33", stated)))
    assert flags["--speculative-config"] == '{"method":"mtp","num_speculative_tokens":3}'
    flags = said(launch(deployment("r1", "8xh200", "sglang@0.5.23", stated)))
    assert flags["--speculative-algorithm"] == "EAGLE"
    assert (flags["--speculative-num-steps"], flags["--speculative-num-draft-tokens"]) == ("3", "4")


def test_weights_that_load_for_long_are_waited_for() -> None:
    """Those who answer clients give up after ten minutes unless told: R1 loads for longer from shared storage."""
    asked = launch(deployment("r1", "8xh200", "vllm@0.33", Stated(dp=8, ep=8)))
    told = f"VLLM_ENGINE_READY_TIMEOUT_S={asked.patience_s}"
    assert asked.patience_s > 600
    assert told in text(asked) and f"ready_s=${{SIZEWELL_READY_S:-{asked.patience_s}}}" in text(asked, "slurm")
    assert told in text(asked, "slurm")
    older = launch(deployment("r1", "8xh200", "vllm@0.10.2", Stated(tp=8)))
    small = launch(deployment("llama-3.1-8b", "1xh100", "vllm@0.33", Stated(tp=1)))
    assert "READY_TIMEOUT" not in text(older) + text(small)
