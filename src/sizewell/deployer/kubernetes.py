"""Kubernetes objects: a Deployment where a replica fits a node, a LeaderWorkerSet where it spans several.

Beside it a Service, a claim for the weights, and Secrets by reference. Probes wait as long as loading is predicted to
take; arguments reach the engine without a shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from sizewell.deployer import words, yaml_text
from sizewell.deployer.images import image, is_gaudi
from sizewell.deployer.launch import Flag, Launch, Live
from sizewell.deployer.terms import Artefact, Priced, paired
from sizewell.deployer.yaml_text import Why
from sizewell.specs.errors import BadInputError

Object = dict[str, Any]
PORT = 8000
RENDEZVOUS = 29500
HANDOVER = 5600
METRICS = 29000
PRICED = "sizewell.dev/priced"
WORKLOADS = ("Deployment", "StatefulSet", "LeaderWorkerSet")
CACHE = "/weights"
PERIOD_S = 10
RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}
"""What device plugins call their accelerators, by maker."""
GAUDI = "habana.ai/gaudi"
HEAD_LIVE: Mapping[Live, str] = {
    "port": str(PORT), "head": "$(LWS_LEADER_ADDRESS)", "rank": "$(LWS_WORKER_INDEX)", "rendezvous": str(RENDEZVOUS),
    "meeting": f"$(LWS_LEADER_ADDRESS):{RENDEZVOUS}", "dispatch": str(RENDEZVOUS + 1), "handover": str(HANDOVER),
    "metrics": str(METRICS),
}  # fmt: skip
"""The group's controller sets these in every pod."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return one file of objects; raises BadInputError where vLLM would need Ray."""
    if launch.nodes > 1 and launch.site.slurm.launcher == "ray":
        raise BadInputError("on kubernetes vLLM joins nodes by itself: leave --launcher ray out")
    workload = _group(launch) if launch.nodes > 1 else _deployment(launch)
    documents = [claim(launch), workload, _service(launch)]
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
            "template": {"metadata": {"labels": labels}, "spec": pod(launch, answers=True)},
        },
    }


def _group(launch: Launch) -> Object:
    leader = {"app.kubernetes.io/name": launch.name, "sizewell.dev/role": "leader"}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(launch),
        "spec": {"replicas": launch.pool.replicas, "leaderWorkerTemplate": group_template(launch, leader)},
    }


def group_template(launch: Launch, leader: Mapping[str, str]) -> Object:
    """Return the pods of a replica over several nodes: a leader with its labels, and those that follow it."""
    return {
        "size": launch.nodes,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": {"metadata": {"labels": leader}, "spec": pod(launch, answers=True)},
        "workerTemplate": {"spec": pod(launch, answers=False)},
    }


def pod(launch: Launch, *, answers: bool) -> Object:
    """Return the pod of one engine on one of its nodes; the first of them `answers`."""
    container: Object = {
        "name": "engine",
        "image": image(launch),
        "command": [literal(word) for word in words.program(launch)],
        "args": _arguments(launch, answers),
        "env": _environment(launch),
        "resources": _resources(launch),
        "volumeMounts": [{"name": "weights", "mountPath": CACHE}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    if launch.nodes > 1:
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}  # RDMA pins memory
    if answers:
        container |= {"ports": [{"name": "http", "containerPort": PORT}], **probes(launch)}
    return {
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [
            {"name": "weights", "persistentVolumeClaim": {"claimName": f"{launch.name}-weights"}},
            # The ranks of one replica share memory; the default of 64 MiB is too small.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
        ],
    }


def said_flags(flags: Iterable[Flag]) -> list[str]:
    """Return flags as a list of words, each under its reason."""
    return [word for flag in flags for word in (Why(flag.why), flag.name, *_value(flag))]


def _arguments(launch: Launch, answers: bool) -> list[str]:
    said = said_flags(words.flags(launch))
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
    return [literal(each) for each in (flag.value, flag.beside) if each is not None]


def literal(text: str) -> str:
    """Return text that Kubernetes does not take for a variable."""
    return text.replace("$", "$$")


def _environment(launch: Launch) -> list[Object | str]:
    said: list[Object | str] = []
    own: Object = {"fieldRef": {"fieldPath": "status.podIP"}}
    for each in words.environment(launch):
        value = HEAD_LIVE.get(each.live, "") if each.live else each.value
        given = {"valueFrom": own} if each.live == "address" else {"value": value}
        said += [Why(each.why), {"name": each.name, **given}]
    said += [Why("weights are downloaded once, into the claim"), {"name": "HF_HOME", "value": CACHE}]
    said += [Why("for gated models, where the Secret exists"), secret("HF_TOKEN", "hf-token", "token", optional=True)]
    said += [Why("the key clients must show"), key(launch, words.key_variable(launch))]
    if launch.nodes > 1 and launch.flags.engine == "vllm":
        said += [Why("differs from node to node"), {"name": "VLLM_HOST_IP", "valueFrom": own}]
    return said


def key(launch: Launch, variable: str) -> Object:
    """Return a variable that holds the key clients must show."""
    return secret(variable, f"{launch.name}-api-key", "key", optional=False)


def secret(name: str, held_in: str, key: str, *, optional: bool) -> Object:
    """Return a variable that comes out of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": held_in, "key": key, "optional": optional}}}


def _resources(launch: Launch) -> Object:
    gpu = launch.deployment.cluster.gpu
    needs = {"cpu": str(launch.cores), "memory": f"{ceil(launch.host_ram_bytes / 2**30)}Gi"}
    if gpu.kind == "cpu" or gpu.vendor not in RESOURCES:
        return {"requests": needs}
    accelerators = {GAUDI if is_gaudi(gpu) else RESOURCES[gpu.vendor]: str(launch.gpus_per_node)}
    return {"requests": {**needs, **accelerators}, "limits": accelerators}


def probes(launch: Launch) -> Object:
    """Return what a cluster asks of a server, and how long it waits for the first answer."""
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


def claim(launch: Launch) -> Object:
    """Return the claim for the weights, which all engines of a deployment read."""
    shared = launch.split or launch.pool.replicas * launch.nodes > 1
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
    workloads = [each for each in yaml_text.load(text) if each["kind"] in WORKLOADS]
    return paired([_read_pool(each) for each in workloads if PRICED in each["metadata"].get("annotations", {})])


def _read_pool(workload: Object) -> Artefact:
    priced = Priced.read(workload["metadata"]["annotations"][PRICED])
    spec = workload["spec"]
    template = spec.get("leaderWorkerTemplate", {})
    engine = (template.get("leaderTemplate") or spec.get("template"))["spec"]["containers"][0]
    said = [word.replace("$$", "$") for word in [*engine["command"], *engine["args"]]]
    limits = engine["resources"].get("limits", {})
    return Artefact(
        priced=priced,
        terms=words.read(priced, said, [each["name"] for each in engine["env"]]),
        replicas=spec["replicas"],
        nodes=template.get("size", 1),
        gpus_per_node=int(next(iter(limits.values()), 1)),
    )
