"""The names under which engines tell their figures, by release: one list, for who tells and for who reads."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sizewell.specs.engine_metrics import FOREVER, Metric, Release

_FOLDER = files("sizewell.catalog") / "data" / "engine_metrics"
ENGINES = ("vllm", "sglang", "llama.cpp")
"""Engines whose metrics are understood, and told by the emulator."""


@cache
def read_engine_metrics(engine: str) -> tuple[Metric, ...]:
    """Return every metric any release of an engine has; one of ENGINES."""
    facts = tomllib.loads((_FOLDER / f"{engine}.toml").read_text())
    return tuple(_metric(row, facts["buckets"]) for row in facts["metric"])


def _metric(row: dict[str, Any], buckets: dict[str, list[float]]) -> Metric:
    return Metric(
        name=row["name"],
        kind=row["kind"],
        meaning=row["meaning"],
        says=row["says"],
        since=_release(row.get("since"), (0,)),
        until=_release(row.get("until"), FOREVER),
        bounds=tuple(map(float, buckets[row["buckets"]])) if "buckets" in row else (),
        labels=tuple(row.get("labels", {}).items()),
        at_end=row.get("at_end", False),
    )


def _release(text: str | None, otherwise: Release) -> Release:
    return tuple(int(part) for part in text.split(".")) if text else otherwise
