"""A compose file: one service for each replica on this machine, reachable from it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizewell.deployer import words, yaml_text
from sizewell.deployer.images import image
from sizewell.deployer.launch import Launch, Variable
from sizewell.deployer.terms import Artefact, Priced
from sizewell.deployer.yaml_text import Why
from sizewell.specs.errors import BadInputError

FILE = "compose.yaml"
INSIDE_PORT = "8000"
PRICED = "x-priced"
CACHE = "/root/.cache/huggingface"
Item = Mapping[str, object]


def render(launch: Launch) -> Mapping[str, str]:
    """Return the file; raises BadInputError for more than one machine."""
    if launch.deployment.cluster.nodes > 1:
        raise BadInputError("compose runs on one machine: render for slurm or kubernetes, or a plan of one node")
    services = {f"{launch.name}-{number}": _service(launch, number) for number in range(launch.pool.replicas)}
    document = {
        PRICED: _literal(Priced.of(launch).text),
        "name": launch.name,
        "services": services,
        "volumes": {"weights": {}},
    }
    return {FILE: yaml_text.dump([document])}


def _service(launch: Launch, number: int) -> Item:
    said = (*words.environment(launch), *_own_accelerators(launch, number))
    variables = [each for v in said for each in (Why(v.why), f"{v.name}={_literal(v.value)}")]
    return {
        "image": _literal(image(launch)),
        "entrypoint": [_literal(word) for word in words.program(launch)],
        "command": _command(launch),
        "environment": [*variables, Why("taken from the caller; never written here"), "HF_TOKEN", *_key(launch)],
        "ports": [Why("this machine alone"), f"127.0.0.1:{launch.site.port + number}:{INSIDE_PORT}"],
        "volumes": [Why("downloaded once"), f"weights:{CACHE}", *_mount(launch.site.model_path)],
        "ipc": "host",  # the ranks of one replica share memory
        "restart": "unless-stopped",
        "stop_grace_period": "120s",
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", f"http://127.0.0.1:{INSIDE_PORT}/health"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{launch.patience_s}s",
        },
        **_accelerators(launch, number),
    }


def _command(launch: Launch) -> list[str]:
    said: list[str] = []
    for flag in words.flags(launch):
        value = INSIDE_PORT if flag.live == "port" else flag.value
        value = "0.0.0.0" if flag.name == "--host" else value  # the container's own network; ports say who reaches it
        said += [Why(flag.why), flag.name, *([] if value is None else [_literal(value)])]
    return said


def _key(launch: Launch) -> list[str]:
    name = words.key_variable(launch)
    return (
        [] if launch.flags.engine == "sglang" else [Why("the key clients must show, where the caller sets one"), name]
    )


def _mount(model_path: str) -> list[Item]:
    if not model_path.startswith("/"):
        return []
    return [{"type": "bind", "source": _literal(model_path), "target": _literal(model_path), "read_only": True}]


def _accelerators(launch: Launch, number: int) -> Item:
    gpu, mine = launch.deployment.cluster.gpu, _mine(launch, number)
    if gpu.vendor == "amd":
        return {"devices": ["/dev/kfd", "/dev/dri"], "group_add": ["video"], "x-accelerators": mine}
    if gpu.vendor != "nvidia":
        return {"x-accelerators": mine}
    device = {"driver": "nvidia", "device_ids": mine, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _own_accelerators(launch: Launch, number: int) -> tuple[Variable, ...]:
    if launch.deployment.cluster.gpu.vendor != "amd":
        return ()
    mine = ",".join(_mine(launch, number))
    return (Variable(name="HIP_VISIBLE_DEVICES", value=mine, why="compose hands an AMD machine over whole"),)


def _mine(launch: Launch, number: int) -> list[str]:
    first = number * launch.gpus_per_node
    return [str(first + place) for place in range(launch.gpus_per_node)]


def _literal(text: str) -> str:
    """Return text that compose does not take for a variable."""
    return text.replace("$", "$$")


def _plain(text: str) -> str:
    return text.replace("$$", "$")


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the file says; the services differ in their accelerators only."""
    (document,) = yaml_text.load(files[FILE])
    priced = Priced.read(_plain(document[PRICED]))
    services = list(document["services"].values())
    said = [_plain(word) for word in [*services[0]["entrypoint"], *services[0]["command"]]]
    variables = [each.partition("=")[0] for each in services[0]["environment"]]
    return Artefact(
        priced=priced,
        terms=words.read(priced, said, variables),
        replicas=len(services),
        nodes=1,
        gpus_per_node=_count(services[0]),
    )


def _count(service: Mapping[str, Any]) -> int:
    if "x-accelerators" in service:
        return len(service["x-accelerators"])
    return len(service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"])
