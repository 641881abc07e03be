"""`sizewell bench` against a real vLLM: beside the engine's own clocks, and what its gates say of odd loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_vllm import Served, clocks
from two_benches import PROMPT_IDS, bench

pytestmark = pytest.mark.real
INPUT, OUTPUT = 128, 64
CLOCKS = 0.10
"""How far the client's time per token may be from the engine's: a first token takes longer to arrive."""

TURNS = 4


def lengths(requests: int, tokens: int = INPUT, answer: int = OUTPUT) -> tuple[str, ...]:
    """Return the words for requests of one length."""
    return (
        "--input", str(tokens), "--answer", str(answer), "--requests", str(requests), "--vocabulary", str(PROMPT_IDS),
    )  # fmt: skip


def held(point: Any) -> dict[str, bool]:
    """Return the gates of a load."""
    return {gate["name"]: gate["held"] for gate in point["gates"]}


def test_it_measures_what_the_engines_own_clocks_do(vllm: Served) -> None:
    """Others may starve a client of its core: it then reads tokens in bunches, says so, and is asked again."""
    for turn in range(TURNS):
        ours_s, engine_s, steady = beside_the_clocks(vllm, salt=turn)
        print(f"TPOT: sizewell {ours_s:.6f} s, the engine {engine_s:.6f} s, undisturbed: {steady}")
        if ours_s == pytest.approx(engine_s, rel=CLOCKS):
            return
        assert not steady, "it is off and no gate says why"
    pytest.fail(f"the client was starved {TURNS} times")


def beside_the_clocks(vllm: Served, salt: int) -> tuple[float, float, bool]:
    """Return the time per token by the client and by the engine, and whether the gates call the client undisturbed.

    No warm-up: between two readings lie this load and the probe of one token, which has no time per token.
    """
    before = clocks(vllm.url)
    words = ("--url", vllm.url, "--concurrency", "4", *lengths(48), "--warmup", "0", "--salt", str(salt))
    code, found, talk = bench(*words)
    assert code == 0, talk
    grown = {name: value - before[name] for name, value in clocks(vllm.url).items()}
    (point,) = found["points"]
    assert point["score"]["ok"] == 48
    assert grown["generation_tokens_total"] == 48 * OUTPUT + 1
    assert point["predicted"] is None, "no deployment was named"
    assert all(held(point)[name] for name in ("input lengths", "output lengths", "prefix cache hits", "rounds"))
    # The client is further away: connection, tokens put in order and text made of them.
    first_s = grown["time_to_first_token_seconds_sum"] / 49
    assert -0.003 <= point["score"]["ttft"]["mean_s"] - first_s <= 0.5
    steady = all(held(point)[name] for name in ("client CPU", "tokens in bunches", "schedule delay p99"))
    return point["score"]["tpot"]["mean_s"], grown["request_time_per_output_token_seconds_sum"] / 48, steady


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
