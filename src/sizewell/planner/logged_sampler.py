"""Which sampler a start-up ran: vLLM 0.8 to 0.11.0 sampled with FlashInfer where it happened to be installed.

Its own images carried FlashInfer, its wheels did not require it; nothing but the notes of a log or its activation peak
tells. The notes are a setting; the peak is an outcome, so it only says why a capacity missed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sizewell.costs.activations import activation_line
from sizewell.costs.ledger import GIB
from sizewell.planner.logged_format import logged_formats
from sizewell.planner.logged_settings import LoggedSetup, logged_settings
from sizewell.specs.engine import EngineSpec
from sizewell.specs.memory_row import MemoryRow

_IMAGE = re.compile(r"vllm-openai|\bdocker\b|Using FlashInfer for top-p", re.IGNORECASE)


def with_logged_sampler(rows: Sequence[MemoryRow], facts: LoggedSetup) -> LoggedSetup:
    """Return the facts with FlashInfer's sampler where the notes of a log tell of it."""
    if not facts.engine.sort_free_copies or not any(_IMAGE.search(row.notes) for row in rows):
        return facts
    return replace(facts, engine=_sort_free(facts.engine))


def sampler_caveat(rows: Sequence[MemoryRow], facts: LoggedSetup) -> str:
    """Return that the logged activation peak is nearer to FlashInfer's than to sorting, with both, or nothing."""
    logged = next((row.value * GIB for row in rows if row.metric == "activation_peak_gib"), None)
    if logged is None or not facts.engine.sort_free_copies:
        return ""
    sorting = _peak_bytes(rows, facts, replace(facts.engine, sort_free_copies=0.0))
    sort_free = _peak_bytes(rows, facts, _sort_free(facts.engine))
    if abs(sort_free - logged) >= abs(sorting - logged):
        return ""
    own = f"that of FlashInfer's sampler ({sort_free / GIB:.2f}), not of sorting ({sorting / GIB:.2f})"
    return f"the log's activation peak of {logged / GIB:.2f} GiB is {own}: it was installed and that is not stated"


def _sort_free(engine: EngineSpec) -> EngineSpec:
    return replace(engine, sampler_copies=engine.sort_free_copies, sort_free_copies=0.0)


def _peak_bytes(rows: Sequence[MemoryRow], facts: LoggedSetup, engine: EngineSpec) -> float:
    formats, settings = logged_formats(rows[0], facts.model), logged_settings(rows, facts)
    return activation_line(facts.model, formats, rows[0].cut, settings, engine).bytes
