"""How much of the weights is left in host memory where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from sizewell.planner.columns import Rows, Variant

if TYPE_CHECKING:
    from sizewell.planner.evaluate import Trial

GIB, HOST_SHARE = 2**30, 0.8
"""Steps in which weights are offloaded, and the share of host memory they may take."""
FEW_SEQUENCES = 64
"""Sequences for which room is made beside the cache: who lacks memory serves few."""


def offloaded(trial: Trial, base: Variant, rows: Rows) -> Iterator[tuple[Variant, Rows]]:
    """Yield a variant with as little in host memory as makes room for one request of full length, and the machines it
    is for; weights are as the build of the engine there holds them.
    """
    sparse = replace(base, settings=replace(base.settings, max_num_seqs=FEW_SEQUENCES))
    for memory, builds in trial.rank_memories(sparse, rows):
        here = rows[np.isin(trial.yard.build[rows], builds)]
        needed = memory.layout.request_blocks(ceil(trial.demand.context_tokens)) * memory.layout.bytes_per_block
        totals = trial.yard.memory_bytes[here]
        room = np.array([min(memory.kv_bytes(total, memory.safe_fraction(total))) for total in totals])
        short = np.ceil((needed - room) / GIB) * GIB
        host = trial.yard.host_bytes_per_gpu[here]
        useful = (short > 0) & (short < memory.weight_bytes) & (short < host * HOST_SHARE)
        for size in np.unique(short[useful]):
            there = replace(base, settings=replace(base.settings, offload_bytes=float(size)))
            yield there, here[useful & (short == size)]
