"""Rendered objects pass the API's own schemas, unknown fields refused.

No schema of LeaderWorkerSet is published as a package: its pod templates are validated as the PodTemplates they are,
and its own fields against those of the definition in kubernetes-sigs/lws.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from launches import deployment, launch, split
from sizewell.deployer.launch import Launch
from sizewell.deployer.render import render
from sizewell.planner.stated import Stated

pytestmark = pytest.mark.real
VERSION = "1.37"
GROUP_FIELDS = {"replicas", "leaderWorkerTemplate", "startupPolicy", "networkConfig", "rolloutStrategy"}
TEMPLATE_FIELDS = {"size", "restartPolicy", "leaderTemplate", "workerTemplate", "subGroupPolicy"}

LAUNCHES = {
    "one node": lambda: launch(deployment("r1", "8xh200", "vllm@0.33", Stated(tp=8, ep=8))),
    "two nodes": lambda: launch(deployment("r1", "16xh100", "vllm@0.33", Stated(tp=8, pp=2))),
    "sglang": lambda: launch(deployment("r1", "16xh100", "sglang@0.5.23", Stated(tp=16))),
    "amd": lambda: launch(deployment("r1", "8xmi300x", "vllm@0.33", Stated(tp=8))),
    "llama.cpp": lambda: launch(deployment("llama-3.1-8b", "2xrtx-4090", "llama.cpp")),
    "pools": lambda: launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", split("2xTP1", "1xTP4"))),
    "pools over nodes": lambda: launch(deployment("r1", "32xh100", "sglang@0.5.23", split("1xTP16", "1xDP16xEP16"))),
    "hostile": lambda: launch(deployment("r1", "8xh200", "vllm@0.33"), served_name="a\n- b: $(c) 'é\"", image="x: y"),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_objects_are_valid(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    asked: Launch = LAUNCHES[name]()
    (text,) = render(asked, "kubernetes").values()
    for each in yaml.safe_load_all(text):
        for one in _standard(each):
            validate(one, VERSION, strict=True)


def _standard(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an object as objects whose schemas are known."""
    if one["kind"] != "LeaderWorkerSet":
        return [one]
    assert one["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    template = one["spec"]["leaderWorkerTemplate"]
    assert set(one["spec"]) <= GROUP_FIELDS
    assert set(template) <= TEMPLATE_FIELDS
    assert template["restartPolicy"] in ("RecreateGroupOnPodRestart", "None")
    return [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template[part]}
        for part in ("leaderTemplate", "workerTemplate")
    ]
