"""The program before pools of prefill and decode: it sends a prompt to one pool and has the other answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sizewell.deployer import words
from sizewell.deployer.launch import Flag, Launch, Live
from sizewell.specs.deployment import PoolRole
from sizewell.specs.engine_flags import EngineFlags, ProgramName
from sizewell.specs.errors import BadInputError

PROGRAMS: Mapping[ProgramName, tuple[str, ...]] = {
    "vllm-router": ("vllm-router",),
    "sglang-router": ("python3", "-m", "sglang_router.launch_router"),
}
MODES: Mapping[ProgramName, str] = {
    "vllm-router": "--vllm-pd-disaggregation",
    "sglang-router": "--pd-disaggregation",
}
ENGINES_KEY = "OPENAI_API_KEY"
"""Where vllm-router takes the key it shows to engines (seen in requests of 0.1.17); SGLang's is told by a flag."""
PLACE: tuple[Live, Live, Live] = ("address", "port", "handover")
"""What it has to know of every engine."""
LOOK_S = 5
"""Seconds between its looks at engines that still load."""


def release(launch: Launch) -> EngineFlags:
    """Return what the router of a launch understands; raises BadInputError for a launch without one."""
    if launch.router is None:
        raise BadInputError("one pool needs no router: render it as it is")
    return launch.router


def program(launch: Launch) -> tuple[str, ...]:
    """Return the words before the flags."""
    return PROGRAMS[release(launch).engine]


def note(launch: Launch) -> str:
    """Return which package the router is."""
    router = release(launch)
    return f"the router: pip install {router.engine}=={router.release}"


def flags(launch: Launch) -> tuple[Flag, ...]:
    """Return what the router is told beside its engines; raises BadInputError for a flag its release does not know."""
    router = release(launch)
    said = tuple(_flags(launch))
    for flag in said:
        router.check(flag.name, takes_value=flag.takes_value)
    for name in ("--prefill", "--decode"):
        router.check(name, takes_value=True)
    return said


def _flags(launch: Launch) -> Iterator[Flag]:
    yield Flag(name=MODES[release(launch).engine], why="one pool takes the prompt, the other answers")
    yield Flag(name="--policy", value="round_robin", why="replicas in turn, as simulated")
    yield Flag(name="--host", value=launch.site.host, why="where it listens")
    yield Flag(name="--port", live="port", why="where clients connect")
    yield Flag(name="--prometheus-host", value="127.0.0.1", why="its own counts stay on this machine")
    yield Flag(name="--prometheus-port", live="metrics", why="no other router's")
    patience = str(launch.patience_s)
    yield Flag(name="--worker-startup-timeout-secs", value=patience, why="engines load that long, as predicted")
    yield Flag(name="--worker-startup-check-interval", value=str(LOOK_S), why="seconds between its looks at them")


def worker(launch: Launch, role: PoolRole, address: str, port: str, handover: str) -> Flag:
    """Return the flag that names one engine; SGLang's router is told where its caches are handed over too."""
    why = "computes prompts" if role == "prefill" else "answers"
    beside = handover if role == "prefill" and has_port(launch) else None
    return Flag(name=f"--{role}", value=f"http://{address}:{port}", beside=beside, why=why)


def has_port(launch: Launch) -> bool:
    """Return whether the router must know the port at which caches are handed over."""
    return launch.flags.engine == "sglang"


def keyed(launch: Launch) -> bool:
    """Return whether engines ask for a key: others than this machine reach them, or their router."""
    return launch.exposed or (launch.split and launch.deployment.cluster.nodes > 1)


def refuse_open(launch: Launch) -> None:
    """Refuse a router that others reach and that asks them for no key; raises BadInputError."""
    if launch.exposed and launch.flags.engine == "vllm":
        raise BadInputError("vllm-router asks clients for no key: leave --host out and put a proxy that does before it")


def key_words(launch: Launch) -> list[str]:
    """Return the shell lines that give the router the engines' key, inside an array for SGLang."""
    name = words.key_variable(launch)
    if launch.flags.engine == "sglang":
        return [f'engine+=(--api-key "${name}")  # the key of the engines, asked of clients too']
    return [f"export {ENGINES_KEY}=${name}  # the key of the engines"]
