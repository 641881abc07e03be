"""Surfaces made by hand, so that what a schedule takes can be worked out on paper."""

from __future__ import annotations

from math import inf

import numpy as np

from sizewell.costs.axis import Table, put_together
from sizewell.costs.surface import DECODE, DECODE_ALONE, TOKENS, Issue, StepSurface


def flat_surface(step_s: float = 1.0, token_s: float = 0.0, context_s: float = 0.0, drafts: int = 0) -> StepSurface:
    """Return a step of `step_s`, and so much more for each token computed and each token of decoded context."""
    axis, tables = np.array([1.0, 2.0]), [Table()] * 11
    tables[TOKENS] = Table((), np.outer(np.arange(3), [token_s, 0.0]))
    tables[DECODE] = tables[DECODE_ALONE] = Table((axis, axis), context_s * np.outer(axis, axis))
    issue = Issue(
        launches=0.0, decode_launches=0.0, prefill_launches=0.0, gap_s=0.0, eager_launch_s=0.0, prefill_launch_s=0.0,
        host_step_s=step_s, host_sequence_s=0.0, front_token_s=0.0, inside_token_s=0.0, fixed_s=0.0, chunk_s=0.0,
        slowest_stage=1.0, stages=1.0, overlapped=0.0, pieced_tokens=0.0, recorded_tokens=inf, decode_pieces=0.0,
        eager_apart=0.0,
    )  # fmt: skip
    return StepSurface(put_together(tables), issue, 1.0 + drafts)
