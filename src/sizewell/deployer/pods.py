"""What an artefact's pods are, and what their status says of the replicas in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sizewell.specs.standing import JobFacts

GROUP, LEADER = "leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"
"""Labels of a group's pods: which group, and which of it."""
OF_A_GROUP = "leaderworkerset.sigs.k8s.io/name"
"""The label a group's controller gives all its pods; what a workload is selected by otherwise is ours."""
LOOPING = "CrashLoopBackOff"
Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSet:
    """The pods of one workload of an artefact: how they are found, how many replicas, what their container is called.

    `named` pods end in their number: they keep it when they are made again.
    """

    selector: str
    replicas: int
    container: str
    named: bool

    def replicas_of(self, pods: Sequence[Pod]) -> list[list[Pod]]:
        """Return the pods of each replica, leaders first; empty where none are there yet.

        Named replicas have the number in their name, others come in the order they were made.
        """
        groups: dict[str, list[Pod]] = {}
        for pod in sorted(pods, key=_made):
            own = pod["metadata"]["name"].rpartition("-")[2] if self.named else pod["metadata"]["name"]
            groups.setdefault(_labels(pod).get(GROUP, own), []).append(pod)
        found = {name: sorted(group, key=lambda pod: _labels(pod).get(LEADER, "0")) for name, group in groups.items()}
        names = map(str, range(self.replicas)) if self.named else [*found, *[""] * self.replicas][: self.replicas]
        return [found.get(name, []) for name in names]


def pod_sets(documents: Sequence[Mapping[str, Any]]) -> Iterator[PodSet]:
    """Yield the workloads of an artefact, in its order: of two pools the router is the last."""
    for each in documents:
        spec = each.get("spec", {})
        if each["kind"] == "LeaderWorkerSet":
            leader = spec["leaderWorkerTemplate"]["leaderTemplate"]
            yield _pod_set(f"{OF_A_GROUP}={each['metadata']['name']}", spec, leader, named=True)
        elif each["kind"] in ("Deployment", "StatefulSet"):
            labels = ",".join(f"{name}={value}" for name, value in spec["selector"]["matchLabels"].items())
            yield _pod_set(labels, spec, spec["template"], named=each["kind"] == "StatefulSet")


def _pod_set(selector: str, spec: Mapping[str, Any], template: Mapping[str, Any], *, named: bool) -> PodSet:
    container = template["spec"]["containers"][0]["name"]
    return PodSet(selector=selector, replicas=spec["replicas"], container=container, named=named)


def _labels(pod: Pod) -> Mapping[str, str]:
    labels: Mapping[str, str] = pod["metadata"].get("labels", {})
    return labels


def _made(pod: Pod) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


def is_ready(pod: Pod) -> bool:
    """Return whether the cluster's own questions to the pod's server are answered."""
    containers = pod.get("status", {}).get("containerStatuses") or [{}]
    return bool(containers[0].get("ready"))


def restarts(pod: Pod) -> int:
    """Return how often a pod's containers were started again."""
    return sum(each.get("restartCount", 0) for each in pod.get("status", {}).get("containerStatuses", []))


def pod_facts(pod: Pod, now: datetime) -> JobFacts:
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
