"""vLLM on processors: its cache in the tokens the engine itself printed, and the command that starts it so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sizewell.catalog.hardware import cluster

COMMON = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 4096, "torch_dtype": "bfloat16",
    "max_position_embeddings": 32_768, "tie_word_embeddings": False,
}  # fmt: skip
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "qwen2": COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "intermediate_size": 1024,
        "num_key_value_heads": 2,
    },
    "deepseek_v3": COMMON | {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "intermediate_size": 512,
        "num_key_value_heads": 4, "first_k_dense_replace": 1, "moe_intermediate_size": 128, "n_routed_experts": 16,
        "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "q_lora_rank": 128,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        "num_nextn_predict_layers": 0,
    },
}  # fmt: skip
STATED = ("--engine", "vllm@0.32.0", "--kv-cache-memory", "1GiB", "--max-model-len", "4096")
AMX, PLAIN = "cpu-xeon-8480-2s", "cpu-ryzen-7600"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for family, configuration in CONFIGURATIONS.items():
        (tmp_path / family).mkdir()
        (tmp_path / family / "config.json").write_text(json.dumps(configuration))
    return tmp_path


@pytest.mark.parametrize(
    ("family", "machine", "tokens"),
    [
        # printed by vLLM 0.32.0 itself: blocks of 128, latents without AMX in blocks of 16
        ("qwen2", AMX, 524_288),
        ("qwen2", PLAIN, 524_288),
        ("deepseek_v3", AMX, 232_960),
        ("deepseek_v3", PLAIN, 233_008),
    ],
)
def test_the_cache_is_the_one_the_engine_printed(
    say: Any, folder: Path, family: str, machine: str, tokens: int
) -> None:
    said = say("explain", folder / family, "--on", machine, *STATED, "--json")
    assert said.code == 0, said.err
    assert said.document["memory"]["kv_tokens"] == tokens
    assert said.document["deployment"]["pools"][0]["settings"]["kv_cache_bytes"] == 2**30
    lines = {line["name"]: line["bytes"] for line in said.document["memory"]["lines"]}
    assert "graphs" not in lines and "context" not in lines


@pytest.mark.parametrize(("family", "tokens"), [("qwen2", 1_557_376), ("deepseek_v3", 688_560)])
def test_the_share_that_is_left_is_the_one_the_engine_found(say: Any, folder: Path, family: str, tokens: int) -> None:
    """Printed by vLLM 0.32.0 at --gpu-memory-utilization 0.15 of 25,276,502,016 bytes; its worker held the rest."""
    share = 0.15 * 25_276_502_016 / cluster(PLAIN, gpus_per_node=1).gpu.total_bytes
    words = ("--engine", "vllm@0.32.0", "--memory-fraction", f"{share:.9f}", "--max-model-len", "4096")
    said = say("explain", folder / family, "--on", PLAIN, *words, "--max-num-seqs", "32", "--enforce-eager", "--json")
    assert said.document["memory"]["kv_tokens"] == pytest.approx(tokens, rel=0.01)


def test_the_cache_is_said_to_each_worker(folder: Path) -> None:
    from sizewell.catalog.engines import read_engine
    from sizewell.catalog.models import read_model
    from sizewell.costs.ledger import ledger_of
    from sizewell.costs.rank_memory import rank_memory
    from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

    settings = EngineSettings(
        max_num_seqs=32, max_num_batched_tokens=2048, max_model_len_tokens=4096, memory_fraction=0.92,
        kv_cache_bytes=2.0**30,
    )  # fmt: skip
    engine = read_engine("vllm", "0.32.0").on("cpu", "amx")
    for family, cut, tokens in (
        ("qwen2", Parallelism(tp=2), 1_048_576), ("qwen2", Parallelism(pp=2), 1_048_576),
        ("deepseek_v3", Parallelism(tp=2), 232_960),
    ):  # fmt: skip
        memory = rank_memory(read_model(str(folder / family)), Formats(), cut, settings, engine)
        assert ledger_of(memory, 24 * 2.0**30).kv_tokens == tokens


def test_limits_are_those_of_its_server_and_the_share_counts_where_no_size_is_said(say: Any, folder: Path) -> None:
    words = ("explain", folder / "qwen2", "--on", PLAIN, "--engine", "vllm@0.32.0", "--json")
    document = say(*words).document
    settings = document["deployment"]["pools"][0]["settings"]
    assert (settings["max_num_seqs"], settings["max_num_batched_tokens"]) == (128, 2048)
    memory = document["memory"]
    assert memory["budget_bytes"] == pytest.approx(0.92 * memory["gpu_bytes"], abs=1)


def test_who_names_no_engine_gets_the_one_that_was_meant_for_processors(say: Any, folder: Path) -> None:
    document = say("explain", folder / "qwen2", "--on", PLAIN, "--json").document
    assert document["deployment"]["engine"]["name"] == "llama.cpp"
    planned = say("plan", folder / "qwen2", "--gpu", PLAIN, "--engine", "vllm@0.32.0", "--users", "2", "--json")
    assert planned.document["plans"][0]["deployment"]["engine"]["name"] == "vllm"


def test_the_size_is_rendered_and_refused_where_nobody_hears_it(say: Any, folder: Path) -> None:
    said = say("render", folder / "qwen2", "--on", PLAIN, *STATED)
    assert said.code == 0 and "--kv-cache-memory-bytes 1073741824" in said.out
    old = say("render", "llama-3.1-8b", "--on", "h100", "--engine", "vllm@0.9.2", "--kv-cache-memory", "8GiB")
    assert old.code == 2 and "--kv-cache-memory" in old.complaint
    other = say("explain", "llama-3.1-8b", "--on", "h100", "--engine", "sglang", "--kv-cache-memory", "8GiB")
    assert other.code == 2 and "sglang" in other.complaint
