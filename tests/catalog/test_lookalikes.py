"""Checkpoints that are another one's shape are found; different models are not."""

from __future__ import annotations

import pytest

from sizewell.catalog.lookalikes import shipped_lookalike


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "Llama-3.1-8B"),
        ("RedHatAI/Qwen3-235B-A22B-FP8-dynamic", "Qwen3-235B-A22B"),
        ("RedHatAI/gemma-3-27b-it-FP8-dynamic", "gemma-3-27b-it"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "Llama-3.3-70B-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct-1M", "Qwen2.5-7B"),
        ("someone/Qwen3-32B-AWQ", "Qwen3-32B"),
    ],
)
def test_a_repacked_checkpoint_is_found(name: str, alike: str) -> None:
    found = shipped_lookalike(name)
    assert found is not None
    assert found.rpartition("/")[2].startswith(alike)


@pytest.mark.parametrize("name", ["facebook/opt-99b", "Qwen/Qwen9-1B", "x/Llama-3.1-9B-Instruct"])
def test_another_model_is_not(name: str) -> None:
    assert shipped_lookalike(name) is None
