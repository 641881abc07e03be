"""An answer of the planner as a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sizewell.cli.documents import Object, deployment_object, model_object
from sizewell.cli.rehearsal_text import rehearsal_object

if TYPE_CHECKING:
    from sizewell.planner.plan import Answer, Details, Plan, PoolUse
    from sizewell.planner.question import Question


def answer_object(answer: Answer) -> Object:
    """Return plans by rank, the frontier, the rejections, and what the answer rests on."""
    return {
        "question": question_object(answer.question),
        "candidates": answer.candidates,
        "plans": [plan_object(plan) for plan in answer.plans],
        "frontier": [plan_object(plan) for plan in answer.frontier],
        "rejections": answer.rejections,
        "decided_by": answer.decided_by,
    }


def question_object(question: Question) -> Object:
    """Return what was asked, defaults included."""
    return {
        "model": model_object(question.model),
        "workload": question.workload,
        "limits": question.limits,
        "objective": question.objective,
        "weight_formats": question.weight_formats,
        "kv_formats": question.kv_formats,
        "price_basis": question.price_basis,
        "offload": question.offload,
        "split": question.split,
        "kv_network": question.kv_network.key if question.kv_network else None,
    }


def plan_object(plan: Plan) -> Object:
    """Return one plan."""
    return {
        "deployment": deployment_object(plan.deployment),
        "service": _service_object(plan),
        "cost": plan.cost,
        "memory": plan.memory,
        "recovery_fraction": plan.recovery_fraction,
        "recovery_source": plan.recovery_source,
        "details": _details_object(plan.details),
        "rehearsal": rehearsal_object(plan.rehearsal),
        "pool_use": _pool_use_object(plan.pool_use),
    }


def _pool_use_object(use: PoolUse | None) -> Object | None:
    if use is None:
        return None
    return {
        "network": use.network,
        "handover_s": use.handover_s,
        "prefill_busy_fraction": use.prefill_busy_fraction,
        "decode_busy_fraction": use.decode_busy_fraction,
        "prefill_memory": use.memory,
    }


def _details_object(details: Details | None) -> Object | None:
    if details is None:
        return None
    pays, placed = details.break_even, details.placement
    return {
        "bill_of_materials": details.materials,
        "burst_ttft_s": details.burst_ttft_s,
        "break_even": None
        if pays is None
        else {
            "capital_usd": pays.capital_usd,
            "running_usd_per_month": pays.running_usd_per_month,
            "rent_usd_per_month": pays.rent_usd_per_month,
            "months": pays.months,
            "estimate": pays.estimate,
            "machine_known": pays.machine_known,
            "host_usd": pays.host_usd,
        },
        "placement": None
        if placed is None
        else {
            "moved": placed.moved,
            "streamed_tokens_per_s": placed.streamed_tokens_per_s,
            "computed_tokens_per_s": placed.computed_tokens_per_s,
            "engine_does": placed.engine_does,
        },
    }


def _service_object(plan: Plan) -> Object:
    """Return what users get; where the plan was played, capacity is what the play showed."""
    service, played = plan.service, plan.rehearsal
    most = service.saturation_concurrency_per_replica
    if played:
        holds = played.saturation.holds / played.replicas
        most = holds if played.unit == "users" else max(most, service.concurrency_per_replica)
    return {
        "ttft_s": service.ttft_s,
        "ttfa_s": service.ttfa_s,
        "tpot_s": service.tpot_s,
        "e2e_s": service.e2e_s,
        "output_tokens_per_s": service.output_tokens_per_s,
        "requests_per_s": service.requests_per_s,
        "tokens_per_s_per_user": service.tokens_per_s_per_user,
        "concurrency_per_replica": service.concurrency_per_replica,
        "saturation_concurrency_per_replica": most,
        "headroom_fraction": played.headroom_fraction if played else service.headroom_fraction,
        "bound_by": service.bound_by,
    }
