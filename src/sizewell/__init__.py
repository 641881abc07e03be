"""Size and run LLM serving: plan, explain, and close the loop.

The names below are imported when they are first used, so that `import sizewell` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sizewell.catalog.models import read_model as read_model
    from sizewell.cli.questions import Explanation as Explanation
    from sizewell.cli.questions import Setup as Setup
    from sizewell.cli.questions import explain as explain
    from sizewell.cli.questions import explain_deployment as explain_deployment
    from sizewell.cli.questions import fit as fit
    from sizewell.cli.questions import machine as machine
    from sizewell.cli.questions import plan as plan
    from sizewell.cli.simulations import Simulation as Simulation
    from sizewell.cli.simulations import simulate as simulate
    from sizewell.cli.traffic_flags import Offered as Offered
    from sizewell.planner.plan import Answer as Answer
    from sizewell.planner.plan import Plan as Plan
    from sizewell.planner.question import Limits as Limits
    from sizewell.planner.question import Question as Question
    from sizewell.specs.errors import SizewellError as SizewellError
    from sizewell.traffic.offer import offer as offer
    from sizewell.traffic.workload import Slo as Slo
    from sizewell.traffic.workload import Workload as Workload

_HOMES = {
    "plan": "sizewell.cli.questions",
    "explain": "sizewell.cli.questions",
    "explain_deployment": "sizewell.cli.questions",
    "fit": "sizewell.cli.questions",
    "machine": "sizewell.cli.questions",
    "simulate": "sizewell.cli.simulations",
    "offer": "sizewell.traffic.offer",
    "read_model": "sizewell.catalog.models",
    "Answer": "sizewell.planner.plan",
    "Explanation": "sizewell.cli.questions",
    "Limits": "sizewell.planner.question",
    "Offered": "sizewell.cli.traffic_flags",
    "Plan": "sizewell.planner.plan",
    "Question": "sizewell.planner.question",
    "Setup": "sizewell.cli.questions",
    "Simulation": "sizewell.cli.simulations",
    "SizewellError": "sizewell.specs.errors",
    "Slo": "sizewell.traffic.workload",
    "Workload": "sizewell.traffic.workload",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sizewell' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
