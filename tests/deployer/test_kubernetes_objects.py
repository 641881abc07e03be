"""A deployment on Kubernetes, with a stand-in for kubectl on the path: applied, seen, reached, deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launches import STARTED, deployment, launch, split
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
    """Apply two replicas, or three in two pools and their router."""
    (name,) = files
    (folder / name).write_text(files[name])
    parts = 4 if "kind: StatefulSet" in files[name] else 2
    one = replace(
        STARTED, name=name.removesuffix(".yaml"), where="kubernetes", file=name, namespace="serving", context="lab",
        parts=(), replicas=parts,
    )  # fmt: skip
    running = Kubernetes(one, folder)
    told: list[Part] = []
    running.start(told.extend)
    assert [part.id for part in told] == [str(number) for number in range(parts)]
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
    assert running.lines(0) == ["0: leader"], "the other node has said nothing yet"


def in_pool(name: str, pool: str, state: dict[str, Any], ready: bool = False) -> dict[str, Any]:
    """Return a pod of two pools."""
    made = pod(name, state, **{"app.kubernetes.io/component": pool})
    made["status"]["containerStatuses"][0]["ready"] = ready
    return made


def test_two_pools_are_told_apart_and_only_their_router_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", split("2xTP1", "1xTP4")))
    running = started(dict(render(asked, "kubernetes")), tmp_path)
    assert [each.reason for each in running.facts()] == ["no pods yet"] * 4
    name, runs = "llama-3-1-8b-instruct", {"running": {}}
    cluster(
        in_pool(f"{name}-router-7d-x2", "router", {"waiting": {"reason": "ContainerCreating"}}),
        in_pool(f"{name}-decode-0", "decode", runs, ready=True),
        in_pool(f"{name}-prefill-1", "prefill", runs),  # the other one is being made again
    )
    assert [each.reason for each in running.facts()] == ["no pods yet", "", "", "ContainerCreating"]
    seen = []
    for number in range(4):
        with running.reach(number) as there:
            seen.append(there)
    engine = HttpFacts(behind_router=True)
    assert seen == [HttpFacts(), engine, replace(engine, listens=True, healthy=True), "http://127.0.0.1:4321"]
    (tmp_path / f"{name}-prefill-1.log").write_text("prompts\n")
    (tmp_path / f"{name}-router-7d-x2.log").write_text("routes\n")
    assert [running.lines(number) for number in (0, 1, 3)] == [[], ["prompts"], ["routes"]]
    assert running.stop().kept == (f"persistentvolumeclaim/{name}-weights",)
    told = calls(tmp_path)
    containers = [words[words.index("--container") + 1] for words in told if "--container" in words]
    assert containers == ["engine", "router"]
    (deleted,) = [words for words in told if "delete" in words]
    made = {f"statefulset/{name}-prefill", f"statefulset/{name}-decode", f"service/{name}-decode"}
    assert made | {f"deployment/{name}-router", f"networkpolicy/{name}-router"} < set(deleted)
    assert [each.reason for each in running.facts()] == ["deleted"] * 4


def test_groups_of_two_pools_are_found_by_the_name_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    asked = launch(deployment("r1", "24xh200", "vllm@0.33", split("1xTP8xPP2", "1xDP8xEP8")))
    (tmp_path / "r1.yaml").write_text(next(iter(render(asked, "kubernetes").values())))
    running = Kubernetes(replace(STARTED, where="kubernetes", file="r1.yaml"), tmp_path)
    of, group = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index"
    labels = {of: "deepseek-r1-prefill", group: "0"}
    place = "leaderworkerset.sigs.k8s.io/worker-index"
    cluster(
        pod("w", {"waiting": {"reason": "ContainerCreating"}}, **labels, **{place: "1"}),
        pod("deepseek-r1-prefill-0", {"running": {}}, **labels, **{place: "0"}),
    )
    assert [each.reason for each in running.facts()] == ["ContainerCreating", "no pods yet", "no pods yet"]


def test_a_dry_run_asks_a_server_or_says_that_none_answers(
    cluster: Cluster, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    assert "dry run" in rehearse(files, kubectl("", ""))
    assert not (tmp_path / "objects.yaml").exists()
    monkeypatch.delenv("STAND_IN_CLUSTER")
    with pytest.raises(UnreachableError, match="refused"):
        rehearse(files, kubectl("", ""))
