"""A deployment on Kubernetes, with a stand-in for kubectl on the path: applied, seen, reached, deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launches import STARTED, deployment, launch
from sizewell.deployer.kubernetes_objects import Kubernetes, kubectl, rehearse
from sizewell.deployer.render import render
from sizewell.deployer.started import Part
from sizewell.planner.stated import Stated
from sizewell.specs.errors import UnreachableError
from sizewell.specs.standing import HttpFacts

STAND_IN = Path(__file__).parent / "stand_in" / "cluster"
Cluster = Callable[..., None]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a function that sets the pods of an empty cluster."""
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_CLUSTER", str(tmp_path))
    monkeypatch.setenv("STAND_IN_PORT", "4321")

    def pods(*given: dict[str, Any]) -> None:
        (tmp_path / "pods.json").write_text(json.dumps(given))

    return pods


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The objects of two replicas."""
    asked = launch(deployment("llama-3.1-8b", "2xh100", "vllm@0.33", Stated(tp=1, replicas=2)))
    return dict(render(asked, "kubernetes"))


def started(files: dict[str, str], folder: Path) -> Kubernetes:
    """Apply two replicas."""
    (name,) = files
    (folder / name).write_text(files[name])
    one = replace(
        STARTED, name=name.removesuffix(".yaml"), where="kubernetes", file=name, namespace="serving", context="lab",
        parts=(),
    )  # fmt: skip
    running = Kubernetes(one, folder)
    told: list[Part] = []
    running.start(told.extend)
    assert [part.id for part in told] == ["0", "1"]
    return running


def pod(name: str, state: dict[str, Any], **labels: str) -> dict[str, Any]:
    """Return a pod of the two replicas."""
    named = {"app.kubernetes.io/name": "llama-3-1-8b-instruct", "leaderworkerset.sigs.k8s.io/name": "deepseek-r1"}
    return {
        "metadata": {"name": name, "labels": {**named, **labels}, "creationTimestamp": "2026-11-29T20:00:00Z"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "containerStatuses": [{"state": state}]},
    }


def calls(folder: Path) -> list[list[str]]:
    """Return what kubectl was told."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def test_it_is_applied_seen_and_deleted_but_for_its_weights(
    cluster: Cluster, files: dict[str, str], tmp_path: Path
) -> None:
    running = started(files, tmp_path)
    assert [each.reason for each in running.facts()] == ["no pods yet", "no pods yet"]
    cluster(pod("b", {"waiting": {"reason": "ContainerCreating"}}), pod("a", {"running": {}}))
    assert [each.stage for each in running.facts()] == ["running", "waiting"]
    assert running.stop().kept == ("persistentvolumeclaim/llama-3-1-8b-instruct-weights",)
    assert [each.reason for each in running.facts()] == ["deleted", "deleted"]
    told = calls(tmp_path)
    assert all(words[:4] == ["--context", "lab", "--namespace", "serving"] for words in told)
    (deleted,) = [words for words in told if "delete" in words]
    assert {"deployment/llama-3-1-8b-instruct", "service/llama-3-1-8b-instruct"} < set(deleted)
    assert not any("weights" in word for word in deleted)


def test_logs_begin_with_those_before_the_last_restart(cluster: Cluster, files: dict[str, str], tmp_path: Path) -> None:
    running = started(files, tmp_path)
    assert running.lines(0) == []
    again = pod("a", {"running": {}})
    again["status"]["containerStatuses"][0]["restartCount"] = 1
    cluster(again)
    (tmp_path / "a.log").write_text("second\n")
    (tmp_path / "a.previous.log").write_text("first\n")
    assert running.lines(0) == ["first", "second"]
    assert list(running.follow(0)) == ["second"]


def test_a_replica_is_reached_through_a_forwarded_port(cluster: Cluster, files: dict[str, str], tmp_path: Path) -> None:
    running = started(files, tmp_path)
    cluster(pod("a", {"running": {}}))
    with running.reach(0) as there:
        assert there == "http://127.0.0.1:4321"
    with running.reach(1) as there:
        assert there == HttpFacts()
    (forwarded,) = [words for words in calls(tmp_path) if "port-forward" in words]
    assert "pod/a" in forwarded and ":8000" in forwarded


def test_pods_of_a_group_are_one_replica(cluster: Cluster, tmp_path: Path) -> None:
    asked = launch(deployment("r1", "32xh100", "vllm@0.33", Stated(tp=8, pp=2, replicas=2)))
    running = started(dict(render(asked, "kubernetes")), tmp_path)
    group, place = "leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"
    cluster(
        pod("x-0-1", {"waiting": {"reason": "ContainerCreating"}}, **{group: "0", place: "1"}),
        pod("x-0", {"running": {}}, **{group: "0", place: "0"}),
        pod("x-1", {"running": {}}, **{group: "1", place: "0"}),
    )
    assert [each.stage for each in running.facts()] == ["waiting", "running"]
    (tmp_path / "x-0.log").write_text("leader\n")
    assert running.lines(0) == ["leader"]


def test_a_dry_run_asks_a_server_or_says_that_none_answers(
    cluster: Cluster, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    assert "dry run" in rehearse(files, kubectl("", ""))
    assert not (tmp_path / "objects.yaml").exists()
    monkeypatch.delenv("STAND_IN_CLUSTER")
    with pytest.raises(UnreachableError, match="refused"):
        rehearse(files, kubectl("", ""))
