"""`sizewell validate`: what has no prediction says why, and a file it cannot write is refused before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Say = Callable[..., Any]
HEAD = "point_id,dataset,engine,engine_version,model,gpu,num_gpus,tp,load,concurrency,input_tokens,output_tokens"
ROW = "own,vllm,0.15.1,meta-llama/Llama-3.1-8B,{gpu},1,1,{load},2,500,200,0.01"


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Write three rows: two of an accelerator nobody knows, one whose load is not stated."""
    path = tmp_path / "points.csv"
    said = [("[red]h999", "closed_loop"), ("[red]h999", "closed_loop"), ("h100-sxm-80gb", "")]
    rows = (f"{number}," + ROW.format(gpu=gpu, load=load) for number, (gpu, load) in enumerate(said))
    path.write_text("\n".join([f"{HEAD},tpot_mean_s", *rows]) + "\n")
    return path


def test_what_has_no_prediction_says_why_commonest_first(say: Say, points: Path) -> None:
    said = say("validate", str(points))
    assert said.code == 0
    told = said.out.split("Without a prediction:\n")[1].splitlines()
    assert told[0] == "      2 × unknown GPU '[red]h999'"
    assert told[1].startswith("      1 × ") and len(told) == 2


def test_where_predictions_cannot_be_written_is_said_before_they_are_made(say: Say, points: Path) -> None:
    assert (
        "make it first" in say("validate", str(points), "--predictions", str(points.parent / "no" / "x.csv")).complaint
    )
    assert say("validate", str(points), "--predictions", str(points.parent / "x.csv")).code == 0
    assert sorted(path.name for path in points.parent.iterdir()) == ["points.csv", "x.csv"]
