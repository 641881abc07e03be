"""Writes tests/golden/predictions.csv: what sizewell predicts for a fixed list of deployments.

A change that moves a number shows in the diff of that file which, and by how much. `make golden` writes it again.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sizewell import Setup, Workload, explain
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import Formats

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "predictions.csv"
DIGITS = 5
HEAD = (
    "model", "machine", "layout", "weights", "kv", "users", "weight_bytes", "kv_tokens", "ttft_s", "tpot_s",
    "tokens_per_s", "step_s", "floor_s", "bound_by",
)  # fmt: skip

PLACES: tuple[tuple[str, str, Stated, str, str], ...] = (
    ("llama-3.1-8b", "1xh100", Stated(), "native", "auto"),
    ("llama-3.1-8b", "1xh100", Stated(), "fp8", "fp8"),
    ("llama-3.1-8b", "1xrtx-4090", Stated(), "native", "auto"),
    ("llama-3.1-8b", "1xl4", Stated(), "awq-int4", "auto"),
    ("llama-3.1-8b", "1xrtx-3060", Stated(), "awq-int4", "auto"),
    ("llama-3.3-70b", "4xh100", Stated(), "native", "auto"),
    ("llama-3.3-70b", "2xh100", Stated(), "fp8", "auto"),
    ("llama-3.3-70b", "4xa100", Stated(tp=4), "native", "auto"),
    ("llama-3.3-70b", "2xmi300x", Stated(tp=2), "native", "auto"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "1xh100", Stated(), "native", "auto"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "1xrtx-4090", Stated(), "awq-int4", "auto"),
    ("r1", "8xh200", Stated(tp=8), "native", "auto"),
    ("r1", "8xh200", Stated(tp=8, ep=8), "native", "fp8"),
    ("r1", "8xh200", Stated(dp=8, ep=8), "native", "auto"),
    ("r1", "16xh100", Stated(tp=8, pp=2), "native", "auto"),
    ("r1", "16xh100", Stated(tp=16), "native", "auto"),
    ("r1", "8xb200", Stated(tp=8), "nvfp4", "auto"),
    ("deepseek-ai/DeepSeek-V3.2", "8xh200", Stated(tp=8), "native", "auto"),
    ("qwen3-30b-a3b", "1xh100", Stated(), "native", "auto"),
    ("Qwen/Qwen3-235B-A22B", "4xh200", Stated(tp=4), "native", "auto"),
    ("openai/gpt-oss-120b", "1xh100", Stated(), "native", "auto"),
    ("google/gemma-3-27b-it", "1xh100", Stated(), "native", "auto"),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "4xh100", Stated(tp=4), "native", "auto"),
)
USERS = (1, 16, 128)


def predictions() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the golden file, the head first."""
    yield HEAD
    for model, machine, cut, weights, kv in PLACES:
        for users in USERS:
            load = Workload(users=users, input_tokens=1000, answer_tokens=500)
            setup = Setup(formats=Formats(weight=weights, kv=kv), stated=replace(cut, max_model_len_tokens=4096))
            found = explain(model, machine, load, setup)
            layout = str(found.deployment.pools[0].parallelism)
            memory = (found.memory.weight_bytes, float(found.memory.kv_tokens))
            given, step = found.served, found.step
            speed: tuple[float, ...] = ()
            if given and step:
                served = (given.ttft_s.value, given.tpot_s.value, given.output_tokens_per_s.value)
                speed = (*served, step.total_s, step.floor_s)
            numbers = [f"{value:.{DIGITS}g}" for value in (*memory, *speed)]
            blank = [""] * (7 - len(numbers))
            bound = step.bound_by if step else found.memory.verdict
            yield (model, machine, layout, weights, kv, str(users), *numbers, *blank, bound)


def table() -> str:
    """Return the golden file as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(predictions())
    return text.getvalue()


if __name__ == "__main__":
    GOLDEN.write_text(table(), encoding="utf-8")
    sys.stderr.write(f"wrote {GOLDEN.name}\n")
