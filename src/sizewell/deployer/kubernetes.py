"""Kubernetes objects: a Deployment where a replica fits a node, a LeaderWorkerSet where it spans several.

Beside it a Service, a claim for the weights, and Secrets by reference. Probes wait as long as loading is predicted to
take; arguments reach the engine without a shell.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from sizewell.deployer import words, yaml_text
from sizewell.deployer.images import image
from sizewell.deployer.launch import Flag, Launch, Live
from sizewell.deployer.terms import Artefact, Priced
from sizewell.deployer.yaml_text import Why
from sizewell.specs.errors import BadInputError

Object = dict[str, Any]
PORT = 8000
RENDEZVOUS = 29500
PRICED = "sizewell.dev/priced"
CACHE = "/weights"
PERIOD_S = 10
RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "habana.ai/gaudi"}
"""What device plugins call their accelerators, by maker."""
HEAD_LIVE: Mapping[Live, str] = {
    "port": str(PORT), "head": "$(LWS_LEADER_ADDRESS)", "rank": "$(LWS_WORKER_INDEX)", "rendezvous": str(RENDEZVOUS),
    "meeting": f"$(LWS_LEADER_ADDRESS):{RENDEZVOUS}", "dispatch": str(RENDEZVOUS + 1),
}  # fmt: skip
"""The group's controller sets these in every pod."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return one file of objects; raises BadInputError where vLLM would need Ray."""
    if launch.nodes > 1 and launch.site.slurm.launcher == "ray":
        raise BadInputError("on kubernetes vLLM joins nodes by itself: leave --launcher ray out")
    workload = _group(launch) if launch.nodes > 1 else _deployment(launch)
    documents = [_claim(launch), workload, _service(launch)]
    return {f"{launch.name}.yaml": yaml_text.dump(documents)}


def _metadata(launch: Launch) -> Object:
    return {
        "name": launch.name,
        "labels": {"app.kubernetes.io/name": launch.name},
        "annotations": {PRICED: Priced.of(launch).text},
    }


def _deployment(launch: Launch) -> Object:
    labels = {"app.kubernetes.io/name": launch.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(launch),
        "spec": {
            "replicas": launch.pool.replicas,
            # A new replica would wait for the accelerators of the old one.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": launch.patience_s + 600,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(launch, answers=True)},
        },
    }


def _group(launch: Launch) -> Object:
    leader = {"app.kubernetes.io/name": launch.name, "sizewell.dev/role": "leader"}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(launch),
        "spec": {
            "replicas": launch.pool.replicas,
            "leaderWorkerTemplate": {
                "size": launch.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": {"metadata": {"labels": leader}, "spec": _pod(launch, answers=True)},
                "workerTemplate": {"spec": _pod(launch, answers=False)},
            },
        },
    }


