"""Kubernetes objects say what a cluster has to know, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from launches import HOSTILE, deployment, launch
from sizewell.deployer.launch import Launch, Slurm
from sizewell.deployer.render import render
from sizewell.planner.stated import Stated
from sizewell.specs.errors import BadInputError


def objects(asked: Launch) -> dict[str, Any]:
    """Return the objects by kind."""
    (text,) = render(asked, "kubernetes").values()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def pods(asked: Launch) -> list[dict[str, Any]]:
    """Return the pod specs: of the leader and the workers where there are two."""
    made = objects(asked)
    if "Deployment" in made:
        return [made["Deployment"]["spec"]["template"]["spec"]]
    template = made["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
    return [template["leaderTemplate"]["spec"], template["workerTemplate"]["spec"]]


def test_the_startup_probe_waits_for_the_predicted_load(one_node: Launch) -> None:
    (pod,) = pods(one_node)
    probe = pod["containers"][0]["startupProbe"]
    slowest = max(load.cold_s for load in one_node.materials.loads)
    assert 2 * slowest < probe["periodSeconds"] * probe["failureThreshold"] < 4 * slowest
    assert probe["httpGet"]["path"] == "/health"


def test_one_leader_answers_and_its_workers_follow(two_nodes: Launch) -> None:
    group = objects(two_nodes)["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
    assert (group["size"], group["restartPolicy"]) == (2, "RecreateGroupOnPodRestart")
    leader, worker = (pod["containers"][0] for pod in pods(two_nodes))
    assert "--headless" in worker["args"]
    assert "--headless" not in leader["args"]
    assert leader["args"][leader["args"].index("--master-addr") + 1] == "$(LWS_LEADER_ADDRESS)"
    assert leader["args"][leader["args"].index("--node-rank") + 1] == "$(LWS_WORKER_INDEX)"
    assert "startupProbe" not in worker
    chosen = objects(two_nodes)["Service"]["spec"]["selector"]
    labels = group["leaderTemplate"]["metadata"]["labels"]
    assert chosen.items() <= labels.items()


def test_shared_memory_and_weights_have_room(two_nodes: Launch) -> None:
    for pod in pods(two_nodes):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        assert "/dev/shm" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    claim = objects(two_nodes)["PersistentVolumeClaim"]["spec"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    assert int(claim["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30 >= two_nodes.materials.disk_bytes


def test_secrets_are_named_and_never_held(one_node: Launch) -> None:
    (pod,) = pods(one_node)
    secret = [each for each in pod["containers"][0]["env"] if "KEY" in each["name"] or "TOKEN" in each["name"]]
    assert len(secret) == 2
    assert all(set(each) == {"name", "valueFrom"} for each in secret)


@pytest.mark.parametrize("name", HOSTILE)
def test_kubernetes_expands_no_part_of_a_name(name: str, one_node: Launch) -> None:
    (pod,) = pods(replace(one_node, site=replace(one_node.site, served_name=name)))
    args = pod["containers"][0]["args"]
    assert expanded(args[args.index("--served-model-name") + 1]) == name
    assert objects(replace(one_node, site=replace(one_node.site, served_name=name)))["Service"]["metadata"]["name"]


def expanded(text: str) -> str:
    """Return an argument as a kubelet hands it over: `$$` is one dollar, `$(NAME)` a variable."""
    out, place = "", 0
    while place < len(text):
        if text.startswith("$$", place):
            out, place = out + "$", place + 2
        else:
            assert not text.startswith("$(", place), "a variable in a name"
            out, place = out + text[place], place + 1
    return out


def test_amd_and_ray() -> None:
    asked = launch(deployment("r1", "8xmi300x", "vllm@0.33", Stated(tp=8)))
    (pod,) = pods(asked)
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "8"}
    spread = launch(deployment("r1", "16xh100", "vllm@0.33", Stated(tp=16)), slurm=Slurm(launcher="ray"))
    with pytest.raises(BadInputError, match="--launcher ray"):
        render(spread, "kubernetes")
