"""Times and counts read as people say them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sizewell.cli.output import broken, duration

Say = Callable[..., Any]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5e-5, "50 µs"), (0.05, "50 ms"), (99.0, "99 s"), (600.0, "10 min"), (36_000.0, "10 h"),
        (864_000.0, "10 days"), (5.9e7, "683 days"), (float("inf"), "–"),
    ],
)  # fmt: skip
def test_a_time_has_the_unit_it_is_said_in(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_one_thing_is_singular(say: Say) -> None:
    assert "1 model runs on 1 × rtx-3060-12gb with" in say("fit", "qwen3-4b", "--on", "rtx-3060").out
    assert "2 models run on 2 × l4-24gb with" in say("fit", "qwen3-4b", "qwen3-8b", "--on", "2xl4").out


def test_prices_are_found_by_an_accelerators_short_name(say: Say) -> None:
    assert say("catalog", "prices", "h100").out.startswith("h100-sxm-80gb")


@pytest.mark.parametrize(
    ("room", "lines"),
    [
        (40, ["DeepSeek-R1-Distill-Qwen-14B"]),
        (16, ["DeepSeek-R1-", "Distill-Qwen-14B"]),
        (5, ["DeepSeek-", "R1-", "Distill-", "Qwen-", "14B"]),
    ],
)
def test_names_break_after_hyphens_only(room: int, lines: list[str]) -> None:
    assert broken("DeepSeek-R1-Distill-Qwen-14B", room).split("\n") == lines
