"""What a pod's status says of the replica in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sizewell.specs.standing import JobFacts

GROUP, LEADER = "leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"
"""Labels of a group's pods: which group, and which of it."""
LOOPING = "CrashLoopBackOff"


def pod_facts(pod: Mapping[str, Any], now: datetime) -> JobFacts:
    """Return what one pod says; a container that failed and waits to be started again has ended."""
    status = pod.get("status", {})
    node = pod.get("spec", {}).get("nodeName")
    nodes = (node,) if node else ()
    containers = status.get("containerStatuses") or [{}]
    state, last = containers[0].get("state", {}), containers[0].get("lastState", {}).get("terminated", {})
    if "terminated" in state:
        return _ended(state["terminated"], nodes)
    if "running" in state:
        return JobFacts(stage="running", reason=_again(containers[0], last), nodes=nodes, running_s=_age(state, now))
    waiting = state.get("waiting", {})
    if waiting.get("reason") == LOOPING:
        return _ended(last, nodes, LOOPING)
    if status.get("phase") == "Failed":
        return JobFacts(stage="ended", reason=_both(status.get("reason", "Failed"), status.get("message")), nodes=nodes)
    unscheduled = [each for each in status.get("conditions", []) if each.get("reason") == "Unschedulable"]
    said = unscheduled[0] if unscheduled else waiting
    return JobFacts(stage="waiting", reason=_both(said.get("reason", "Pending"), said.get("message")), nodes=nodes)


def together(pods: Sequence[JobFacts]) -> JobFacts:
    """Return what the pods of one replica say: it has failed with the first, and runs with the last."""
    order = {"ended": 0, "waiting": 1, "running": 2}
    worst = min(pods, key=lambda each: order[each.stage])
    return JobFacts(
        stage=worst.stage, reason=worst.reason, exit_code=worst.exit_code, running_s=worst.running_s,
        nodes=tuple(node for each in pods for node in each.nodes),
    )  # fmt: skip


def _ended(said: Mapping[str, Any], nodes: tuple[str, ...], otherwise: str = "Terminated") -> JobFacts:
    reason = said.get("reason", otherwise)
    killed = int(said.get("signal") or 0)
    code = -killed if killed else said.get("exitCode")
    return JobFacts(stage="ended", reason=otherwise if reason == "Error" else reason, exit_code=code, nodes=nodes)


def _again(container: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    times = container.get("restartCount", 0)
    return f"restarted {times} ×, last {last.get('reason', 'ended')}" if times else ""


def _age(state: Mapping[str, Any], now: datetime) -> float | None:
    begun = state["running"].get("startedAt")
    return (now - datetime.fromisoformat(begun)).total_seconds() if begun else None


def _both(reason: str, message: str | None) -> str:
    return f"{reason}: {' '.join(message.split())}" if message else reason
