"""Prompts under kernels that are not fused: derived numbers, and which steps they touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch
from sizewell.costs.operators import RankModel
from sizewell.costs.plain_kernels import PlainKernels, overlap
from sizewell.costs.work import total_work
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.engine import PlainPrompts

SMALL, LARGE, R1 = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-70B", "deepseek-ai/DeepSeek-R1"


def rules(version: str = "2024-05", vendor: str = "nvidia") -> PlainPrompts:
    found = read_engine("llama.cpp", version).on(vendor).plain_prompts
    assert found is not None
    return found


def ranked(model: str, weight: str, stages: int = 1) -> RankModel:
    return RankModel.of(read_model(model), Formats(weight=weight, kv="fp16"), Parallelism(pp=stages))


def hbm_bytes(given_rules: PlainPrompts | None, batch: Batch, weight: str = "fp16") -> float:
    operators = ranked(SMALL, weight).step(batch)
    changed = PlainKernels(given_rules).changed(operators) if given_rules else operators
    return float(total_work(changed).hbm_bytes[0])


def test_scores_of_plain_attention_cross_memory() -> None:
    """512 tokens that see 8,000 others and half of themselves, in 32 layers of 32 heads: 24 bytes for each pair."""
    batch = Batch.prefill(512, 8000)
    more = hbm_bytes(rules(), batch) - hbm_bytes(replace(rules(), score_bytes=0), batch)
    assert more == pytest.approx(24 * 32 * 32 * 512 * (8000 + 256))


def test_packed_weights_are_written_and_read_in_16_bits_in_large_steps_only() -> None:
    """Two more bytes written and two read in place of the packed ones, for the parameters of all layers."""
    plain = replace(rules(), score_bytes=0)
    model = read_model(SMALL)
    parameters = sum(t.parameters for layer in model.layers for t in layer.tensors if t.is_matrix)
    for tokens, widened in ((1, 0), (32, 0), (33, 1), (512, 1)):
        batch = Batch.prefill(tokens)
        more = hbm_bytes(plain, batch, "gguf-q4_k_m") - hbm_bytes(None, batch, "gguf-q4_k_m")
        assert more == pytest.approx(widened * 4 * parameters, rel=0.04)


def test_chosen_experts_were_multiplied_one_after_the_other_before_2025_05() -> None:
    """A token of R1 chooses 8 of 256 experts of three matrices in each of 58 layers; 512 tokens choose them all."""
    found = {}
    for version in ("2025-01", "2025-06"):
        for tokens in (1, 512):
            changed = PlainKernels(rules(version)).changed(ranked(R1, "gguf-q4_k_m").step(Batch.prefill(tokens)))
            (routed,) = {id(o): o for o in changed if o.name == "routed experts"}.values()
            found[version, tokens] = float(routed.repeats * (0 * routed.rows + routed.products)[0])
    assert found["2025-01", 1] == pytest.approx(58 * 3 * 8)
    assert found["2025-01", 512] == pytest.approx(58 * 3 * 256, rel=0.001)
    assert found["2025-06", 1] == found["2025-06", 512] == 58


def test_steps_that_decode_read_what_they_read_before() -> None:
    for weight in ("fp16", "gguf-q4_k_m"):
        assert hbm_bytes(rules(), Batch.decode(1, 4000), weight) == hbm_bytes(None, Batch.decode(1, 4000), weight)


def test_metal_and_later_releases_never_widen_and_recent_ones_fuse() -> None:
    assert rules(vendor="apple").widened_from_tokens == 0
    assert [rules(version).widened_from_tokens for version in ("2024-05", "2024-08")] == [33, 0]
    assert [rules(version).score_bytes for version in ("2025-08", "2025-10")] == [24, 0]
    assert read_engine("vllm").plain_prompts is None


def test_cards_take_turns_once_the_queue_of_one_is_shorter_than_its_part() -> None:
    """Kernels of Llama-3-70B: 80 × (25 + 7 × 4) = 4,240 in four bits, of which two cards or four let 1,024 wait: a step
    begins every 3,216. In 16 bits there are 3,680, and a queue holds the 920 of each of four cards.
    """
    four_bits = [overlap(rules(), ranked(LARGE, "gguf-q4_k_m", stages)) for stages in (1, 2, 4)]
    assert four_bits == pytest.approx([1.0, 4240 / 3216, 4240 / 3216])
    assert overlap(rules(), ranked(LARGE, "fp16", 4)) == pytest.approx(2 * 3680 / (3680 - (1024 - 920)))
    assert overlap(rules(), ranked(R1, "gguf-q4_k_m", 16)) == 1.0


@given(st.sampled_from([SMALL, LARGE]), st.integers(1, 16), st.integers(1, 100_000), st.integers(1, 8))
def test_no_more_stages_work_at_once_than_there_are(model: str, stages: int, queued: int, steps: int) -> None:
    some = replace(rules(), queued_launches=queued, steps_under_way=steps)
    assert 1.0 <= overlap(some, ranked(model, "fp16", stages)) <= stages


def test_sums_of_16_bits_run_at_twice_the_rate_on_geforce_cards_alone() -> None:
    for key, times in (("rtx-4090-24gb", 2.0), ("rtx-3090-24gb", 2.0), ("l40s-48gb", 1.0), ("h100-sxm-80gb", 1.0)):
        gpu = read_gpu(key)
        assert gpu.peak_flops_per_s("fp16-short") == pytest.approx(times * gpu.peak_flops_per_s("fp16"))
    operators = PlainKernels(rules()).changed(ranked(SMALL, "fp16").step(Batch.prefill(512)))
    assert {o.compute for o in operators if o.kind == "gemm"} == {"fp16-short"}
