"""The reverse question: what runs on the machine I have, in which format, how fast, at which context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.planner.facts import Facts
from sizewell.planner.plan import Plan, Rejection
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.specs.model import ModelSpec
from sizewell.traffic.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A model on a given machine: the most precise format that holds one request, or why none does.

    `plan` serves one user; `longest_context_tokens` is the longest single sequence its cache holds, at most the
    model's own; `users` how many requests of the workload's length fit at once.
    """

    model: ModelSpec
    plan: Plan | None
    longest_context_tokens: int
    users: float
    rejections: tuple[Rejection, ...]


def fit(
    models: Iterable[ModelSpec], facts: Facts, workload: Workload, limits: Limits, formats: Sequence[str]
) -> Iterator[Fit]:
    """Yield how each model fits the machines of `facts`, in the order given; `formats` are tried most precise first.

    A model that cannot hold the workload's context is answered, not skipped.
    """
    for model in models:
        yield _fit(model, facts, workload, limits, _worth_trying(model, formats))


def _fit(model: ModelSpec, facts: Facts, workload: Workload, limits: Limits, formats: Sequence[str]) -> Fit:
    rejections: list[Rejection] = []
    if workload.context_tokens > model.max_context_tokens:
        reason = f"made for {model.max_context_tokens:,} tokens, a request has {workload.context_tokens:,.0f}"
        short = Rejection(family=model.name, gate="context", reason=reason, candidates=1)
        return Fit(model=model, plan=None, longest_context_tokens=0, users=0.0, rejections=(short,))
    for weight_format in formats:
        question = Question(
            model=model, workload=workload, limits=limits, objective="fastest", weight_formats=(weight_format,)
        )
        found = answer(question, facts, top=1)
        if found.plans:
            return _settled(model, found.plans[0], tuple(rejections))
        rejections += found.rejections
    return Fit(model=model, plan=None, longest_context_tokens=0, users=0.0, rejections=tuple(rejections))


def _settled(model: ModelSpec, plan: Plan, rejections: tuple[Rejection, ...]) -> Fit:
    return Fit(
        model=model,
        plan=plan,
        longest_context_tokens=longest_context(model, ledger(plan.deployment)),
        users=plan.memory.max_concurrency,
        rejections=rejections,
    )


def longest_context(model: ModelSpec, held: MemoryLedger) -> int:
    """Return the longest single sequence the cache holds, in whole blocks, at most the model's own context."""
    low, high = 0, model.max_context_tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if held.concurrency(middle) >= 1 else (low, middle - 1)
    return low


def _worth_trying(model: ModelSpec, formats: Sequence[str]) -> tuple[str, ...]:
    """Drop formats that store more than the checkpoint does: nothing is gained by widening weights."""
    own = model.weight_format
    sixteen_bit = own in ("bf16", "fp16", "fp32")
    return tuple(name for name in formats if name == "native" or sixteen_bit or name not in ("bf16", "fp16", "fp8"))
