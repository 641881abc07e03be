"""Replicas so small that their schedules can be worked out by hand: a step takes one second, whatever it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from sizewell.costs.axis import Table, put_together
from sizewell.costs.surface import DECODE, DECODE_ALONE, TOKENS, Issue, StepSurface
from sizewell.simulator.facts import ReplicaFacts, SchedulerRules
from sizewell.simulator.simulate import LogLine

SYNC = SchedulerRules(async_scheduling=False)
ASYNC = SchedulerRules(async_scheduling=True)


def flat_surface(step_s: float = 1.0, token_s: float = 0.0, context_s: float = 0.0, drafts: int = 0) -> StepSurface:
    """Return a step of `step_s`, and so much more for each token computed and each token of decoded context."""
    axis, tables = np.array([1.0, 2.0]), [Table()] * 11
    tables[TOKENS] = Table((), np.outer(np.arange(3), [token_s, 0.0]))
    tables[DECODE] = tables[DECODE_ALONE] = Table((axis, axis), context_s * np.outer(axis, axis))
    issue = Issue(
        launches=0.0, decode_launches=0.0, prefill_launches=0.0, gap_s=0.0, eager_launch_s=0.0, host_step_s=step_s,
        host_sequence_s=0.0, front_token_s=0.0, fixed_s=0.0, chunk_s=0.0, slowest_stage=1.0, stages=1.0,
    )  # fmt: skip
    return StepSurface(put_together(tables), issue, 1.0 + drafts)


def small(**changes: Any) -> ReplicaFacts:
    """Return a replica of 16 blocks of 4 tokens, steps of at most 8 tokens, without async scheduling."""
    given: dict[str, Any] = {
        "surface": flat_surface(), "blocks": 17, "block_tokens": 4, "max_num_seqs": 4, "max_num_batched_tokens": 8,
        "max_model_len_tokens": 64, "rules": SYNC,
    }  # fmt: skip
    return ReplicaFacts(**(given | changes))


def schedule_of(log: tuple[LogLine, ...]) -> list[dict[int, int]]:
    """Return the tokens of each sequence, step by step."""
    steps: dict[int, dict[int, int]] = {}
    for line in log:
        if line.what == "scheduled":
            steps.setdefault(line.step, {})[line.request] = line.tokens
    return [steps[step] for step in sorted(steps)]


def said(log: tuple[LogLine, ...], what: str) -> list[tuple[int, int, int]]:
    """Return (step, request, tokens) of the lines of one kind."""
    return [(line.step, line.request, line.tokens) for line in log if line.what == what]
