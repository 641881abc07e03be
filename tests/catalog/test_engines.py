"""Versions as people write them resolve to the era whose rules apply, and what was assumed is said."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import list_engines, read_engine
from sizewell.specs.errors import UnknownNameError


@pytest.mark.parametrize(
    ("version", "profile", "fraction", "printed"),
    [
        ("0.6.5.dev(PR)", "v0", 0.90, "blocks"),
        ("0.8.5.post1", "v1", 0.90, "blocks"),
        ("0.8.5 V0", "v0", 0.90, "blocks"),
        ("0.19.1", "v1", 0.90, "groups"),
        ("0.20.0", "v1", 0.92, "groups"),
        ("0.26.1rc1.dev608+g99a10304d", "v1", 0.92, "concurrency"),
        ("0.9.x/0.10 (2025-07)", "v1", 0.90, "groups"),
        ("2026-02", "v1", 0.90, "groups"),
    ],
)
def test_a_version_resolves_to_its_era(version: str, profile: str, fraction: float, printed: str) -> None:
    engine = read_engine("vllm", version)
    assert (engine.profile, engine.memory_fraction, engine.printed_tokens) == (profile, fraction, printed)


@pytest.mark.parametrize("version", ["nightly", "0.99.0", "2026 fork", "0.1.0"])
def test_what_was_assumed_about_a_version_is_visible(version: str) -> None:
    assert read_engine("vllm", version).note


def test_no_version_means_the_latest_known() -> None:
    assert read_engine("vLLM").version == "0.33"
    assert not read_engine("vllm").note


def test_an_unknown_engine_names_the_known() -> None:
    assert list_engines() == ("llama.cpp", "sglang", "vllm")
    with pytest.raises(UnknownNameError, match="vllm"):
        read_engine("vlm")


def test_an_a100_counts_as_a_small_accelerator_since_0_11() -> None:
    before, after = (read_engine("vllm", v).defaults_for("NVIDIA A100-SXM4-80GB", 79 * 2**30) for v in ("0.9", "0.11"))
    assert (before.max_num_seqs, after.max_num_seqs) == (1024, 256)


def test_only_hopper_and_data_centre_blackwell_reduce_over_multicast() -> None:
    engine = read_engine("vllm", "0.19.0")
    assert engine.on("nvidia", "9.0").non_torch_bytes_tp == engine.on("nvidia", "10.0").non_torch_bytes_tp
    assert engine.on("nvidia", "12.0").non_torch_bytes_tp < engine.on("nvidia", "9.0").non_torch_bytes_tp / 2
    old = read_engine("vllm", "0.11.0")
    assert old.on("nvidia", "8.9").non_torch_bytes_tp == old.non_torch_bytes_tp
