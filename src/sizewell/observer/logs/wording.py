"""How an engine words a figure of its start, and what the figures of several ranks make together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

LogStage = Literal["nothing", "started", "loading", "warming", "serving", "ended"]
STAGES: tuple[LogStage, ...] = ("nothing", "started", "loading", "warming", "serving", "ended")
GIB, MIB = 2.0**30, 2.0**20


@dataclass(frozen=True, slots=True)
class Wording:
    """A line some releases print: it proves a stage of the start, and its named groups are figures with their unit.

    `is_first` marks the lines a start begins with: printed again, they are another start. `closes` marks what is
    printed when a server goes, asked or not: a start that fails ends in the same words.
    """

    pattern: re.Pattern[str]
    stage: LogStage
    is_first: bool = False
    closes: bool = False


def wording(stage: LogStage, pattern: str, *, is_first: bool = False, closes: bool = False) -> Wording:
    """Return a wording; the pattern is matched from a message's start."""
    return Wording(re.compile(pattern), stage, is_first, closes)


@dataclass(frozen=True, slots=True)
class _Kept:
    field: str
    factor: float
    of_several: Callable[[float, float], float]


def _latest(_before: float, now: float) -> float:
    return now


def _both(before: float, now: float) -> float:
    return before + now


KEPT: Mapping[str, _Kept] = {
    "weights_gib": _Kept("weights_bytes", GIB, max),
    "weights_mib": _Kept("weights_bytes", MIB, max),
    "host_weights_mib": _Kept("host_weights_bytes", MIB, max),
    "load_s": _Kept("load_s", 1.0, max),
    "kv_gib": _Kept("kv_cache_bytes", GIB, min),
    "kv_part_mib": _Kept("kv_cache_bytes", MIB, _both),
    "k_gib": _Kept("k_bytes", GIB, max),  # a draft model's pool, which is smaller, is told in the same words
    "v_gib": _Kept("v_bytes", GIB, max),
    "pool_gib": _Kept("pool_bytes", GIB, max),
    "windowed_gib": _Kept("windowed_bytes", GIB, max),
    "conv_gib": _Kept("conv_bytes", GIB, max),
    "ssm_gib": _Kept("ssm_bytes", GIB, max),
    "draft_ssm_gib": _Kept("draft_ssm_bytes", GIB, max),
    "draft_conv_gib": _Kept("draft_conv_bytes", GIB, max),
    "kv_tokens": _Kept("kv_cache_tokens", 1.0, min),
    "pool_tokens": _Kept("pool_tokens", 1.0, max),
    "cells": _Kept("kv_cache_tokens", 1.0, max),
    "streams": _Kept("streams", 1.0, max),
    "kv_blocks": _Kept("kv_blocks", 1.0, min),
    "concurrency": _Kept("max_concurrency", 1.0, min),
    "length_tokens": _Kept("length_tokens", 1.0, _latest),
    "graphs_gib": _Kept("graphs_bytes", GIB, max),
    "checkpoint_gib": _Kept("checkpoint_bytes", GIB, max),
}
"""What becomes of a figure: ranks differ, and the fullest one decides what holds everywhere."""


def keep(figures: dict[str, float], found: Mapping[str, str | None]) -> None:
    """Add the figures of one line to those of the lines before."""
    for name, text in found.items():
        kept = KEPT.get(name)
        if kept is None or text is None:
            continue
        value = float(text.replace(",", "")) * kept.factor
        before = figures.get(kept.field)
        figures[kept.field] = value if before is None else kept.of_several(before, value)
