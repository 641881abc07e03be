"""The work of a step is what the model's own arithmetic says."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from sizewell.catalog.models import read_model
from sizewell.costs import mlp_work
from sizewell.costs.batch import Batch
from sizewell.costs.mlp_work import crowding, read_experts, touched_experts
from sizewell.costs.operators import step_operators
from sizewell.costs.work import total_work
from sizewell.specs.deployment import Formats, Parallelism
from specimens import deepseek_r1, llama_8b, llama_70b

ONE = Parallelism()
NATIVE = Formats()


@pytest.mark.parametrize(("batch", "milliseconds"), [(1, 0.98), (4, 2.48), (64, 15.2)])
def test_weights_of_r1_read_by_a_batch_that_chooses_evenly_on_eight_h200(
    batch: int, milliseconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp_work, "INDEPENDENT", 1.0)
    work = total_work(step_operators(deepseek_r1(), NATIVE, ONE, Batch.decode(batch, 0)))
    assert work.hbm_bytes[0] / (8 * 4.8e12) * 1e3 == pytest.approx(milliseconds, rel=0.03)


def test_a_batch_of_64_touches_222_of_256_experts() -> None:
    mlp = deepseek_r1().layers[-1].mlp
    assert touched_experts(mlp, np.array([64.0]))[0] == pytest.approx(222.4, abs=0.1)


def test_tokens_that_choose_alike_read_fewer_experts_and_one_reads_its_own() -> None:
    mlp = deepseek_r1().layers[-1].mlp
    tokens = np.array([0.5, 1.0, 2.0, 64.0, 1e5])
    alike, even = read_experts(mlp, tokens), touched_experts(mlp, tokens)
    assert alike[:2] == pytest.approx(even[:2])
    assert (alike[2:4] < even[2:4]).all()
    assert alike[4] == pytest.approx(256)


def test_a_dense_token_costs_two_operations_per_weight() -> None:
    model = llama_8b()
    work = total_work(step_operators(model, NATIVE, ONE, Batch.decode(16, 0)))
    weights = model.parameters - model.embedding.parameters
    assert work.flops["bf16"][0] == pytest.approx(16 * 2 * weights, rel=1e-3)


def test_decode_reads_the_cache_of_every_sequence() -> None:
    short, long = (
        total_work(step_operators(llama_70b(), NATIVE, ONE, Batch.decode(32, tokens))).hbm_bytes[0]
        for tokens in (1000, 2000)
    )
    assert long - short == 32 * 1000 * 327_680


def test_tensor_parallel_ranks_share_matrices_but_not_the_latent() -> None:
    eight = Parallelism(tp=8)
    work = [
        total_work(step_operators(deepseek_r1(), NATIVE, eight, Batch.decode(1, tokens))).hbm_bytes[0]
        for tokens in (0, 1000)
    ]
    assert work[1] - work[0] == 1000 * 70_272


def test_prefill_attention_is_quadratic_in_the_prompt() -> None:
    def flops(tokens: int) -> float:
        operators = step_operators(llama_8b(), NATIVE, ONE, Batch.prefill(tokens))
        return float(sum(o.work.total_flops[0] for o in operators if o.part == "attention-prefill"))

    assert flops(4096) == pytest.approx(4 * flops(2048))


def test_expert_parallel_ranks_hold_whole_experts() -> None:
    cut = Parallelism(tp=1, dp=8, ep=8)
    operators = step_operators(deepseek_r1(), NATIVE, cut, Batch.decode(4096, 1000))
    experts = next(o for o in operators if o.name == "routed experts")
    whole = 256 * 3 * 7168 * 2048 * (1 + 4 / 128**2)
    passed = crowding(8) * 4096 * 8 / 8 * 2 * (7168 + 4096 + 2048 + 7168)
    assert experts.hbm_bytes[0] == pytest.approx(whole / 8 + passed, rel=1e-3)


def test_the_fullest_rank_of_experts_stays_fuller_than_the_mean() -> None:
    """Popular experts are popular in every batch: 0.3 of √(2·ln 8) more rows, in a prompt of any length."""
    for tokens in (1000, 100_000):
        flops = []
        for cut in (Parallelism(tp=8), Parallelism(tp=8, ep=8)):
            operators = step_operators(deepseek_r1(), NATIVE, cut, Batch.prefill(tokens))
            flops.append(next(o for o in operators if o.name == "routed experts").flops[0])
        assert flops[1] / flops[0] == pytest.approx(1 + 0.3 * (2 * log(8)) ** 0.5)


def test_drafts_pass_through_the_prediction_layer() -> None:
    plain = step_operators(deepseek_r1(), NATIVE, ONE, Batch.decode(8, 1000))
    drafted = step_operators(deepseek_r1(), NATIVE, ONE, Batch.decode(8, 1000, query_tokens=3), drafts=2)
    assert total_work(drafted).hbm_bytes[0] > total_work(plain).hbm_bytes[0]
    assert total_work(drafted).total_flops[0] > 3 * total_work(plain).total_flops[0]


def test_sparse_attention_reads_whole_lists_in_tiles_of_64_heads() -> None:
    """8 ranks of 16 heads compute as much as 2 of 64, and a short prompt's tokens as much as a long one's."""
    model = read_model("deepseek-ai/DeepSeek-V3.2")
    batch = Batch.prefill(512)
    ways = [step_operators(model, NATIVE, Parallelism(tp=tp), batch) for tp in (2, 8)]
    sums = [sum(o.work.total_flops[0] for o in one if o.name == "prefill attention") for one in ways]
    assert sums[0] == sums[1] == 61 * 512 * 2048 * 64 * 2 * (576 + 512)
    decoding = step_operators(model, NATIVE, Parallelism(tp=8), Batch.decode(10, 300))
    read = next(o for o in decoding if o.name == "decode attention")
    assert read.flops[0] == 10 * 2048 * 64 * 2 * (576 + 512)
    assert read.hbm_bytes[0] == 10 * 300 * 576 * 2
