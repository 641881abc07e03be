"""Replicas so small that their schedules can be worked out by hand: a step takes one second, whatever it holds."""

from __future__ import annotations

from typing import Any

from sizewell.simulator.facts import ReplicaFacts, SchedulerRules
from sizewell.simulator.simulate import LogLine
from surfaces import flat_surface

SYNC = SchedulerRules(async_scheduling=False)
ASYNC = SchedulerRules(async_scheduling=True)


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
