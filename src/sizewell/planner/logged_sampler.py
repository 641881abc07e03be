"""Which sampler a start-up ran: vLLM 0.8 to 0.11.0 sampled with FlashInfer where it happened to be installed.

Its own images carried FlashInfer, its wheels did not require it; nothing but the notes of a log or its activation peak
tells. The choice is between two derived peaks: no figure is taken over from the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sizewell.costs.activations import activation_line
from sizewell.costs.ledger import GIB
from sizewell.planner.logged_format import logged_formats
from sizewell.planner.logged_settings import LogFacts, logged_settings
from sizewell.specs.engine import EngineSpec
from sizewell.specs.memory_row import MemoryRow

_IMAGE = re.compile(r"vllm-openai|\bdocker\b|Using FlashInfer for top-p", re.IGNORECASE)


def with_logged_sampler(rows: Sequence[MemoryRow], facts: LogFacts) -> LogFacts:
    """Return the facts with the sampler the log tells of, and a note where its activation peak told."""
    if not facts.engine.sort_free_copies:
        return facts
    sorting = replace(facts.engine, sort_free_copies=0.0)
    sort_free = replace(sorting, sampler_copies=facts.engine.sort_free_copies)
    if any(_IMAGE.search(row.notes) for row in rows):
        return replace(facts, engine=sort_free)
    logged = next((row.value * GIB for row in rows if row.metric == "activation_peak_gib"), None)
    if logged is None:
        return facts
    peaks = {engine: _peak_bytes(rows, facts, engine) for engine in (sorting, sort_free)}
    nearer = min(peaks, key=lambda engine: abs(peaks[engine] - logged))
    if nearer is sorting:
        return replace(facts, engine=sorting)
    told = f"the log's activation peak of {logged / GIB:.2f} GiB is FlashInfer's: sorting takes {{:.2f}}"
    note = told.format(peaks[sorting] / GIB)
    return replace(facts, engine=sort_free, note="; ".join(filter(None, (facts.note, note))))


def _peak_bytes(rows: Sequence[MemoryRow], facts: LogFacts, engine: EngineSpec) -> float:
    formats, settings = logged_formats(rows[0], facts.model), logged_settings(rows, facts)
    return activation_line(facts.model, formats, rows[0].cut, settings, engine).bytes
