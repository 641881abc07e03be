"""The page on causes and stages names each of them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from sizewell.specs.standing import Cause, Stage

PAGE = (Path(__file__).parents[2] / "docs" / "watch-causes.md").read_text()


def test_every_cause_and_stage_has_its_row() -> None:
    for cause in get_args(Cause):
        assert PAGE.count(f"\n| `{cause}` |") == 1
    for stage in get_args(Stage):
        assert PAGE.count(f"\n| {stage} |") == 1
