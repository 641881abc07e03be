"""`sizewell bench` against a real vLLM: what it writes down, and what its gates say of odd loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_vllm import Served
from two_benches import PROMPT_IDS, bench

pytestmark = pytest.mark.real
INPUT, OUTPUT = 128, 64


def lengths(requests: int, tokens: int = INPUT, answer: int = OUTPUT) -> tuple[str, ...]:
    """Return the words for requests of one length."""
    return (
        "--input", str(tokens), "--answer", str(answer), "--requests", str(requests), "--vocabulary", str(PROMPT_IDS),
    )  # fmt: skip


def held(point: Any) -> dict[str, bool]:
    """Return the gates of a load."""
    return {gate["name"]: gate["held"] for gate in point["gates"]}


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
