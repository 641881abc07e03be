"""`sizewell bench` against a real vLLM: beside the engine's own clocks, and beside `vllm bench serve`."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_vllm import NAME, Served, site_environment

from emulated import emulated, serving, small_fleet
from sizewell.driver.other_tools import read_results
from surfaces import flat_surface

pytestmark = pytest.mark.real
INPUT, OUTPUT, AT_ONCE, REQUESTS = 128, 64, 8, 64
PROMPT_IDS = 256
"""Below it lie the tokens of the tiny model that are bytes."""
PATIENCE_S = 240.0
REPEATS, STANDARD_ERRORS = 4, 4
ALIKE = 0.03
CLOCKS = 0.10
"""How far the client's time per token may be from the engine's: a first token takes longer to arrive."""
FIGURES = ("tok/s", "TPOT", "TTFT")
Figures = Mapping[str, float]
Pairs = Sequence[tuple[Figures, Figures]]
STEP_S = 0.02


def bench(*words: str) -> tuple[int, Any, str]:
    """Run a bench; return its exit code, its document and its talk."""
    command = [sys.executable, "-m", "sizewell", "bench", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def lengths(requests: int, tokens: int = INPUT, answer: int = OUTPUT) -> tuple[str, ...]:
    """Return the words for requests of one length."""
    return (
        "--input", str(tokens), "--answer", str(answer), "--requests", str(requests), "--vocabulary", str(PROMPT_IDS),
    )  # fmt: skip


def clocks(url: str) -> dict[str, float]:
    """Return the sums and counts the engine keeps."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^vllm:(\w+_(?:sum|count|total))\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def held(point: Any) -> dict[str, bool]:
    """Return the gates of a load."""
    return {gate["name"]: gate["held"] for gate in point["gates"]}


def test_it_measures_what_the_engines_own_clocks_do(vllm: Served) -> None:
    """No warm-up: between two readings lie this load and the probe of one token, which has no time per token."""
    before = clocks(vllm.url)
    words = ("--url", vllm.url, "--concurrency", "4", *lengths(48), "--warmup", "0")
    code, found, talk = bench(*words)
    assert code == 0, talk
    grown = {name: value - before[name] for name, value in clocks(vllm.url).items()}
    (point,) = found["points"]
    assert point["score"]["ok"] == 48
    assert grown["generation_tokens_total"] == 48 * OUTPUT + 1
    assert point["predicted"] is None, "no deployment was named"
    assert all(held(point)[name] for name in ("input lengths", "output lengths", "prefix cache hits", "rounds"))
    mean_s = grown["request_time_per_output_token_seconds_sum"] / 48
    ours_s = point["score"]["tpot"]["mean_s"]
    print(f"TPOT: sizewell {ours_s:.6f} s, the engine {mean_s:.6f} s")
    assert ours_s == pytest.approx(mean_s, rel=CLOCKS)
    # The client is further away: connection, tokens put in order and text made of them.
    first_s = grown["time_to_first_token_seconds_sum"] / 49
    assert -0.003 <= point["score"]["ttft"]["mean_s"] - first_s <= 0.5


def test_more_at_once_brings_more_and_every_file_holds_it(vllm: Served, tmp_path: Path) -> None:
    files = {flag: tmp_path / f"out.{end}" for flag, end in (("rows", "csv"), ("record", "jsonl"), ("report", "json"))}
    flags = [word for flag, path in files.items() for word in (f"--{flag}", str(path))]
    code, found, talk = bench("--url", vllm.url, "--concurrency", "1,8", *lengths(40), *flags)
    assert code == 0, talk
    alone, together = (point["score"]["wall"]["output_tokens_per_s"] for point in found["points"])
    assert together > alone
    lines = [json.loads(line) for line in files["record"].read_text().splitlines()]
    assert [line["output_tokens"] for line in lines] == [OUTPUT] * 80
    for line in lines:
        times = np.array(line["token_s"])
        assert (np.diff(times) >= 0).all()
        assert len(times) <= OUTPUT


def test_an_open_loop_keeps_its_rate(vllm: Served) -> None:
    code, found, talk = bench("--url", vllm.url, "--rates", "8/s", "--arrivals", "constant", *lengths(40))
    assert code == 0, talk
    (point,) = found["points"]
    assert (point["score"]["ok"], point["concurrency"]) == (40, None)
    assert held(point)["requests not served"]


def test_a_load_repeated_is_found_in_the_prefix_cache(vllm: Served) -> None:
    words = ("--url", vllm.url, "--concurrency", "2", *lengths(12, tokens=640), "--salt", "11", "--strict")
    bench(*words)
    code, found, talk = bench(*words)
    assert code == 4
    assert held(found["points"][0])["prefix cache hits"] is False
    assert "prefix cache hits" in talk


def test_answers_it_cuts_short_and_requests_it_refuses_are_said(vllm: Served) -> None:
    """A prompt that leaves eight tokens gets eight of the 64 asked for, without an error; one too long gets a 400."""
    words = ("--url", vllm.url, "--users", "2", "--warmup", "0")
    code, found, talk = bench(*words, *lengths(4, tokens=2040))
    assert (code, held(found["points"][0])["output lengths"]) == (0, False), talk
    code, found, talk = bench(*words, *lengths(4, tokens=2100))
    assert code == 1, talk
    assert found["points"][0]["score"]["rejected"] == 4
    assert "maximum context length" in found["points"][0]["errors"][0]


