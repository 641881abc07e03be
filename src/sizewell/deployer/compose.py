"""A compose file: one service for each replica on this machine, reachable from it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sizewell.deployer import words, yaml_text
from sizewell.deployer.images import image, is_gaudi
from sizewell.deployer.launch import Flag, Launch, Live, Variable
from sizewell.deployer.terms import Artefact, Priced, paired
from sizewell.deployer.yaml_text import Why
from sizewell.specs.deployment import PoolRole
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
        PRICED: literal(Priced.of(launch).text),
        "name": launch.name,
        "services": services,
        "volumes": {"weights": {}},
    }
    return {FILE: yaml_text.dump([document])}


def _service(launch: Launch, number: int) -> Item:
    first = number * launch.gpus_per_node
    mine = [str(first + place) for place in range(launch.gpus_per_node)]
    ports = [Why("this machine alone"), f"127.0.0.1:{launch.site.port + number}:{INSIDE_PORT}"]
    return engine(launch, mine, {"ports": ports}, _inside)


def _inside(live: Live) -> str:
    return {"port": INSIDE_PORT}[live]


def engine(launch: Launch, mine: list[str], network: Item, value_of: Callable[[Live], str]) -> Item:
    """Return the service of one engine with its accelerators, its network, and what it is told there."""
    said = (*words.environment(launch), *_own_accelerators(launch, mine))
    told = ((each, value_of(each.live) if each.live else each.value) for each in said)
    variables = [line for each, value in told for line in (Why(each.why), f"{each.name}={literal(value)}")]
    port = value_of("port")
    return {
        "image": literal(image(launch)),
        "entrypoint": [literal(word) for word in words.program(launch)],
        "command": command(words.flags(launch), value_of),
        "environment": [*variables, Why("taken from the caller; never written here"), "HF_TOKEN", *_key(launch)],
        **network,
        "volumes": [Why("downloaded once"), f"weights:{CACHE}", *_mount(launch.site.model_path)],
        "ipc": "host",  # the ranks of one replica share memory
        "restart": "unless-stopped",
        "stop_grace_period": "120s",
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", f"http://127.0.0.1:{port}/health"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{launch.patience_s}s",
        },
        **_accelerators(launch, mine),
    }


def command(flags: Sequence[Flag], value_of: Callable[[Live], str]) -> list[str]:
    """Return flags as a list of words, each under its reason."""
    said: list[str] = []
    for flag in flags:
        value = value_of(flag.live) if flag.live else flag.value
        if flag.name == "--host" and not flag.live and value_of is _inside:
            value = "0.0.0.0"  # the container's own network; ports say who reaches it
        said += [Why(flag.why), flag.name, *(literal(each) for each in (value, flag.beside) if each is not None)]
    return said


def _key(launch: Launch) -> list[str]:
    name = words.key_variable(launch)
    return (
        [] if launch.flags.engine == "sglang" else [Why("the key clients must show, where the caller sets one"), name]
    )


def _mount(model_path: str) -> list[Item]:
    if not model_path.startswith("/"):
        return []
    return [{"type": "bind", "source": literal(model_path), "target": literal(model_path), "read_only": True}]


def _accelerators(launch: Launch, mine: list[str]) -> Item:
    gpu = launch.deployment.cluster.gpu
    if gpu.vendor == "amd":
        return {"devices": ["/dev/kfd", "/dev/dri"], "group_add": ["video"], "x-accelerators": mine}
    if gpu.vendor == "intel":
        reached: Item = {"runtime": "habana"} if is_gaudi(gpu) else {"devices": ["/dev/dri"]}
        return {**reached, "x-accelerators": mine}
    if gpu.vendor != "nvidia":
        return {"x-accelerators": mine}
    device = {"driver": "nvidia", "device_ids": mine, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _own_accelerators(launch: Launch, mine: list[str]) -> tuple[Variable, ...]:
    if launch.deployment.cluster.gpu.vendor != "amd":
        return ()
    why = "compose hands an AMD machine over whole"
    return (Variable(name="HIP_VISIBLE_DEVICES", value=",".join(mine), why=why),)


def literal(text: str) -> str:
    """Return text that compose does not take for a variable."""
    return text.replace("$", "$$")


def _plain(text: str) -> str:
    return text.replace("$$", "$")


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the file says; the services of a pool differ in their accelerators and ports only."""
    (document,) = yaml_text.load(files[FILE])
    priced = Priced.read(_plain(document[PRICED]))
    pools: dict[PoolRole, list[Artefact]] = {}
    for service in document["services"].values():
        if "volumes" in service:  # a router holds no weights
            one = _read_engine(priced, service)
            pools.setdefault(one.terms.role, []).append(one)
    return paired([replace(engines[0], replicas=len(engines)) for engines in pools.values()])


def _read_engine(priced: Priced, service: Mapping[str, Any]) -> Artefact:
    said = [_plain(word) for word in [*service["entrypoint"], *service["command"]]]
    variables = [each.partition("=")[0] for each in service["environment"]]
    terms = words.read(priced, said, variables)
    return Artefact(priced=priced, terms=terms, replicas=1, nodes=1, gpus_per_node=_count(service))


def _count(service: Mapping[str, Any]) -> int:
    if "x-accelerators" in service:
        return len(service["x-accelerators"])
    return len(service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"])
