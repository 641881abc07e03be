"""What the package computes for each claim: small functions named by the claims, all returning a Finding.

Most are asked about one replica (`Serving`); the others say what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tools.docs.claims import Case
from tools.docs.evaluators import facts, machines, memory, money, speed
from tools.docs.evaluators.deployments import Serving
from tools.docs.verdict import Finding

ASKED_BY_FIELDS: Mapping[str, Callable[..., Finding]] = {
    evaluator.__name__: evaluator for room in (facts, memory, machines, money, speed) for evaluator in room.EVALUATORS
}
ASKED_OF_A_REPLICA: Mapping[str, Callable[[Serving], Finding]] = {
    evaluator.__name__: evaluator for room in (memory, machines, speed) for evaluator in room.OF_SERVING
}


def evaluate(case: Case) -> Finding:
    """Return what the package computes for a case; raises KeyError for an evaluator nobody wrote."""
    arguments: dict[str, Any] = dict(case.arguments)
    if case.evaluator in ASKED_OF_A_REPLICA:
        return ASKED_OF_A_REPLICA[case.evaluator](Serving(**arguments))
    return ASKED_BY_FIELDS[case.evaluator](**arguments)
