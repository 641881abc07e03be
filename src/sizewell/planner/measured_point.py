"""A published measurement of a serving deployment, as its table states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """One measured point; None or an empty text = not stated.

    Sizes count the whole deployment (`num_gpus` over all replicas and pools); `metrics` holds the measured values by
    column name, in the unit the name states. `date` is when it was published: `2025`, `2025-10` or `2025-10-29`.
    `disaggregated` is the pool layout as text.
    """

    point_id: str
    dataset: str
    date: str
    engine: str
    engine_version: str
    model: str
    weight_format: str
    kv_format: str
    gpu: str
    num_gpus: int
    num_nodes: int | None
    tp: int | None
    pp: int | None
    ep: int | None
    dp: int | None
    load: str
    concurrency: float | None
    request_rate_per_s: float | None
    num_requests: float | None
    input_tokens: float | None
    output_tokens: float | None
    shared_prefix_tokens: float
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    memory_fraction: float | None
    eager: bool
    speculative: str
    attention_dp: bool
    disaggregated: str
    trust: str
    notes: str
    metrics: Mapping[str, float]