def _pod(launch: Launch, *, answers: bool) -> Object:
    container: Object = {
        "name": "engine",
        "image": image(launch),
        "command": [_literal(word) for word in words.program(launch)],
        "args": _arguments(launch, answers),
        "env": _environment(launch),
        "resources": _resources(launch),
        "volumeMounts": [{"name": "weights", "mountPath": CACHE}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    if launch.nodes > 1:
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}  # RDMA pins memory
    if answers:
        container |= {"ports": [{"name": "http", "containerPort": PORT}], **_probes(launch)}
    return {
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [
            {"name": "weights", "persistentVolumeClaim": {"claimName": f"{launch.name}-weights"}},
            # The ranks of one replica share memory; the default of 64 MiB is too small.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
        ],
    }


def _arguments(launch: Launch, answers: bool) -> list[str]:
    said: list[str] = []
    for flag in words.flags(launch):
        said += [Why(flag.why), flag.name, *_value(flag)]
    besides = None if answers else words.follower(launch)
    if besides is not None:
        said += [Why(besides.why), besides.name]
    if launch.flags.engine == "sglang":
        said += [Why("the key clients must show; it reads no variable"), "--api-key", "$(SGLANG_API_KEY)"]
    return said


def _value(flag: Flag) -> list[str]:
    if flag.name == "--host":
        return ["0.0.0.0"]  # the pod's own address; clients show the key in the Secret
    if flag.live:
        return [HEAD_LIVE[flag.live]]
    return [] if flag.value is None else [_literal(flag.value)]


def _literal(text: str) -> str:
    """Return text that Kubernetes does not take for a variable."""
    return text.replace("$", "$$")


def _environment(launch: Launch) -> list[Object | str]:
    said: list[Object | str] = []
    for each in words.environment(launch):
        said += [Why(each.why), {"name": each.name, "value": each.value}]
    said += [Why("weights are downloaded once, into the claim"), {"name": "HF_HOME", "value": CACHE}]
    said += [Why("for gated models, where the Secret exists"), _secret("HF_TOKEN", "hf-token", "token", optional=True)]
    key, secret = words.key_variable(launch), f"{launch.name}-api-key"
    said += [Why("the key clients must show"), _secret(key, secret, "key", optional=False)]
    if launch.nodes > 1 and launch.flags.engine == "vllm":
        address = {"fieldRef": {"fieldPath": "status.podIP"}}
        said += [Why("differs from node to node"), {"name": "VLLM_HOST_IP", "valueFrom": address}]
    return said


def _secret(name: str, secret: str, key: str, *, optional: bool) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}}}


def _resources(launch: Launch) -> Object:
    gpu = launch.deployment.cluster.gpu
    needs = {"cpu": str(launch.cores), "memory": f"{ceil(launch.host_ram_bytes / 2**30)}Gi"}
    if gpu.kind == "cpu" or gpu.vendor not in RESOURCES:
        return {"requests": needs}
    accelerators = {RESOURCES[gpu.vendor]: str(launch.gpus_per_node)}
    return {"requests": {**needs, **accelerators}, "limits": accelerators}


def _probes(launch: Launch) -> Object:
    asked = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PERIOD_S, "timeoutSeconds": 5}
    return {
        # As long as loading from the slowest storage may take, and no longer.
        "startupProbe": {**asked, "failureThreshold": ceil(launch.patience_s / PERIOD_S)},
        "readinessProbe": {**asked, "failureThreshold": 3},
        "livenessProbe": {**asked, "failureThreshold": 6},
    }


def _service(launch: Launch) -> Object:
    chosen = {"app.kubernetes.io/name": launch.name}
    if launch.nodes > 1:
        chosen["sizewell.dev/role"] = "leader"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": launch.name, "labels": {"app.kubernetes.io/name": launch.name}},
        "spec": {"selector": chosen, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }


def _claim(launch: Launch) -> Object:
    shared = launch.pool.replicas * launch.nodes > 1
    size = f"{ceil(launch.materials.disk_bytes / 2**30)}Gi"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{launch.name}-weights", "labels": {"app.kubernetes.io/name": launch.name}},
        "spec": {
            "accessModes": ["ReadWriteMany" if shared else "ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    }


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the objects say."""
    (text,) = files.values()
    workload = next(each for each in yaml_text.load(text) if each["kind"] in ("Deployment", "LeaderWorkerSet"))
    priced = Priced.read(workload["metadata"]["annotations"][PRICED])
    spec = workload["spec"]
    template = spec.get("leaderWorkerTemplate", {})
    pod = (template.get("leaderTemplate") or spec.get("template"))["spec"]
    engine = pod["containers"][0]
    said = [word.replace("$$", "$") for word in [*engine["command"], *engine["args"]]]
    limits = engine["resources"].get("limits", {})
    return Artefact(
        priced=priced,
        terms=words.read(priced, said, [each["name"] for each in engine["env"]]),
        replicas=spec["replicas"],
        nodes=template.get("size", 1),
        gpus_per_node=int(next(iter(limits.values()), 1)),
    )
