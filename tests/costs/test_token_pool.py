"""SGLang's pool against a published start-up log, and its default shares."""

from __future__ import annotations

import pytest

from sizewell.catalog.models import read_model
from sizewell.costs.token_pool import default_fraction, encoder_share, pool_tokens, request_table_bytes
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
    [("by-ranks", 140.4, 8, 0.872), ("by-reserve", 140.4, 8, 0.886), ("by-batch", 140.4, 8, 0.886)],
)
def test_default_shares_of_an_h200(rule: str, gib: float, tp: int, expected: float) -> None:
    found = default_fraction(rule, gib * GIB, Parallelism(tp=tp), latent=True)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, abs=0.005)


def test_attention_data_parallelism_is_part_of_sglangs_tensor_parallel_size() -> None:
    whole = default_fraction("by-ranks", 80 * GIB, Parallelism(tp=16))
    assert default_fraction("by-ranks", 80 * GIB, Parallelism(tp=8, dp=2)) == whole == 0.79


def test_an_encoder_shrinks_the_default_share() -> None:
    assert encoder_share(read_model("Qwen/Qwen3-8B")) == 1.0
    assert 0.54 < encoder_share(read_model("Qwen/Qwen3-VL-30B-A3B-Instruct")) < 0.95
