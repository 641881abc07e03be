"""Parameter counts of every shipped model equal what transformers builds on the meta device."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sizewell.catalog.models import list_models, read_model

GOLDEN = Path(__file__).parents[1] / "golden" / "transformers_parameter_counts.csv"
ROWS = {row["model_id"]: row for row in csv.DictReader(GOLDEN.open())}
COUNTED = [name for name, row in ROWS.items() if row["status"] == "ok"]

DIFFERENT_ON_PURPOSE = {
    # transformers 5.23 allocates gate/up matrices for the 256 identity experts, which no checkpoint stores and no
    # step multiplies by: 28 layers of 256 experts of 4096 x 6144.
    "meituan-longcat/LongCat-Flash-Chat": -28 * 256 * 4096 * 6144,
    # transformers expects a nested text_config and fills in its own vocabulary of 128,815; the flat file says 128,896.
    "stepfun-ai/Step-3.7-Flash": 2 * (128_896 - 128_815) * 4096,
    "stepfun-ai/Step-3.7-Flash-FP8": 2 * (128_896 - 128_815) * 4096,
}


@pytest.mark.parametrize("name", COUNTED)
def test_text_parameters_are_exact(name: str) -> None:
    expected = int(ROWS[name]["text"]) + DIFFERENT_ON_PURPOSE.get(name, 0)
    assert read_model(name).text_parameters == expected


def test_every_shipped_model_has_a_golden_row() -> None:
    assert {entry.id for entry in list_models()} == set(ROWS)
