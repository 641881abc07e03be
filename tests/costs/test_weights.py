"""Weights of one rank against published start-up logs and against invariants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.costs.allocator import allocated_bytes
from sizewell.costs.weights import WeightRules, rank_weight_bytes
from sizewell.specs.deployment import Parallelism
from sizewell.specs.encoding import FP8_BLOCK128
from sizewell.specs.model import ModelSpec

GIB = 2**30


def _gib(model: ModelSpec, **sizes: int) -> float:
    return max(rank_weight_bytes(model, "native", Parallelism(**sizes))) / GIB


def test_dense_weights_equal_the_logs(llama_8b: ModelSpec, llama_70b: ModelSpec) -> None:
    assert _gib(llama_8b) == pytest.approx(14.9888, abs=1e-4)
    assert _gib(llama_70b, tp=4) == pytest.approx(32.8892, abs=5e-4)


def test_deepseek_r1_on_eight_ranks_equals_the_log(r1: ModelSpec) -> None:
    assert _gib(r1, tp=8) == pytest.approx(79.583, abs=0.02)


def test_a_draft_layer_in_the_checkpoint_is_loaded_only_for_speculation(r1: ModelSpec) -> None:
    without, with_draft = (
        rank_weight_bytes(r1, "native", Parallelism(tp=8), WeightRules(mtp=mtp))[0] for mtp in (False, True)
    )
    assert with_draft - without == pytest.approx(1.0 * 11.4 / 8 * GIB, rel=0.2)


def test_latent_down_projections_are_whole_on_every_rank(r1: ModelSpec) -> None:
    quarter, eighth = (_gib(r1, tp=tp) for tp in (4, 8))
    assert eighth > quarter / 2
    replicated = 61 * (1536 + 576) * 7168 + 58 * 256 * 7168 * 2 + 163840 * 64 * 4
    assert eighth - quarter / 2 == pytest.approx(replicated / 2 / GIB, rel=0.02)


def test_expert_parallel_gives_the_fullest_rank_the_spare_expert(r1: ModelSpec) -> None:
    whole_experts, cut_experts = (_gib(r1, tp=8, ep=8), _gib(r1, tp=8))
    assert whole_experts == pytest.approx(cut_experts, rel=1e-3)
    assert _gib(r1, tp=1, dp=6, ep=6) > _gib(r1, tp=1, dp=8, ep=8)


def test_data_parallel_ranks_copy_everything_but_experts(r1: ModelSpec) -> None:
    attention = 61 * (1536 * 128 * 192 + 512 * 128 * 256 * 3 + 128 * 128 * 7168)
    mlp = 3 * 7168 * (3 * 18432 + 58 * 2048)
    vocabulary = 2 * 2 * 129280 * 7168
    copied = 7 / 8 * (attention + mlp + vocabulary) / GIB
    assert _gib(r1, tp=1, dp=8, ep=8) - _gib(r1, tp=8) == pytest.approx(copied, rel=0.01)


@given(size=st.integers(1, 2**36))
def test_the_allocator_never_gives_less_and_never_wastes_more_than_a_mebibyte(size: int) -> None:
    taken = allocated_bytes(size)
    assert size <= taken <= size + 2**20 + 512
    assert taken % 512 == 0


@given(hidden=st.integers(1, 64), layers=st.integers(1, 8), kv_log=st.integers(0, 3), tp_log=st.integers(0, 3))
def test_more_tensor_parallelism_never_holds_more(
    dense_model: Callable[..., ModelSpec], hidden: int, layers: int, kv_log: int, tp_log: int
) -> None:
    model = dense_model(
        layers=layers, hidden=128 * hidden, q=16, kv=2**kv_log, dim=128, inter=512 * hidden, vocab=32000,
        stored=FP8_BLOCK128,
    )  # fmt: skip
    wide, wider = (max(rank_weight_bytes(model, "native", Parallelism(tp=2**n))) for n in (tp_log, tp_log + 1))
    # A halved tensor may round up where the whole one did not, by at most a mebibyte each.
    assert wider <= wide + 2**20 * (4 * layers + 2)
