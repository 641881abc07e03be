"""Workspaces routed experts keep, by release, format, accelerator and cut: shapes as the kernels' sources have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.expert_workspaces import kept_workspace_bytes
from sizewell.specs.deployment import Formats, Parallelism

TOKENS = 8192
R1, QWEN = "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-235B-A22B-FP8"
CHANNELS = "RedHatAI/Qwen3-235B-A22B-Instruct-2507-FP8-dynamic"
PADDED_R1 = TOKENS * 8 + 256 * 127
"""Top-8 rows of 8,192 tokens, and 127 of padding for each of 256 experts."""


def _kept(name: str, version: str, cut: Parallelism, capability: str = "9.0") -> float:
    engine = read_engine("vllm", version).on("nvidia", capability)
    return kept_workspace_bytes(read_model(name), Formats(), cut, TOKENS, engine)


def test_grouped_block_experts_keep_gate_and_up_rows_hidden_rows_and_the_output() -> None:
    """0.11.2: (98,048 × 512) + (98,048 × 7,168) + (8,192 × 7,168) 16-bit elements, 1.5 GiB of R1 on eight ranks."""
    assert _kept(R1, "0.11.2", Parallelism(tp=8)) == 2 * (PADDED_R1 * (512 + 7168) + TOKENS * 7168)


def test_plain_experts_keep_two_workspaces_of_top_k_rows() -> None:
    """0.14 on eight ranks runs Triton's: both workspaces are as wide as the hidden state, 1.75 GiB of R1."""
    assert _kept(R1, "0.14.0", Parallelism(tp=8)) == 2 * TOKENS * 8 * 2 * 7168 == 1.75 * 2**30


@pytest.mark.parametrize(
    ("version", "keeps"), [("0.10.2", False), ("0.11.0", False), ("0.13.0", False), ("0.16.0", False)]
)
def test_releases_whose_kernels_return_their_workspaces(version: str, keeps: bool) -> None:
    assert bool(_kept(R1, version, Parallelism(tp=8))) is keeps


def test_fewer_ranks_group_block_experts_in_0_13() -> None:
    assert _kept(QWEN, "0.13.0", Parallelism(tp=4)) > 0 == _kept(QWEN, "0.13.0", Parallelism(tp=8))


def test_expert_parallel_ranks_do_not_cut_experts() -> None:
    assert _kept(R1, "0.13.0", Parallelism(tp=8, ep=8)) > 0


@pytest.mark.parametrize("version", ["0.11.0", "0.11.2", "0.14.0", "0.19.0"])
def test_experts_with_a_scale_per_channel_keep_theirs_in_every_release_since_0_11(version: str) -> None:
    """CUTLASS: top-8 rows of max(2 × 1,536, 4,096) and of max(1,536, 4,096), until 0.12 beside the output."""
    output = TOKENS * 4096 if version.startswith("0.11") else 0
    assert _kept(CHANNELS, version, Parallelism(tp=4, ep=4)) == 2 * (TOKENS * 8 * 2 * 4096 + output)


def test_cards_without_grouped_products_run_triton_and_older_ones_marlin() -> None:
    ada, ampere = (_kept(QWEN, "0.19.0", Parallelism(tp=4), capability) for capability in ("8.9", "8.6"))
    assert ada == 2 * TOKENS * 8 * 2 * 4096
    assert ampere == 0


def test_sixteen_bit_experts_keep_theirs_from_0_14() -> None:
    name = "Qwen/Qwen3-30B-A3B"
    assert _kept(name, "0.13.0", Parallelism()) == 0
    assert _kept(name, "0.14.0", Parallelism()) == 2 * TOKENS * 8 * 2 * 2048


def test_a_longer_batch_is_worked_on_in_chunks() -> None:
    engine = read_engine("vllm", "0.19.0")
    sizes = [
        kept_workspace_bytes(read_model(R1), Formats(weight="bf16"), Parallelism(tp=16), n, engine)
        for n in (2**15, 2**17)
    ]
    assert sizes[0] == sizes[1] > 0
    assert (
        kept_workspace_bytes(read_model(R1), Formats(), Parallelism(), 0, replace(engine, keeps_expert_buffers=False))
        == 0
    )
