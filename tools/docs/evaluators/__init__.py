"""What the package computes for each claim: small functions named by the claims, all returning a Finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tools.docs.claims import Case
from tools.docs.evaluators import machines, memory, money, speed
from tools.docs.verdict import Finding

EVALUATORS: Mapping[str, Callable[..., Finding]] = {
    **memory.EVALUATORS,
    **speed.EVALUATORS,
    **machines.EVALUATORS,
    **money.EVALUATORS,
}


def evaluate(case: Case) -> Finding:
    """Return what the package computes for a case; raises KeyError for an evaluator nobody wrote."""
    return EVALUATORS[case.evaluator](**case.arguments)
