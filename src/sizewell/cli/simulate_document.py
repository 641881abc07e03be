"""A simulation as a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sizewell.cli.documents import Object, deployment_object, model_object

if TYPE_CHECKING:
    from sizewell.cli.simulations import Simulation
    from sizewell.cli.traffic_flags import Offered


def simulation_object(found: Simulation) -> Object:
    """Return what was offered, to what, and how well it was served."""
    return {
        "model": model_object(found.deployment.model),
        "deployment": deployment_object(found.deployment),
        "calibrated_by": found.calibrated_by,
        "memory": {
            "verdict": found.memory.verdict,
            "fits": found.memory.fits,
            "kv_blocks": found.memory.kv_blocks,
            "kv_tokens": found.memory.kv_tokens,
        },
        "router": found.router,
        "traffic": traffic_object(found.offered),
        "limits": found.slo,
        "score": found.score,
        "measured": found.measured,
        "overload": found.overload,
        "network": found.network,
        "without_one": found.losses,
        "missed": found.missed,
        "assumed": found.assumed,
    }


def traffic_object(offered: Offered) -> Object:
    """Return what was offered, in numbers."""
    these = offered.requests
    return {
        "source": offered.source,
        "seed": offered.seed,
        "requests": len(these),
        "rate_per_s": offered.rate_per_s,
        "concurrency": offered.users if offered.rate_per_s is None else None,
        "mean_input_tokens": float(these.input_tokens.mean()),
        "mean_think_tokens": float(these.think_tokens.mean()),
        "mean_answer_tokens": float(these.answer_tokens.mean()),
        "longest_tokens": int((these.input_tokens + these.output_tokens).max()),
        "notes": offered.notes,
    }
