"""Did predictions change? Then the diff of the golden file shows which, and by how much."""

from __future__ import annotations

from tools.predictions import GOLDEN, table


def test_predictions_are_those_of_the_golden_file() -> None:
    old, new = GOLDEN.read_text(encoding="utf-8").splitlines(), table().splitlines()
    moved = [f"- {before}\n+ {after}" for before, after in zip(old, new, strict=False) if before != after]
    assert not moved, "predictions moved (`make golden`, then say so in CHANGELOG.md):\n" + "\n".join(moved)
    assert len(old) == len(new)
