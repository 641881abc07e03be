"""Replicas so small that their schedules can be worked out by hand: a step takes one second, whatever it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from sizewell.costs.axis import Axis, Line, Sheet, Stack
from sizewell.costs.surface import Issue, StepSurface
from sizewell.simulator.facts import ReplicaFacts, SchedulerRules
from sizewell.simulator.simulate import LogLine

SYNC = SchedulerRules(async_scheduling=False)
ASYNC = SchedulerRules(async_scheduling=True)


def flat_surface(step_s: float = 1.0, token_s: float = 0.0, context_s: float = 0.0, drafts: int = 0) -> StepSurface:
    """Return a step of `step_s`, and so much more for each token computed and each token of decoded context."""
    axis = Axis(np.array([1.0, 2.0]), np.array([0]), 0.0)
    none = Line(axis, np.empty(0), np.empty(0))
    tokens = Line(axis, np.array([token_s, 2 * token_s]), np.zeros(2))
    sheet = Sheet(axis, axis, np.array([[context_s, 2 * context_s], [2 * context_s, 4 * context_s]]))
    nothing = Sheet(axis, axis, np.empty((0, 0)))
    return StepSurface(
        query_tokens=1.0 + drafts, tokens=tokens, experts=none, sampled=none, expansion=none, drafts=none,
        draft_experts=none, state=nothing, selection=nothing, decode=sheet, decode_alone=sheet,
        prefill=Stack(axis, axis, axis, np.empty((0, 0, 0))),
        issue=Issue(0.0, 0.0, 0.0, 0.0, 0.0, step_s, 0.0, 0.0, 0.0, 1.0, 1.0),
    )  # fmt: skip


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
