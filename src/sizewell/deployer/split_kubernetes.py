"""Kubernetes objects of a split deployment: a workload for each pool, and the router before them behind a Service.

A router has to reach each replica by a name of its own: replicas of one node are a StatefulSet, those of several a
LeaderWorkerSet, and both give their pods names.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.deployer import kubernetes, router, words, yaml_text
from sizewell.deployer.images import router_image
from sizewell.deployer.kubernetes import HANDOVER, PORT, PRICED, Object
from sizewell.deployer.launch import Launch
from sizewell.deployer.terms import Priced
from sizewell.deployer.yaml_text import Why
from sizewell.specs.errors import BadInputError

NAME, PART = "app.kubernetes.io/name", "app.kubernetes.io/component"
CLIENT = "sizewell.dev/client-of"
"""The label by which a pod may reach a router that asks for no key."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return one file of objects; raises BadInputError where vLLM would need Ray."""
    if launch.site.slurm.launcher == "ray":
        raise BadInputError("on kubernetes vLLM joins nodes by itself: leave --launcher ray out")
    documents = [kubernetes.claim(launch)]
    for part in launch.parts:
        documents += [_group(part)] if part.nodes > 1 else [_names(part), _set(part)]
    documents += [_router(launch), _service(launch)]
    if launch.flags.engine == "vllm":
        documents.append(_policy(launch))
    return {f"{launch.name}.yaml": yaml_text.dump(documents)}


def _called(launch: Launch) -> str:
    return f"{launch.name}-{launch.pool.role}"


def _labels(launch: Launch, part: str) -> dict[str, str]:
    return {NAME: launch.name, PART: part}


def _metadata(launch: Launch, part: str, annotations: Mapping[str, str]) -> Object:
    return {"name": f"{launch.name}-{part}", "labels": _labels(launch, part), "annotations": dict(annotations)}


def _names(launch: Launch) -> Object:
    """Return the Service that gives each pod of a pool a name, before it is ready: the router looks for it."""
    labels = _labels(launch, launch.pool.role)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _called(launch), "labels": labels},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }


def _set(launch: Launch) -> Object:
    labels = _labels(launch, launch.pool.role)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(launch, launch.pool.role, {PRICED: Priced.of(launch).text}),
        "spec": {
            "replicas": launch.pool.replicas,
            "serviceName": _called(launch),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": kubernetes.pod(launch, answers=True)},
        },
    }


def _group(launch: Launch) -> Object:
    """Return the groups of a pool; their controller makes the Service that names their leaders."""
    template = kubernetes.group_template(launch, _labels(launch, launch.pool.role))
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(launch, launch.pool.role, {PRICED: Priced.of(launch).text}),
        "spec": {"replicas": launch.pool.replicas, "leaderWorkerTemplate": template},
    }


def _router(launch: Launch) -> Object:
    labels = _labels(launch, "router")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{launch.name}-router", "labels": labels},
        "spec": {
            "replicas": 1,
            "progressDeadlineSeconds": launch.patience_s + 600,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _router_pod(launch)},
        },
    }


def _router_pod(launch: Launch) -> Object:
    flags, beside = list(router.flags(launch)), launch.flags.engine == "sglang"
    for part in launch.parts:
        for replica in range(part.pool.replicas):
            address = f"{_called(part)}-{replica}.{_called(part)}"
            flags.append(router.worker(launch, part.pool.role, address, str(PORT), str(HANDOVER)))
    said, variable = kubernetes.said_flags(flags), words.key_variable(launch) if beside else router.ENGINES_KEY
    if beside:
        said += [Why("the key of the engines, asked of clients too"), "--api-key", f"$({variable})"]
    needs = {"cpu": "2", "memory": "2Gi"}
    container: Object = {
        "name": "router",
        "image": router_image(launch),
        "command": list(router.program(launch)),
        "args": said,
        "env": [Why("the key of the engines"), kubernetes.key(launch, variable)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"requests": needs},
        **kubernetes.probes(launch),
    }
    return {"terminationGracePeriodSeconds": 120, "containers": [container]}


def _service(launch: Launch) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": launch.name, "labels": {NAME: launch.name}},
        "spec": {
            "selector": _labels(launch, "router"),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }


def _policy(launch: Launch) -> Object:
    """Return who may reach a router that shows the engines' key itself and asks for none."""
    clients = {"podSelector": {"matchLabels": {CLIENT: launch.name}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{launch.name}-router", "labels": _labels(launch, "router")},
        "spec": {
            "podSelector": {"matchLabels": _labels(launch, "router")},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [clients], "ports": [{"port": PORT, "protocol": "TCP"}]}],
        },
    }
