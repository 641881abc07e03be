"""SGLang's pool against a published start-up log, and its default shares."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.token_pool import (
    decode_batch_defaults,
    default_fraction,
    encoder_share,
    pool_tokens,
    prefill_sizes,
    request_table_bytes,
)
from sizewell.specs.deployment import Parallelism

GIB = 2**30


def test_qwq_32b_pool_equals_the_log() -> None:
    fraction = default_fraction("by-ranks", 22 * GIB, Parallelism(tp=4))
    assert fraction == 0.85
    tokens = pool_tokens(21.63 * GIB, 6.09 * GIB, fraction, 65_536)
    assert tokens == pytest.approx(46_611, abs=0.01 * GIB / 65_536)


def test_the_request_table_of_a_long_context_costs_a_gibibyte() -> None:
    assert request_table_bytes(2049, 131_072) == pytest.approx(1.0 * GIB, rel=1e-3)


@pytest.mark.parametrize(
    ("rule", "gib", "tp", "expected"),
    [
        ("by-ranks", 140.4, 8, 0.872),
        ("by-reserve", 140.4, 8, 0.886),
        ("by-batch", 140.4, 8, 0.897),
        ("by-batch-and-prefill", 140.4, 8, 0.886),
    ],
)
def test_default_shares_of_an_h200(rule: str, gib: float, tp: int, expected: float) -> None:
    found = default_fraction(rule, gib * GIB, Parallelism(tp=tp), latent=True)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("0.4.7", "by-ranks"), ("0.4.8", "by-reserve"), ("0.5.2", "by-reserve"), ("0.5.3", "by-batch"),
        ("0.5.9", "by-batch"), ("0.5.10", "by-batch-and-prefill"), ("0.5.20", "by-larger-batch"),
    ],
)  # fmt: skip
def test_a_release_reserves_by_its_own_rule(version: str, rule: str) -> None:
    assert read_engine("sglang", version).fraction_rule == rule


def test_a_published_pool_of_0_5_3_follows_from_its_default_share() -> None:
    """Llama-3.1-70B on eight H200s: 137.29 GiB free before loading, 2,795,200 tokens of 40,960 B."""
    share = default_fraction("by-batch", 140.4 * GIB, Parallelism(tp=8))
    assert pool_tokens(137.29 * GIB, (137.29 - 16.48) * GIB, share, 40_960) == pytest.approx(2_795_200, rel=0.003)


def test_prefill_is_recorded_in_steps_that_grow() -> None:
    """8 sizes to 32, 14 to 256, 8 to 512, 8 to 1,024, 12 to 4,096 and 8 to 8,192."""
    assert (prefill_sizes(2048), prefill_sizes(8192)) == (8 + 14 + 8 + 8 + 4, 58)


def test_small_cards_record_larger_batches_from_0_5_20() -> None:
    early, late = (decode_batch_defaults(rule, 23.6 * GIB, 1) for rule in ("by-batch", "by-larger-batch"))
    assert (early, late) == ((2048, 24), (4096, 48))


def test_attention_data_parallelism_is_part_of_sglangs_tensor_parallel_size() -> None:
    whole = default_fraction("by-ranks", 80 * GIB, Parallelism(tp=16))
    assert default_fraction("by-ranks", 80 * GIB, Parallelism(tp=8, dp=2)) == whole == 0.79


def test_an_encoder_shrinks_the_default_share() -> None:
    assert encoder_share(read_model("Qwen/Qwen3-8B")) == 1.0
    assert 0.54 < encoder_share(read_model("Qwen/Qwen3-VL-30B-A3B-Instruct")) < 0.95
