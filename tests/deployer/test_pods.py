"""Statuses of pods, as the API writes them, in the words of every target."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sizewell.deployer.pods import pod_facts, together
from sizewell.specs.standing import JobFacts

NOW = datetime(2026, 11, 29, 20, 1, tzinfo=UTC)


def pod(phase: str, container: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a pod of one container."""
    statuses = {"containerStatuses": [container]} if container else {}
    return {"spec": {"nodeName": "n1"}, "status": {"phase": phase, **statuses, **more}}


UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available:\n3 Insufficient nvidia.com/gpu.",
}  # fmt: skip
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
FAILED = {"terminated": {"reason": "Error", "exitCode": 1}}


@pytest.mark.parametrize(
    ("given", "stage", "reason", "code"),
    [
        (pod("Pending", conditions=[UNSCHEDULABLE]), "waiting", "Unschedulable: 0/3 nodes", None),
        (pod("Pending", {"state": {"waiting": {"reason": "ImagePullBackOff"}}}), "waiting", "ImagePullBackOff", None),
        (
            pod("Pending", {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "k"'}}}),
            "waiting", 'CreateContainerConfigError: secret "k"', None,
        ),
        (pod("Pending"), "waiting", "Pending", None),
        (pod("Running", {"state": {"running": {"startedAt": "2026-11-29T20:00:00Z"}}}), "running", "", None),
        (
            pod("Running", {"state": {"running": {}}, "restartCount": 2, "lastState": KILLED}),
            "running", "restarted 2 ×, last OOMKilled", None,
        ),
        (
            pod("Running", {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": KILLED}),
            "ended", "OOMKilled", 137,
        ),
        (
            pod("Running", {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": FAILED}),
            "ended", "CrashLoopBackOff", 1,
        ),
        (pod("Failed", {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}), "ended", "Completed", 0),
        (pod("Failed", reason="Evicted", message="low on disk"), "ended", "Evicted: low on disk", None),
    ],
)  # fmt: skip
def test_a_status_is_read(given: dict[str, Any], stage: str, reason: str, code: int | None) -> None:
    facts = pod_facts(given, NOW)
    assert (facts.stage, facts.exit_code) == (stage, code)
    assert facts.reason.startswith(reason) and "\n" not in facts.reason


def test_a_running_pod_says_for_how_long() -> None:
    given = pod("Running", {"state": {"running": {"startedAt": "2026-11-29T20:00:00Z"}}})
    assert pod_facts(given, NOW).running_s == 60.0


def test_a_group_fails_with_its_first_pod_and_runs_with_its_last() -> None:
    runs, waits = JobFacts(stage="running", nodes=("a",)), JobFacts(stage="waiting", reason="Unschedulable")
    ends = JobFacts(stage="ended", reason="OOMKilled", exit_code=137, nodes=("b",))
    assert together([runs, runs]).stage == "running"
    assert together([runs, waits]).reason == "Unschedulable"
    assert together([runs, waits, ends]).exit_code == 137
    assert together([runs, ends]).nodes == ("a", "b")
