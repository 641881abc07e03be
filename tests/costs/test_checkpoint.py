"""What checkpoints take on disk, against the sizes of released ones."""

from __future__ import annotations

import pytest

from sizewell.catalog.models import read_model
from sizewell.costs.checkpoint import checkpoint_bytes, stored_bytes
from sizewell.costs.weights import rank_weight_bytes
from sizewell.specs.deployment import Parallelism

RELEASED = {
    "openai/gpt-oss-20b": 13_761_264_768,
    "openai/gpt-oss-120b": 65_248_815_744,
    "meta-llama/Llama-3.1-8B": 16_060_522_496,
}
"""`total_size` of the index of released checkpoints, bytes."""


@pytest.mark.parametrize(("name", "size"), RELEASED.items())
def test_the_arithmetic_is_the_size_of_released_checkpoints(name: str, size: int) -> None:
    assert checkpoint_bytes(read_model(name), "native") == size


def test_the_checkpoint_of_r1_holds_its_prediction_layer_with_copies_of_embedding_and_head() -> None:
    """The index of DeepSeek-R1 states 688,586,727,753 bytes."""
    model = read_model("deepseek-r1")
    assert checkpoint_bytes(model, "native") == pytest.approx(688_586_727_753, rel=1e-4)
    vocabulary = 2 * 129_280 * 7168 * 2
    assert stored_bytes(model)["mtp"] == pytest.approx(11.7e9 + vocabulary, rel=0.01)


def test_prediction_layers_on_disk_are_not_loaded_without_speculation() -> None:
    model = read_model("deepseek-r1")
    (loaded,) = rank_weight_bytes(model, "native", Parallelism())
    copies = 61 * 2 * 128 * 128 * 512 * 2
    without = checkpoint_bytes(model, "native") - stored_bytes(model)["mtp"]
    assert loaded - copies == pytest.approx(without, rel=1e-3)


def test_gguf_files_leave_prediction_layers_out() -> None:
    assert "mtp" not in stored_bytes(read_model("deepseek-r1"), "gguf-q4_k_m")
