"""Code of a checkpoint runs where a release cannot load it otherwise, and nowhere unasked else."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_named_engine
from sizewell.catalog.models import list_models, read_model
from sizewell.deployer.remote_code import KNOWN_BEFORE, KNOWN_FROM, KNOWN_NOWHERE, OWN_TOKENIZERS, needs_code


@pytest.mark.parametrize(
    ("model", "engine", "needed"),
    [
        ("moonshotai/Kimi-K2-Instruct", "vllm@0.33", True),
        ("moonshotai/Kimi-K2-Instruct", "sglang@0.5.23", True),
        ("nvidia/Kimi-K2.5-NVFP4", "vllm@0.33", True),
        ("moonshotai/Moonlight-16B-A3B-Instruct", "vllm@0.8.5", True),
        ("internlm/internlm2_5-7b-chat", "sglang@0.5.23", True),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "vllm@0.10.2", True),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "vllm@0.33", False),
        ("deepseek-ai/DeepSeek-R1", "vllm@0.6.6", True),
        ("deepseek-ai/DeepSeek-R1", "vllm@0.8.5.post1", False),
        ("deepseek-ai/DeepSeek-R1", "sglang@0.4.6", False),
        ("OpenGVLab/InternVL3-8B", "vllm@0.33", True),
        ("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "vllm@0.8.5", False),
        ("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "vllm@0.33", True),
        ("Qwen/Qwen3-8B", "vllm@0.6.6", False),
        ("meta-llama/Llama-3.1-8B-Instruct", "vllm@0.33", False),
        ("openai/gpt-oss-120b", "sglang@0.5.23", False),
        ("moonshotai/Kimi-K2-Instruct", "llama.cpp", False),
    ],
)
def test_who_brings_code_is_known_by_release(model: str, engine: str, needed: bool) -> None:
    assert needs_code(read_model(model), read_named_engine(engine)) is needed


def test_every_architecture_and_name_is_one_of_the_catalogue() -> None:
    models = [read_model(entry.id) for entry in list_models()]
    architectures = {model.architecture for model in models}
    assert KNOWN_NOWHERE | {name for _, name in (*KNOWN_FROM, *KNOWN_BEFORE)} <= architectures
    assert all(any(part in model.name.lower() for model in models) for part in OWN_TOKENIZERS)
