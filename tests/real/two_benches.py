"""`sizewell bench` and `vllm bench serve` on one server: requests of the same lengths in the same order, turn about."""

from __future__ import annotations

import csv
import json
import math
import random
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served_vllm import NAME, on_core, site_environment

CLIENTS = 1
"""The core clients run on; the other is the engine's."""
PROMPT_IDS = 256
"""Below it lie the tokens of the tiny model that are bytes."""
PATIENCE_S = 240.0
STANDARD_ERRORS = 4
INPUT, OUTPUT, SIGMA, AT_ONCE, REQUESTS = 32, 48, 0.3, 8, 64
"""Lengths are spread, or all in flight would end and begin in one step: then the mean TTFT hangs on how many of the
next prompts reach the engine before the first is computed, which differs from wave to wave by half."""
Figures = Mapping[str, float]
Pairs = Sequence[tuple[Figures, Figures]]


def bench(*words: str) -> tuple[int, Any, str]:
    """Run a bench; return its exit code, its document and its talk."""
    command = [sys.executable, "-m", "sizewell", "bench", *words, "--json"]
    with on_core(CLIENTS):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure by both tools, medians: how far ours is from theirs, and how far noise alone could put it."""

    name: str
    ours: float
    theirs: float
    away: float
    noise: float

    def __str__(self) -> str:
        both = f"sizewell {self.ours:.5g}, vllm bench {self.theirs:.5g}"
        return f"{self.name}: {both}, {self.away:+.2%}, noise up to {self.noise:.2%}"


def alternated(url: str, model: Path, folder: Path, repeats: int) -> Pairs:
    """Return what both tools measure, each first as often as the other."""
    ours = [our_bench(url, folder)]
    theirs = [vllm_bench(url, model, folder, 0)]
    for turn in range(1, repeats):
        if turn % 2:
            theirs.append(vllm_bench(url, model, folder, turn))
        ours.append(our_bench(url, folder))
        if turn % 2 == 0:
            theirs.append(vllm_bench(url, model, folder, turn))
    return list(zip(ours, theirs, strict=True))


def our_bench(url: str, folder: Path) -> Figures:
    """Run `sizewell bench` and return throughput over the whole run and mean latencies; `rows.csv` has the lengths."""
    words = (
        "--url", url, "--concurrency", str(AT_ONCE), "--requests", str(REQUESTS), "--input", str(INPUT),
        "--answer", str(OUTPUT), "--length-sigma", str(SIGMA), "--seed", "5", "--vocabulary", str(PROMPT_IDS),
        "--rows", str(folder / "rows.csv"),
    )  # fmt: skip
    code, found, talk = bench(*words)
    assert code == 0, talk
    score = found["points"][0]["score"]
    assert score["ok"] == REQUESTS
    means = {name.upper(): score[name]["mean_s"] for name in ("tpot", "ttft")}
    return {"tok/s": score["wall"]["output_tokens_per_s"], **means}


def vllm_bench(url: str, model: Path, folder: Path, turn: int) -> Figures:
    """Run `vllm bench serve` with requests of the lengths in `rows.csv` and return what it says."""
    lengths = _write_requests(folder)
    result = folder / f"{turn}.json"
    command = [
        "vllm", "bench", "serve", "--backend", "openai", "--endpoint", "/v1/completions", "--base-url", url,
        "--model", NAME, "--tokenizer", str(model), "--dataset-name", "sharegpt", "--disable-shuffle",
        "--dataset-path", str(folder / "requests.json"), "--num-prompts", str(REQUESTS),
        "--max-concurrency", str(AT_ONCE), "--num-warmups", str(AT_ONCE), "--ignore-eos", "--disable-tqdm",
        "--save-result", "--save-detailed", "--result-filename", str(result),
    ]  # fmt: skip
    with on_core(CLIENTS):
        done = subprocess.run(
            command, env=site_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(result.read_text())
    assert said["completed"] == REQUESTS
    assert said["output_lens"] == [output for _, output in lengths]
    return {
        "tok/s": said["output_throughput"],
        "TPOT": said["mean_tpot_ms"] / 1e3,
        "TTFT": said["mean_ttft_ms"] / 1e3,
    }


def _write_requests(folder: Path) -> list[tuple[int, int]]:
    """Write prompts nobody has sent before, of the lengths in `rows.csv`; return these: a letter is a token."""
    rng = random.Random(time.time_ns())
    with (folder / "rows.csv").open(newline="") as rows:
        lengths = [(int(row["input_tokens"]), int(row["output_tokens"])) for row in csv.DictReader(rows)]
    asked = [[{"value": "".join(rng.choices(string.ascii_letters, k=many))} for many in pair] for pair in lengths]
    (folder / "requests.json").write_text(json.dumps([{"conversations": turns} for turns in asked]))
    return lengths


def compared(pairs: Pairs) -> Iterator[Compared]:
    """Yield each figure; a turn is a pair, so that a machine that slows down over minutes is no noise."""
    for name in pairs[0][0]:
        ours, theirs = ([pair[side][name] for pair in pairs] for side in (0, 1))
        ratios = [math.log(mine / other) for mine, other in zip(ours, theirs, strict=True)]
        yield Compared(
            name=name,
            ours=statistics.median(ours),
            theirs=statistics.median(theirs),
            away=math.expm1(statistics.median(ratios)),
            noise=STANDARD_ERRORS * statistics.stdev(ratios) / math.sqrt(len(ratios)),
        )
