"""The peak of an image encoder while an engine profiles it."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.activations import activation_line, encoder_bytes
from sizewell.costs.encoder_peak import encoder_line
from sizewell.costs.rank_memory import rank_memory
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

GIB = 2**30
NAME = "Qwen/Qwen3.8-27B-FP8"


def _bytes(name: str = NAME, tp: int = 1, tokens: int = 2048, version: str = "0.28.0") -> float:
    line = encoder_line(read_model(name), Parallelism(tp=tp), tokens, read_engine("vllm", version))
    return line.bytes if line else 0.0


def test_the_largest_image_goes_through_the_widest_block_at_once() -> None:
    """65,536 patches of 1,152 with an MLP of 4,304, and 1,536 pixels each."""
    assert _bytes() == 65_536 * 2 * (2 * 1152 + 2 * 4304 + 1536)


def test_ranks_cut_the_block_and_not_the_patches() -> None:
    assert _bytes(tp=2) == 65_536 * 2 * (2 * 1152 + 4304 + 1536)


def test_a_longer_batch_holds_more_images_and_a_shorter_one_still_the_largest() -> None:
    assert _bytes(tokens=32_768) == 2 * _bytes(tokens=16_384) == 2 * _bytes(tokens=512)


@pytest.mark.parametrize(
    ("name", "version"), [(NAME, "0.8.5 V0"), ("Qwen/Qwen3-8B", "0.28.0"), ("moonshotai/Kimi-K2.5", "0.28.0")]
)
def test_nothing_is_said_where_no_image_is_profiled_or_its_size_is_not_known(name: str, version: str) -> None:
    assert _bytes(name, version=version) == 0


@pytest.mark.parametrize(("sequences", "gib"), [(256, 8.82), (16, 9.75)])
def test_two_start_ups_on_an_l40s_are_bound_by_the_encoder(sequences: int, gib: float) -> None:
    """Published logs at 0.9 of 44.4 GiB: fewer sequences give less back than the sampler alone would."""
    settings = EngineSettings(
        max_num_seqs=sequences, max_num_batched_tokens=2048, max_model_len_tokens=131_072, memory_fraction=0.9
    )
    engine = read_engine("vllm", "0.28.0").on("nvidia", "8.9")
    model = read_model(NAME)
    assert activation_line(model, Formats(), Parallelism(), settings, engine).name.endswith("image encoder")
    memory = rank_memory(model, Formats(), Parallelism(), settings, engine)
    assert memory.kv_bytes(44.37 * GIB)[0] / GIB == pytest.approx(gib, rel=0.03)


@pytest.mark.parametrize(
    ("name", "tokens", "patches"),
    [
        ("google/gemma-3-27b-it", 256, 16),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 55 * 55, 4),
        (NAME, 16_384, 4),
    ],
)
def test_the_config_says_how_large_an_image_gets(name: str, tokens: int, patches: int) -> None:
    model = read_model(name)
    assert (model.encoder_item_tokens, model.encoder_patches_per_token) == (tokens, patches)


@pytest.mark.parametrize(("version", "copies"), [("0.10.2", 1), ("0.11.0", 32), ("0.12.0", 32), ("0.13.0", 2)])
def test_two_releases_widen_each_images_output_to_the_whole_budget(version: str, copies: int) -> None:
    """A budget of 8,192 tokens holds 32 of Gemma 3's images: 2.6 GiB for the 27B."""
    held = encoder_bytes(read_model("google/gemma-3-27b-it"), 8192, read_engine("vllm", version))
    assert held == copies * 8192 * 5376 * 2
