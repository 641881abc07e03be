"""The loop with a real vLLM on this processor: the predicted KV cache is the engine's own count, to the token."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from bench import demo_vllm as demo
from vllm_sessions import PYTHON

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed"),
]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> demo.Loop:
    return demo.Loop(folder=tmp_path_factory.mktemp("loop"), vllm=PYTHON.parents[1])


@pytest.fixture(scope="module")
def here(loop: demo.Loop) -> str:
    """This machine, measured by sizewell and kept in a catalogue."""
    return demo.machine(loop)


@pytest.mark.parametrize("family", demo.FAMILIES)
def test_the_engine_counts_the_cache_that_was_predicted(loop: demo.Loop, here: str, family: str) -> None:
    demo.model(loop, family)
    stated = ["explain", family, "--on", here, *demo.ENGINE, *demo.LOAD[:4]]
    plan = loop.document(*stated, "--keep", family)
    with demo.started(loop, family, here) as log_file:
        demo.compare_cache(plan["memory"]["kv_tokens"], log_file)
        number = loop.document("runs", "list", "--of", "plans")["plans"][-1]["id"]
        words = ["bench", "--plan", str(number), "--url", demo.URL, *demo.LOAD, "--requests", "24", "--keep", family]
        points = loop.document(*words, "--concurrency", "1,2,4")["points"]
    assert all(point["score"]["ok"] == 24 and point["predicted"]["ok"] == 24 for point in points)
    measured = [run for run in loop.document("runs", "list")["runs"] if run["origin"] == "measured"][-3:]
    assert {run["plan"] for run in measured} == {number}
    numbers = [str(run["id"]) for run in measured]
    # Kept only if it helps; a machine busy with something else teaches nothing, and that is said.
    loop.say(["calibrate", "--from-runs", *numbers, "--save", "here"])
    kept = (loop.folder / "catalogue" / "calibrations" / "here.toml").exists()
    again = loop.document(*stated)["served"]["tpot_s"]["value"]
    assert not kept or again != plan["served"]["tpot_s"]["value"]
