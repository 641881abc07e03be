"""A run as bytes and back: its columns, gaps and timeline as compressed numpy arrays, nothing that runs code."""

from __future__ import annotations

import zlib
from dataclasses import fields
from io import BytesIO
from math import inf
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import HANDOVER_COLUMNS, RUN_COLUMNS, GapCounts, Handovers, Origin, Run, Timeline

TIMELINE = tuple(field.name for field in fields(Timeline))
PREFILL = "prefill_timeline"
DAMAGE = (ValueError, KeyError, BadZipFile, EOFError, OSError, RuntimeError, zlib.error)
"""What reading an archive of arrays raises where some of its bytes are others."""


def packed_run(run: Run) -> bytes:
    """Return the arrays of a run as bytes."""
    arrays: dict[str, Any] = {name: getattr(run, name) for name in RUN_COLUMNS}
    arrays |= {"gap_s": run.gaps.gap_s, "gap_count": run.gaps.count, "whole_until_s": np.array(run.whole_until_s)}
    arrays |= _packed_timeline(run.timeline, "timeline")
    if run.handovers is not None:
        arrays |= {name: getattr(run.handovers, name) for name in HANDOVER_COLUMNS}
        arrays |= _packed_timeline(run.handovers.timeline, PREFILL)
    out = BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def unpacked_run(data: bytes, origin: Origin) -> Run:
    """Return the run; raises BadInputError for bytes that are none."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            timeline, first = _timeline(arrays, "timeline"), _timeline(arrays, PREFILL)
            moved = {name: arrays[name] for name in HANDOVER_COLUMNS} if first else {}
            columns = {name: arrays[name] for name in RUN_COLUMNS}
            # Runs kept by earlier releases do not say until when their people asked.
            until_s = float(arrays["whole_until_s"]) if "whole_until_s" in arrays else inf
            gaps = GapCounts(gap_s=arrays["gap_s"], count=arrays["gap_count"])
    except DAMAGE as error:
        raise BadInputError("the requests of this run cannot be read: its record is damaged") from error
    handovers = Handovers(**moved, timeline=first) if first else None
    return Run(
        **columns, gaps=gaps, origin=origin, timeline=timeline, handovers=handovers, whole_until_s=until_s
    )  # fmt: skip


def _packed_timeline(timeline: Timeline | None, prefix: str) -> dict[str, Any]:
    return {f"{prefix}_{name}": getattr(timeline, name) for name in TIMELINE} if timeline else {}


def _timeline(arrays: Any, prefix: str) -> Timeline | None:
    if f"{prefix}_{TIMELINE[0]}" not in arrays:
        return None
    return Timeline(**{name: arrays[f"{prefix}_{name}"] for name in TIMELINE})
