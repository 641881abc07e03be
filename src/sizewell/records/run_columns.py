"""A run as bytes and back: its columns, gaps and timeline as compressed numpy arrays, nothing that runs code."""

from __future__ import annotations

from dataclasses import fields
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import RUN_COLUMNS, GapCounts, Origin, Run, Timeline

TIMELINE = tuple(field.name for field in fields(Timeline))


def packed_run(run: Run) -> bytes:
    """Return the arrays of a run as bytes."""
    arrays: dict[str, Any] = {name: getattr(run, name) for name in RUN_COLUMNS}
    arrays |= {"gap_s": run.gaps.gap_s, "gap_count": run.gaps.count}
    if run.timeline is not None:
        arrays |= {f"timeline_{name}": getattr(run.timeline, name) for name in TIMELINE}
    out = BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def unpacked_run(data: bytes, origin: Origin) -> Run:
    """Return the run; raises BadInputError for bytes that are none."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            timeline = None
            if f"timeline_{TIMELINE[0]}" in arrays:
                timeline = Timeline(**{name: arrays[f"timeline_{name}"] for name in TIMELINE})
            columns = {name: arrays[name] for name in RUN_COLUMNS}
            gaps = GapCounts(gap_s=arrays["gap_s"], count=arrays["gap_count"])
    except (ValueError, KeyError, BadZipFile, EOFError) as error:
        raise BadInputError(f"the kept run is damaged: {error}") from error
    return Run(**columns, gaps=gaps, origin=origin, timeline=timeline)