def vllm_bench(url: str, model: Path, result: Path, seed: int) -> Figures:
    """Run `vllm bench serve` and return what it says."""
    command = [
        "vllm", "bench", "serve", "--backend", "openai", "--endpoint", "/v1/completions", "--base-url", url,
        "--model", NAME, "--tokenizer", str(model), "--dataset-name", "random", "--random-input-len", str(INPUT),
        "--random-output-len", str(OUTPUT), "--num-prompts", str(REQUESTS), "--max-concurrency", str(AT_ONCE),
        "--num-warmups", str(AT_ONCE), "--ignore-eos", "--disable-tqdm", "--seed", str(seed),
        "--save-result", "--save-detailed", "--result-filename", str(result),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=site_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(result.read_text())
    assert said["completed"] == REQUESTS
    return {
        "tok/s": said["output_throughput"],
        "TPOT": said["mean_tpot_ms"] / 1e3,
        "TTFT": said["mean_ttft_ms"] / 1e3,
    }


def our_bench(url: str) -> Figures:
    """Run `sizewell bench` under the same load and return the same figures: over the whole run, from when sent."""
    code, found, talk = bench("--url", url, "--concurrency", str(AT_ONCE), *lengths(REQUESTS))
    assert code == 0, talk
    score = found["points"][0]["score"]
    assert score["ok"] == REQUESTS
    means = {name.upper(): score[name]["mean_s"] for name in ("tpot", "ttft")}
    return {"tok/s": score["wall"]["output_tokens_per_s"], **means}


def alternated(url: str, model: Path, folder: Path, repeats: int) -> Iterator[tuple[Figures, Figures]]:
    """Yield what both tools measure, turn and turn about, each first as often as the other."""
    for turn in range(repeats):
        ours = our_bench(url) if turn % 2 else None
        theirs = vllm_bench(url, model, folder / f"{turn}.json", int(time.time()) + turn)
        yield ours or our_bench(url), theirs


def spread(values: Sequence[float]) -> float:
    """Return the relative standard error of a mean."""
    return statistics.stdev(values) / statistics.mean(values) / math.sqrt(len(values))


def compared(pairs: Pairs, say: Callable[[str], None]) -> Iterator[tuple[str, float, float]]:
    """Yield each figure, how far our median is from theirs, and how far noise alone could put it."""
    for name in FIGURES:
        ours, theirs = ([pair[side][name] for pair in pairs] for side in (0, 1))
        away = statistics.median(ours) / statistics.median(theirs) - 1
        noise = STANDARD_ERRORS * math.hypot(spread(ours), spread(theirs))
        both = (f"{statistics.median(values):.5g}" for values in (ours, theirs))
        say(f"{name}: sizewell {next(both)}, vllm bench {next(both)}, {away:+.2%}, noise up to {noise:.2%}")
        yield name, away, noise


def show(pairs: Pairs) -> list[tuple[str, float, float]]:
    """Print the comparison and return it."""
    lines: list[str] = []
    found = list(compared(pairs, lines.append))
    print(*lines, sep="\n")
    return found


def test_it_agrees_with_vllm_bench_on_a_server_of_a_steady_pace(tiny_model: Path, tmp_path: Path) -> None:
    """An emulated engine keeps its pace whoever shares the cores, so that what differs is the tools.

    Its step takes as long whatever is in it: the tools' prompts differ in the tokens it counts.
    """
    with serving(emulated(small_fleet(surface=flat_surface(STEP_S, 0.0)))) as served:
        served.wait()
        pairs = list(alternated(f"http://127.0.0.1:{served.port}", tiny_model, tmp_path, 3))
    for name, away, noise in show(pairs):
        assert abs(away) <= ALIKE + noise, name


@pytest.fixture(scope="module")
def on_vllm(vllm: Served, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pairs, Path]:
    """What both tools measure on a real engine, and the folder of the other's results."""
    folder = tmp_path_factory.mktemp("results")
    return list(alternated(vllm.url, tiny_model, folder, REPEATS)), folder


def test_it_agrees_with_vllm_bench_as_far_as_repeats_agree(on_vllm: tuple[Pairs, Path]) -> None:
    """On a real engine that shares two cores with its clients, repeats of one tool differ more than the tools do."""
    for name, away, noise in show(on_vllm[0]):
        assert abs(away) <= ALIKE + noise, name


def test_a_result_of_vllm_bench_is_scored_as_it_scores_itself(on_vllm: tuple[Pairs, Path]) -> None:
    for turn, (_, theirs) in enumerate(on_vllm[0]):
        path = on_vllm[1] / f"{turn}.json"
        (load,) = read_results(path)
        assert (load.tool, load.label) == ("vllm bench", str(AT_ONCE))
        code, found, talk = bench("--import", str(path))
        assert code == 0, talk
        score = found["points"][0]["score"]
        assert score["ok"] == REQUESTS
        assert score["ttft"]["mean_s"] == pytest.approx(theirs["TTFT"], rel=1e-6)
        assert score["tpot"]["mean_s"] == pytest.approx(theirs["TPOT"], rel=1e-6)
        assert score["wall"]["output_tokens_per_s"] == pytest.approx(theirs["tok/s"], rel=0.01)
